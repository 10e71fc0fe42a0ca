"""A pairwise judge by GRPO through the real `swift rlhf`: both orders together, learning, resume, refusals."""

import json
from collections import Counter

import pytest

from tests.conftest import swift_flags
from tests.engines.record import record
from tests.swift_ext import two_ranks
from tests.tiny import VERDICTS, build_scoring_model, judging_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration

PAIRS, K = 12, 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_scoring_model(tmp_path_factory.mktemp("judge") / "model", malformed=0.7, answers=VERDICTS)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """With a system message, so that the answer is the third message."""
    system = {"role": "system", "content": "Compare two answers."}
    made = [{**row, "messages": [system, *row["messages"]]} for row in judging_rows(PAIRS)]
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", made)


@pytest.fixture(scope="module")
def train(model, rows, run_swift, tmp_path_factory):
    """train(environment, processes=1, ..., **flags): one pair (4 rows, of which 2 fit a step) a rank and generation."""
    folder = tmp_path_factory.mktemp("runs")
    count = iter(range(1000))

    def run(environment=None, processes=1, succeed=True, until=None, command_line=False, **flags):
        run_folder = flags.pop("output_dir", None) or folder / str(next(count))
        flags = {
            "rlhf_type": "grpo", "reward_funcs": ["pairwise_preference", "pairwise_format", "pairwise_consistency"],
            "reward_weights": [1, 0.1, 0.5], "num_generations": K, "steps_per_generation": 2,
            "per_device_train_batch_size": 2, "max_completion_length": 2, "temperature": 1.0, "beta": 0.04,
            "log_completions": True,
        } | flags  # fmt: skip
        options = swift_flags(model, flags.pop("dataset", rows), run_folder, **flags)
        settings = {"JUDGE_LOG_PAIRS": "true"} if environment is None else environment
        done = run_swift(
            run_folder, options, settings, "pairwise_judge", processes, until, command_line, "fsdp" in flags
        )
        assert (done.returncode == 0) == succeed, done.output[-3000:]
        return done

    return run


def generations(run, ranks=1) -> list[list[tuple]]:
    """For each rank, in order: (step, pairs) of every generation; both orders of a pair must be there."""
    of_ranks = []
    for rank in range(ranks):
        lines = [json.loads(line) for line in (run.folder / f"pairs-rank{rank}.jsonl").read_text().splitlines()]
        for line in lines:
            sides = Counter(pair for pair, _ in line["pairs_and_sides"])
            assert set(sides.values()) == {2}, line
        of_ranks.append(
            [(line["step"], tuple(sorted({pair for pair, _ in line["pairs_and_sides"]}))) for line in lines]
        )
    return of_ranks


@pytest.fixture(scope="module")
def epoch(train):
    return train(max_steps=2 * PAIRS, save_strategy="steps", save_steps=9, command_line=True)


def tables(run) -> list[dict]:
    return [json.loads(line) for line in (run.folder / "completions.jsonl").read_text().splitlines()]


def test_an_epoch_generates_both_orders_of_every_pair_once(epoch):
    pairs = Counter(pair for _, found in generations(epoch)[0] for pair in found)
    assert len(pairs) == PAIRS and set(pairs.values()) == {1}


def test_the_model_card_names_the_paper_the_objectives_the_data_and_the_claim(epoch):
    card = (epoch.folder / "README.md").read_text("utf-8")
    assert "trained with GRPO" in card and "- pairwise-judge" in card
    assert (
        "| pairwise_format | 0.1 | 1 for an answer that ends with its only, readable `<preference>` tag, else 0. |"
        in card
    )
    assert "rows, digest `" in card and "`python -m launch reproduce judge-consistency`" in card


def test_the_log_agrees_with_the_answers(epoch):
    """Every metric again, from the completions that ms-swift wrote."""
    from trl_ext.objectives.verdicts import parse_verdict

    steps = {row["global_step/max_steps"].split("/")[0]: row for row in epoch.steps}
    checked = Counter()
    for table in tables(epoch):
        row = steps[table["step"][0]]
        if "judge/accuracy" not in row:  # ms-swift writes the table of a generation again at each step that reuses it
            continue
        verdicts = [parse_verdict(text) for text in table["completion"]]
        right = [float(one) for one in table["pairwise_preference"]]
        # two answers to the original order, then two to the swapped one
        assert row["judge/accuracy"] == pytest.approx(sum(right) / 4, abs=1e-6)
        assert row["judge/accuracy_original_order"] == pytest.approx(sum(right[:2]) / 2, abs=1e-6)
        assert row["judge/accuracy_swapped_order"] == pytest.approx(sum(right[2:]) / 2, abs=1e-6)
        assert row["judge/no_verdict"] == pytest.approx(verdicts.count(None) / 4, abs=1e-6)
        decided = [verdict for verdict in verdicts if verdict in ("A", "B")]
        for label in ("A", "B", "tie"):
            assert row[f"judge/share_{label}"] == pytest.approx(verdicts.count(label) / 4, abs=1e-6)
        if decided:
            assert row["judge/first"] == pytest.approx(decided.count("A") / len(decided), abs=1e-6)
        swap = {"A": "B", "B": "A", "tie": "tie"}
        same = [one is not None and swap.get(other) == one for one in verdicts[:2] for other in verdicts[2:]]
        assert row["judge/consistency"] == pytest.approx(sum(same) / 4, abs=1e-6)
        checked.update(same=sum(same), right=sum(right), silent=verdicts.count(None), answers=4)
    assert checked["answers"] == 4 * PAIRS and all(checked[name] for name in ("same", "right", "silent"))
    seen = f"LoRA in fp32, {2 * PAIRS} steps: both orders of each pair together, the metrics logged are those of the answers written"
    record("Pairwise judge", "transformers", "ran", seen, two_ranks.PACKAGES)


