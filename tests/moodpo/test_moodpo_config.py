"""Settings that are refused, and what the error says."""

import importlib.metadata
from importlib.util import find_spec

import pytest
from packaging.version import Version

if find_spec("trl") is None:
    pytest.skip("TRL is not installed in this environment", allow_module_level=True)

import trl

from trl_ext.moodpo.config import MOODPOConfig, evaluation_grid, read_vectors
from trl_ext.online_dpo.config import SERVER_MODE_WORKS

OLD_TRL = importlib.metadata.version("trl").startswith("0.")


def config(tmp_path, **overrides) -> MOODPOConfig:
    values = {
        "output_dir": str(tmp_path),
        "reward_models": ["brevity", "rich_vocabulary"],
        "bf16": False,
        "use_cpu": True,
    }
    return MOODPOConfig(**(values | overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"beta": [0.1, 0.2]}, r"--beta is \[0.1, 0.2\]: one number is valid; TRL indexes a list with a float epoch"),
        ({"beta": 0.0}, "--beta is 0.0: a number above 0 is valid"),
        ({"ref": "previos", "model_path": "x"}, "--ref is 'previos': valid are .* did you mean 'previous'"),
        ({"ref": "previous"}, "--ref previous needs --model_path"),
        ({"remove_unused_columns": True}, "--remove_unused_columns true would drop the prompts"),
        ({"reward_weights": [0.5, 0.5]}, "not read here; use --fixed_weights"),
        ({"reward_model_path": "x"}, "not read here; use --reward_models"),
        ({"normalisation": "runing"}, "--normalisation is 'runing': .* did you mean 'running'"),
        ({"ties": "halve"}, "--ties is 'halve': .* did you mean 'half'"),
        ({"normalisation": "stored"}, "stored statistics need the file"),
        ({"reward_stats_path": "x"}, "read with --normalisation stored only"),
        ({"reward_batch_size": 0}, "--reward_batch_size is 0"),
        ({"fixed_weights": [0.5, 0.5], "listed_weights": ["1,0"]}, "exclude each other"),
        ({"fixed_weights": [0.5, 0.6]}, r"--fixed_weights: \[0.5, 0.6\] .* 2 numbers of at least 0 that sum to 1"),
        ({"fixed_weights": [1.0]}, "--fixed_weights"),
        ({"listed_weights": ["1,0", "0.5;0.5"]}, "--listed_weights: '0.5;0.5' is not a list of numbers"),
        ({"evaluation_weights": ["2,-1"]}, "--evaluation_weights: '2,-1'"),
        ({"reward_models": ["brevity", "helpfull"]}, "helpfull.*did you mean 'helpful'"),
        ({"weights_grid": 0.3}, "0.3"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **overrides)


@pytest.mark.skipif(not OLD_TRL, reason="mended or removed in newer TRL")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"use_vllm": True, "vllm_mode": "server"}, "--vllm_mode server of trl 0.29.1 trains on meaningless pairs"),
        ({"use_transformers_paged": True}, "padding of a batch to the model as prompt text"),
        ({"judge": "gpt"}, "--judge is 'gpt': a judge ranks pairs and gives no scores"),
    ],
)
def test_wrong_paths_of_old_trl_are_refused(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **overrides)


@pytest.mark.skipif(Version(trl.__version__) < SERVER_MODE_WORKS, reason="refused there")
def test_server_mode_of_new_trl_is_taken(tmp_path):
    assert config(tmp_path, use_vllm=True, vllm_mode="server").vllm_mode == "server"


def test_defaults_run(tmp_path):
    args = config(tmp_path)
    assert (args.beta, args.max_new_tokens, args.temperature, args.ref, args.ties) == (0.1, 128, 1.0, "base", "skip")
    assert config(tmp_path, beta=[0.2]).beta == 0.2
    assert MOODPOConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True).reward_models == [
        "helpful",
        "harmless",
        "humor",
    ]


def test_weights_reach_the_sampler(tmp_path):
    assert config(tmp_path, fixed_weights=[0.25, 0.75]).sampler().draw(3, 4) == (0.25, 0.75)
    listed = config(tmp_path, listed_weights=["1,0", [0.3, 0.7]]).sampler()
    assert {listed.draw(0, row) for row in range(4)} == {(1.0, 0.0), (0.3, 0.7)}
    mixed = config(
        tmp_path, seed=11, weights_alpha=2.0, weights_vertex=0.0, weights_centre=0.25, weights_grid=0
    ).sampler()
    assert (mixed.seed, mixed.alpha, mixed.vertex, mixed.centre, mixed.grid) == (11, 2.0, 0.0, 0.25, None)


def test_evaluation_grid_lies_on_the_simplex():
    for count in (1, 2, 3, 5):
        vectors = evaluation_grid(count)
        assert read_vectors("evaluation_weights", vectors, count) == vectors and len(set(vectors)) == len(vectors)
    assert evaluation_grid(2) == ((1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.0, 1.0))
    assert len(evaluation_grid(3)) == 7 and (0.5, 0.0, 0.5) in evaluation_grid(3)
