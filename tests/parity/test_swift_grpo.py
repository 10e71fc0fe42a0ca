"""The paired GRPO trainers, on rows whose order is the stock sampler's, are stock GRPO with the same rewards, to the last
digit: what they add is the order, the refusals and the log."""

from importlib.util import find_spec

import pytest

from tests.conftest import REPOSITORY, swift_flags
from tests.tiny import VERDICTS, build_scoring_model, judging_rows, scoring_rows, write_rows

from .conftest import chosen
from .grpo_variants import BOTH, CASES, VARIANTS
from .variants import check

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed in this environment"),
]
REWARDS = {
    "bt_grpo": {"reward_funcs": "bt_pointwise_baseline"},
    "pairwise_judge": {"reward_funcs": ["pairwise_preference", "pairwise_consistency"], "reward_weights": [1, 0.5]},
}
# One pair a generation: its two rows, two completions each, of which a step trains two. Rows in the order of the file. All
# tokens by a number past the vocabulary: --top_k -1 is that for ours, and transformers' 50 for stock.
FLAGS = {
    "rlhf_type": "grpo", "num_generations": 2, "steps_per_generation": 2, "per_device_train_batch_size": 2, "beta": 0.04,
    "max_completion_length": 2, "temperature": 1.0, "dataset_shuffle": False, "top_k": 1000, "max_steps": 4,
}  # fmt: skip
# With shared prefixes the same runs agree to rounding: tests/shared_prefix/test_swift_grpo.py.
ENVIRONMENT = {
    "bt_grpo": {"BT_DELTA_TEMP": "20", "BT_SHARED_PREFIX": "off"},
    "pairwise_judge": {"JUDGE_SHARED_PREFIX": "off"},
}


@pytest.fixture(scope="module")
def answers(request, swift_workers, tmp_path_factory):
    """{method: {side: {variant: answer}}}."""
    names = {method: [] for method in BOTH}
    for method, name in chosen(request, "method", "name"):
        names[method].append(name)
    return {
        method: run_both(method, wanted, swift_workers, tmp_path_factory.mktemp(method))
        for method, wanted in names.items()
        if wanted
    }


def run_both(method: str, names: list[str], workers, folder) -> dict:
    if method == "bt_grpo":
        model, made = build_scoring_model(folder / "model", malformed=0.9), scoring_rows(8)
    else:
        model, made = build_scoring_model(folder / "model", malformed=0.7, answers=VERDICTS), judging_rows(8)
    rows = write_rows(folder / "rows.jsonl", made)

    def runs(side: str) -> list[dict]:
        jobs = []
        for name in names:
            variant = VARIANTS[name]
            flags = (
                FLAGS
                | REWARDS[method]
                | {key: rows if value == "@rows" else value for key, value in variant.flags.items()}
            )
            argv = swift_flags(model, rows, folder / side / name.replace(" ", "_"), **flags)
            jobs.append({"name": name, "argv": argv, "environment": ENVIRONMENT[method]})
        return jobs

    stock = str(REPOSITORY / "tests" / "parity" / "rewards_only.py")
    ours = str(REPOSITORY / "swift_ext" / "plugins" / f"{method}.py")
    return {
        side: workers("tests.parity.swift_worker", {"plugin": plugin, "runs": runs(side)}, f"{method}-{side}")
        for side, plugin in (("stock", stock), ("ours", ours))
    }


@pytest.mark.parametrize(("method", "name"), CASES)
def test_the_limit_is_stock_grpo(answers, count, method, name):
    stock, ours = (answers[method][side][name] for side in ("stock", "ours"))
    check(count, f"swift rlhf --rlhf_type grpo, {method}", VARIANTS[name], method, stock, ours)