def test_two_processes_keep_both_orders_on_one_rank_and_a_killed_run_takes_up_the_same_pairs(
    train, model, rows, tmp_path
):
    flags = {"processes": 2, "max_steps": 12, "save_strategy": "steps", "save_steps": 5}
    whole = train(**flags, output_dir=tmp_path / "whole")
    found = generations(whole, ranks=2)
    assert Counter(pair for rank in found for _, pairs in rank for pair in pairs).keys() == {
        row["pair_id"] for row in judging_rows(PAIRS)
    }
    killed = train(**flags, until="checkpoint-5/trainer_state.json", output_dir=tmp_path / "killed")
    checkpoint = killed.folder / "checkpoint-5"
    resumed = train(**flags, resume_from_checkpoint=checkpoint, output_dir=tmp_path / "resumed")
    later = [[one for one in rank if one[0] >= 5] for rank in found]
    continued = generations(resumed, ranks=2)
    # step 5 is in the middle of a generation batch: its pairs are generated again, then the others follow
    assert [rank[-len(one) :] for rank, one in zip(continued, later, strict=True)] == later
    seen = "two CPU ranks: 12 steps, both orders of a pair on one rank; a killed run takes up the same pairs"
    record("Pairwise judge", "DDP", "ran", seen, two_ranks.PACKAGES)


def test_two_processes_resumed_in_the_second_epoch_have_its_order(train, tmp_path):
    flags = {"processes": 2, "max_steps": 22, "save_strategy": "steps", "save_steps": 16}
    whole = generations(train(**flags, output_dir=tmp_path / "whole"), ranks=2)
    resumed = train(
        **flags, resume_from_checkpoint=tmp_path / "whole" / "checkpoint-16", output_dir=tmp_path / "resumed"
    )
    later = [[one for one in rank if one[0] >= 16] for rank in whole]
    assert len(later[0]) == 3 and generations(resumed, ranks=2) == later


PLAIN = {"JUDGE_LOG_PAIRS": "true", "JUDGE_SHARED_PREFIX": "off"}  # FSDP2 does not share prompts


@pytest.fixture(scope="module")
def ddp(train):
    return train(**two_ranks.STEPS, environment=PLAIN)


@pytest.mark.long
@pytest.mark.parametrize("engine", two_ranks.ENGINES)
def test_two_ranks_take_the_steps_of_ddp(engine, train, ddp):
    two_ranks.takes_the_steps_of_ddp("Pairwise judge", engine, train, ddp, generations, environment=PLAIN)


@pytest.mark.long
def test_fsdp1_is_refused(train, tmp_path):
    two_ranks.fsdp1_is_refused("Pairwise judge", train, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "half"}, "12 incomplete"),
        ({"dataset": "unlabelled"}, "1 no_ground_truth"),
        ({"dataset": "contradictory"}, "1 contradictory"),
        ({"reward_funcs": "accuracy", "reward_weights": None}, "no reward function of this run reads verdicts"),
        ({"num_generations": 4}, "pairs would be cut in two"),
        ({"environment": {"JUDGE_LOG_PAIR": "true"}}, "JUDGE_LOG_PAIRS"),
    ],
    ids=["half", "unlabelled", "contradictory", "reward", "batch", "setting"],
)
def test_runs_that_cannot_work_are_refused(train, tmp_path, change, message):
    made = judging_rows(PAIRS)
    change = dict(change)
    match change.get("dataset"):
        case "half":
            made = [row for row in made if row["side"] == 0]
        case "unlabelled":
            made[3]["ground_truth"] = None
        case "contradictory":
            made[1]["ground_truth"] = made[0]["ground_truth"]
    if "dataset" in change:
        change["dataset"] = write_rows(tmp_path / "rows.jsonl", made)
    assert message in train(succeed=False, max_steps=1, **change).output
