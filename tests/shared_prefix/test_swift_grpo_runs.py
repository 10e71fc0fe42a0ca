"""GRPO with shared prefixes on ms-swift: passes that are left out, several ranks, resume, refusals, a wrong model."""

import json

import pytest

from tests.conftest import REPOSITORY, swift_flags
from tests.tiny import build_scoring_model, scoring_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration

K = 2
PLUGIN = """
import json, os, torch
from swift.trainers.trainer_factory import TrainerFactory
import swift_ext.plugins.bt_grpo
from swift_ext.bt_grpo import PairGRPOTrainer
class Watched(PairGRPOTrainer):
    def _get_per_token_logps_and_entropies_single(self, model, *args, **kwargs):
        with open(os.environ["PASSES"], "a") as file:
            file.write(json.dumps([self.model.training, torch.is_grad_enabled()]) + "\\n")
        return super()._get_per_token_logps_and_entropies_single(model, *args, **kwargs)
class Wrong(PairGRPOTrainer):
    def _get_per_token_logps_and_entropies_single(self, model, *args, **kwargs):
        return super()._get_per_token_logps_and_entropies_single(Forgetful(model), *args, **kwargs)
class Forgetful:
    def __init__(self, model):
        self.module = model
        self.parameters = model.parameters
    def __call__(self, position_ids=None, **kwargs):
        return self.module(**kwargs)  # places for positions
TrainerFactory.TRAINER_MAPPING["grpo"] = "watched." + os.environ["TRAINER"]
"""


@pytest.fixture(scope="module")
def train(run_swift, tiny, tmp_path_factory):
    """train(setting, processes=1, ..., **flags): one pair a rank and generation, of which half fits a step."""
    folder = tmp_path_factory.mktemp("runs")
    scorer = build_scoring_model(folder / "scorer", malformed=0.9)
    rows = write_rows(folder / "rows.jsonl", scoring_rows(12))
    plugin = folder / "watched.py"
    plugin.write_text(PLUGIN)
    count = iter(range(1000))

    def run(setting, processes=1, succeed=True, trainer=None, plugins=(), **flags):
        out = folder / str(next(count))
        flags = {
            "rlhf_type": "grpo", "reward_funcs": "bt_pointwise_baseline", "num_generations": K, "steps_per_generation": 2,
            "per_device_train_batch_size": K, "max_completion_length": 3, "temperature": 1.0, "beta": 0.04, "max_steps": 2,
        } | flags  # fmt: skip
        environment = {"BT_DELTA_TEMP": 20, "BT_SHARED_PREFIX": setting, "PASSES": folder / f"{out.name}.passes"}
        if plugins:
            flags["external_plugins"] = plugins
        if trainer:
            flags["external_plugins"], environment["TRAINER"] = plugin, trainer
        model = tiny if trainer == "Wrong" else scorer  # the scorer hardly looks at positions
        done = run_swift(
            out,
            swift_flags(model, rows, out, **flags),
            environment,
            not trainer and not plugins and "bt_grpo",
            processes,
        )
        assert (done.returncode == 0) == succeed, done.output[-3000:]
        return done

    return run


def passes(run) -> list:
    return [json.loads(line) for line in (run.folder.parent / f"{run.folder.name}.passes").read_text().splitlines()]


LEARNS, SCORES = [True, True], [True, False]  # whether the model is in training, whether gradients are taken


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"gradient_accumulation_steps": 2, "max_steps": 1}, [SCORES, SCORES, LEARNS, LEARNS]),  # the reference alone
        ({"gradient_accumulation_steps": 2, "max_steps": 1, "beta": 0.0}, [LEARNS, LEARNS]),
        ({"gradient_accumulation_steps": 2, "max_steps": 1, "kl_in_reward": True}, [SCORES] * 4 + [LEARNS] * 2),
        ({"beta": 0.0}, [SCORES, SCORES, LEARNS, LEARNS]),  # the second step's policy has taken the first
        ({"steps_per_generation": 1, "per_device_train_batch_size": 4, "num_iterations": 2, "beta": 0.0}, [SCORES, LEARNS, LEARNS]),
    ],
    ids=["on policy", "without reference", "KL in the reward", "two steps", "two iterations"],
)  # fmt: skip
def test_old_log_probs_are_computed_where_they_are_not_the_new_ones(train, flags, expected):
    assert passes(train("auto", trainer="Watched", **flags)) == expected


