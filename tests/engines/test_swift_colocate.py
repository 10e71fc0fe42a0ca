"""The two GRPO methods through `swift rlhf` with `--use_vllm true --vllm_mode colocate`, on pairs that stay whole."""

import json
from importlib.util import find_spec

import pytest

from tests.conftest import REPOSITORY, SwiftRun, swift_flags
from tests.engines.record import record
from tests.tiny import VERDICTS, build_scoring_model, judging_rows, scoring_rows, write_rows

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None or find_spec("swift") is None, reason="vLLM and ms-swift are not both installed"
    ),
]
PAIRS, K, STEPS = 12, 2, 20
PACKAGES = ("ms-swift", "trl", "transformers", "vllm")
BESIDE = {
    "rlhf_type": "grpo", "num_generations": K, "steps_per_generation": 2, "per_device_train_batch_size": 2, "top_k": -1,
    "max_completion_length": 2, "temperature": 1.0, "beta": 0.04, "max_steps": STEPS, "log_completions": True, "use_vllm": True,
    "vllm_mode": "colocate", "vllm_max_model_len": 256, "vllm_enforce_eager": True,
    "rollout_importance_sampling_mode": "token_truncate", "rollout_importance_sampling_threshold": 2.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def train(run_beside_vllm, tmp_path_factory):
    """train(plugin, model, rows, environment, **flags): the installed command line, one process."""
    folder = tmp_path_factory.mktemp("swift_colocate")

    def run(plugin, model, rows, environment, **flags) -> SwiftRun:
        out = folder / plugin
        argv = ["rlhf", *swift_flags(model, rows, out, **BESIDE | flags)]
        argv += ["--external_plugins", REPOSITORY / "swift_ext" / "plugins" / f"{plugin}.py"]
        return SwiftRun(0, run_beside_vllm("swift.cli.main", argv, folder / f"{plugin}-log", **environment), out)

    return run


def tables(run) -> list[dict]:
    """One for each generation, which ms-swift writes again at each step that uses it."""
    read = [json.loads(line) for line in (run.folder / "completions.jsonl").read_text().splitlines()]
    return [table for table in read if int(table["step"][0]) % 2]


def pairs_of(run) -> list[list]:
    """The pair of each generation; it has both sides."""
    found = []
    for line in map(json.loads, (run.folder / "pairs-rank0.jsonl").read_text().splitlines()):
        pairs = {pair for pair, _ in line["pairs_and_sides"]}
        assert len(pairs) == 1 and len(line["pairs_and_sides"]) == 2, line
        found.append(pairs.pop())
    return found


def agreement(run) -> str:
    """ms-swift's own correction, from its log: the engine's log-probs are those of the policy that sampled, nothing is clipped."""
    weights = run.series("rollout_correction/is_weight_mean")
    # Of an answer's mean log-prob, policy against engine, averaged over a step's answers.
    apart = max(run.series("rollout_correction/log_ppl_abs_diff"))
    assert len(weights) == STEPS
    # An engine with the weights of the start would be as far away as the policy is from its reference: kl is half its square.
    assert apart < 1e-4 and (2 * max(run.series("kl"))) ** 0.5 > 1e-2
    assert all(abs(weight - 1) < 1e-4 for weight in weights) and not any(run.series("rollout_correction/clipped_frac"))
    return (
        f"LoRA, engine and policy in fp32, a tiny random model: {STEPS} steps, two on each generation; pairs whole, rewards those of "
        "the completions scored again; rollout_importance_sampling_mode token_truncate finds the engine's mean log-prob of an answer "
        f"{apart:.0e} from the policy's on average in the worst step, and clips nothing"
    )


def test_generative_reward_model(train, tmp_path):
    rows = scoring_rows(PAIRS)
    model = build_scoring_model(tmp_path / "model", malformed=0.9, head_dim=32)
    environment = {"BT_DELTA_TEMP": "20", "BT_LOG_PAIRS": "true"}
    data = write_rows(tmp_path / "rows.jsonl", rows)
    run = train("bt_grpo", model, data, environment, reward_funcs="bt_pointwise_baseline")
    preferred = {row["pair_id"]: row["preferred_side"] for row in rows}
    pairs, generations = pairs_of(run), tables(run)
    assert len(pairs) == len(generations) == STEPS // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BT_DELTA_TEMP", "20")
        from swift_ext.bt_grpo.rewards import BTBaseline

        scorer = BTBaseline()
        for pair, table in zip(pairs, generations, strict=True):
            answers = table["completion"]
            again = scorer(
                answers,
                pair_id=[pair] * 4,
                side=[0, 0, 1, 1],
                preferred_side=[preferred[pair]] * 4,
                parser_name=["score100_last"] * 4,
            )
            assert table["BTBaseline"] == pytest.approx(again, abs=1e-6), (pair, answers)
    assert len({tuple(table["completion"]) for table in generations}) > 2
    record("Generative reward model", "vLLM colocate", "ran", agreement(run), PACKAGES)


def test_pairwise_judge(train, tmp_path):
    from trl_ext.objectives.verdicts import parse_verdict

    model = build_scoring_model(tmp_path / "model", malformed=0.7, answers=VERDICTS, head_dim=32)
    rows = judging_rows(PAIRS)
    run = train(
        "pairwise_judge", model, write_rows(tmp_path / "rows.jsonl", rows), {"JUDGE_LOG_PAIRS": "true"},
        reward_funcs=["pairwise_preference", "pairwise_format", "pairwise_consistency"], reward_weights=[1, 0.1, 0.5],
    )  # fmt: skip
    labels = {(row["pair_id"], row["side"]): row["ground_truth"] for row in rows}
    pairs, generations = pairs_of(run), tables(run)
    assert len(pairs) == len(generations) == STEPS // 2
    for pair, table in zip(pairs, generations, strict=True):
        truth = [labels[pair, side] for side in (0, 0, 1, 1)]
        right = [parse_verdict(text) == label for text, label in zip(table["completion"], truth, strict=True)]
        assert [float(one) for one in table["pairwise_preference"]] == [float(one) for one in right], (pair, table)
    assert len({tuple(table["completion"]) for table in generations}) > 2
    record("Pairwise judge", "vLLM colocate", "ran", agreement(run), PACKAGES)
