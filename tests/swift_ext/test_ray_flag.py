"""`--use_ray true`, which `swift rlhf` ignores in silence, is refused by every plugin before a model is loaded."""

import shutil

import pytest

from tests.conftest import swift_flags
from tests.engines.record import record
from tests.tiny import VERDICTS, build_scoring_model, judging_rows, preference_rows, scoring_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration

GRPO = {
    "rlhf_type": "grpo", "num_generations": 2, "steps_per_generation": 2, "max_completion_length": 2, "temperature": 1.0,
}  # fmt: skip
# method of the engines' page -> plugin, rows, flags, environment
CASES = {
    "MODPO (ms-swift)": ("modpo", preference_rows, {}, {"MODPO_W": "0.5", "MODPO_MARGIN_FUNCTION": "brevity"}),
    "Generative reward model": ("bt_grpo", scoring_rows, {**GRPO, "reward_funcs": "bt_pointwise_baseline"}, {}),
    "Pairwise judge": ("pairwise_judge", judging_rows, {**GRPO, "reward_funcs": "pairwise_preference"}, {}),
}
# What `megatron rlhf --use_ray` has for it, by reading; it needs GPUs.
SINGLE = "its Megatron pipeline on Ray trains GRPO on shuffled single rows, {}"
BESIDE = {
    "MODPO (ms-swift)": "its Megatron pipeline on Ray has trainers of grpo and gkd, none of dpo",
    "Generative reward model": SINGLE.format("whose pairs do not meet"),
    "Pairwise judge": SINGLE.format("on GPUs alone (ray_megatron.yaml)"),
}
SAYS = "--use_ray true: `swift rlhf` takes the flag and starts no Ray"


@pytest.fixture(scope="module")
def start(run_swift, tmp_path_factory):
    """start(plugin, rows, flags, environment) -> the run, from a model folder without weights."""
    folder = tmp_path_factory.mktemp("ray_flag")
    model = build_scoring_model(folder / "model", answers=VERDICTS)
    (model / "model.safetensors").unlink()

    def run(plugin, rows, flags, environment):
        data = write_rows(folder / f"{plugin}.jsonl", rows(4))
        out = folder / str(plugin)
        shutil.rmtree(out, ignore_errors=True)
        return run_swift(out, swift_flags(model, data, out, max_steps=2, **flags), environment, plugin)

    return run


@pytest.mark.parametrize("method", CASES)
def test_the_flag_is_refused_before_a_model_is_loaded(start, method):
    plugin, rows, flags, environment = CASES[method]
    run = start(plugin, rows, flags | {"use_ray": True}, environment)
    assert run.returncode == 1 and SAYS in run.output, run.output[-3000:]
    seen = (
        "`--use_ray true`, before a model is loaded: ms-swift starts Ray for `swift sft` alone, and `swift rlhf` would train as "
        f"if the flag were not there; {BESIDE[method]}"
    )
    record(method, "Ray", "refused", seen, ("ms-swift", "trl"))


@pytest.mark.parametrize("method", CASES)
def test_without_it_a_run_goes_on_to_its_weights(start, method):
    plugin, rows, flags, environment = CASES[method]
    run = start(plugin, rows, flags | {"use_ray": False}, environment)
    assert run.returncode == 1 and "model.safetensors" in run.output and SAYS not in run.output, run.output[-3000:]


def test_the_plugin_that_only_shares_prompts_refuses_it_too(start):
    run = start("shared_prefix", preference_rows, {"use_ray": True}, {})
    assert run.returncode == 1 and SAYS in run.output, run.output[-3000:]