def test_off_computes_them_all_as_upstream_does(train):
    flags = {"gradient_accumulation_steps": 2, "max_steps": 1, "beta": 0.0}
    assert passes(train("off", trainer="Watched", **flags)) == [SCORES, SCORES, LEARNS, LEARNS]


def same(one, other):
    assert one.steps and len(one.steps) == len(other.steps)
    for name in ("loss", "grad_norm"):
        assert one.series(name) == pytest.approx(other.series(name), rel=1e-5, abs=1e-6)
    assert [row.get("reward") for row in one.steps] == [row.get("reward") for row in other.steps]


def test_two_ranks_and_a_resume_in_the_middle_of_a_generation_are_the_plain_ones(train):
    plain = train("off", processes=2, max_steps=7, save_strategy="steps", save_steps=3)
    shared = train("auto", processes=2, max_steps=7, save_strategy="steps", save_steps=3)
    assert "shared prefixes: the first batch computes" in shared.output
    same(plain, shared)
    checkpoint = plain.folder / "checkpoint-3"
    same(*(train(word, processes=2, max_steps=7, resume_from_checkpoint=checkpoint) for word in ("off", "on")))


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_zero_takes_the_same_steps_with_and_without(stage, train, tmp_path):
    pytest.importorskip("deepspeed")
    gloo = tmp_path / "gloo_for_tests.py"  # on the CPU, ZeRO-3 needs its backend before the model is loaded
    gloo.write_text('import deepspeed\n\ndeepspeed.init_distributed(dist_backend="gloo")\n')
    settings = REPOSITORY / "launch" / "deepspeed" / f"{stage}.json"
    flags = {
        "plugins": [REPOSITORY / "swift_ext" / "plugins" / "bt_grpo.py", gloo],
        "deepspeed": settings,
        "fp16": False,
    }
    plain, shared = (train(word, processes=2, max_steps=3, **flags) for word in ("off", "on"))
    assert "shared prefixes: the first batch computes" in shared.output
    same(plain, shared)


def test_dropout_keeps_auto_plain_with_one_line_and_on_is_refused(train):
    run = train("auto", max_steps=1, lora_dropout=0.05)
    lines = [line for line in run.output.splitlines() if "shared prefixes" in line]
    assert len(lines) == 1 and "off because lora_dropout is 0.05" in lines[0]
    assert (
        "shared_prefix is on, but rows cannot share because lora_dropout is 0.05"
        in train("on", succeed=False, lora_dropout=0.05).output
    )


def test_a_model_that_is_wrong_stops_the_run(train):
    run = train("auto", succeed=False, trainer="Wrong")
    assert "shared prefixes are wrong for this model (llama)" in run.output


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("padding_free", True, "--padding_free true"),
        ("sequence_parallel_size", 2, "--sequence_parallel_size 2"),
    ],
)
@pytest.mark.parametrize("method", ["bt_grpo", "pairwise_judge", "stock"])
def test_flags_under_which_rows_cannot_share_are_refused_with_the_arguments(
    tmp_path, monkeypatch, method, flag, value, message
):
    from swift_ext.bt_grpo import PairGRPOConfig
    from swift_ext.pairwise_judge import JudgeGRPOConfig
    from swift_ext.shared_prefix import SharedPrefixGRPOConfig

    config, variable = {
        "bt_grpo": (PairGRPOConfig, "BT_SHARED_PREFIX"),
        "pairwise_judge": (JudgeGRPOConfig, "JUDGE_SHARED_PREFIX"),
        "stock": (SharedPrefixGRPOConfig, "SHARED_PREFIX"),
    }[method]
    options = {"output_dir": str(tmp_path), "use_cpu": True, "num_generations": 2, "generation_batch_size": 8}
    config(**options, **{flag: value})  # `auto` stays plain
    monkeypatch.setenv(variable, "on")
    with pytest.raises(ValueError, match=f"rows cannot share because {message}"):
        config(**options, **{flag: value})
