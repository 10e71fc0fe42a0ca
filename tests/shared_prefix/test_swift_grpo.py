"""`swift rlhf --rlhf_type grpo` with shared prefixes is the plain run, to rounding: scorers, judges and the stock trainer."""

import pytest

from tests.conftest import REPOSITORY, swift_flags
from tests.parity.conftest import Workers, chosen
from tests.parity.outcomes import rows_of
from tests.tiny import VERDICTS, build_scoring_model, judging_rows, scoring_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration

K = 4
FLAGS = {
    "rlhf_type": "grpo", "num_generations": K, "steps_per_generation": 1, "per_device_train_batch_size": 2 * K, "beta": 0.04,
    "max_completion_length": 3, "temperature": 1.0, "dataset_shuffle": False, "top_k": 1000, "max_steps": 4,
}  # fmt: skip
METHODS = {
    "bt_grpo": ({"reward_funcs": "bt_pointwise_baseline"}, "BT_SHARED_PREFIX"),
    "pairwise_judge": (
        {"reward_funcs": ["pairwise_preference", "pairwise_consistency"], "reward_weights": [1, 0.5]},
        "JUDGE_SHARED_PREFIX",
    ),
    "shared_prefix": ({"reward_funcs": "bt_pointwise_baseline"}, "SHARED_PREFIX"),
}
# Beside the plain step: passes that are left out or not, batches that cut groups, and sums of other kinds over the logits.
VARIANTS = {
    "twenty steps": {"max_steps": 20, "log_entropy": True},
    "without reference": {"beta": 0.0},
    "two iterations, dapo": {
        "num_iterations": 2, "loss_type": "dapo", "temperature": 0.7, "gradient_checkpointing": True, "max_steps": 6,
    },
    "half a pair a step": {"per_device_train_batch_size": K, "steps_per_generation": 2},
    "accumulation": {"per_device_train_batch_size": K, "steps_per_generation": 2, "gradient_accumulation_steps": 2},
    "part of a group": {"per_device_train_batch_size": 3, "steps_per_generation": 8, "max_steps": 8},
    "full, reference model": {"tuner_type": "full", "learning_rate": 1e-4},
    "KL in the reward": {"kl_in_reward": True},
    "sequence ratios": {"importance_sampling_level": "sequence", "loss_type": "sapo"},
    "most entropic tokens": {"top_entropy_quantile": 0.5, "log_entropy": True},
    "dynamic sampling": {"dynamic_sample": True, "max_resample_times": 1, "reward_funcs": "bt_pointwise_binary"},
    "evaluation": {
        "val_dataset": "@rows", "eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 2 * K,
        "num_generations_eval": K, "max_steps": 2,
    },
}  # fmt: skip
OF_METHOD = {
    "bt_grpo": tuple(VARIANTS),
    "pairwise_judge": ("twenty steps", "without reference", "two iterations, dapo"),
    "shared_prefix": ("twenty steps", "without reference", "two iterations, dapo"),
}
CASES = [(method, name) for method, names in OF_METHOD.items() for name in names]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """{method: (model, rows)}"""
    folder = tmp_path_factory.mktemp("data")
    scorer = (
        build_scoring_model(folder / "scorer", malformed=0.9),
        write_rows(folder / "scored.jsonl", scoring_rows(12)),
    )
    judge = (
        build_scoring_model(folder / "judge", malformed=0.7, answers=VERDICTS),
        write_rows(folder / "judged.jsonl", judging_rows(12)),
    )
    return {"bt_grpo": scorer, "pairwise_judge": judge, "shared_prefix": scorer}


def flags_of(method, name, data, folder):
    model, rows = data[method]
    flags = FLAGS | METHODS[method][0] | VARIANTS[name]
    flags = {key: rows if value == "@rows" else value for key, value in flags.items()}
    return swift_flags(model, rows, folder / name.replace(" ", "_"), **flags)


@pytest.fixture(scope="module")
def answers(request, data, warm_swift, tmp_path_factory):
    """{(method, word): {variant: answer}}, each method in one process; the stock trainer's plain side has no plugin."""
    workers, found = Workers(tmp_path_factory.mktemp("sharing"), warm_swift), {}
    names = {method: [name for one, name in chosen(request, "method", "name") if one == method] for method in METHODS}
    plugins = REPOSITORY / "swift_ext" / "plugins"
    rewards = REPOSITORY / "tests" / "parity" / "rewards_only.py"
    for method in [method for method, wanted in names.items() if wanted]:
        for word in ("off", "on"):
            files = {"shared_prefix": [rewards] if word == "off" else [plugins / "shared_prefix.py", rewards]}
            folder = tmp_path_factory.mktemp(f"{method}-{word}")
            external = ["--external_plugins", *map(str, files.get(method, [plugins / f"{method}.py"]))]
            runs = [
                {
                    "name": name,
                    "argv": flags_of(method, name, data, folder) + external,
                    "environment": {METHODS[method][1]: word},
                }
                for name in names[method]
            ]
            found[method, word] = workers("tests.parity.swift_worker", {"plugin": None, "runs": runs}, folder.name)
    return found


@pytest.mark.parametrize(("method", "name"), CASES)
def test_shared_runs_are_the_plain_ones(answers, method, name):
    plain, shared = (answers[method, word][name] for word in ("off", "on"))
    assert "error" not in plain and "error" not in shared, (plain.get("error"), shared.get("error"))
    before, after = rows_of(plain), rows_of(shared)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            # fp32 rounds log-probs of size 5 at 5e-7, and each step's weights carry the difference of those before it.
            limits = {"rel": 1e-5, "abs": 1e-6} if key == "loss" else {"rel": 5e-5, "abs": 5e-6}
            assert other[key] == pytest.approx(value, nan_ok=True, **limits), (key, one, other)
