"""Pair-coupled GRPO through the real `swift rlhf`: whole pairs in one and two processes, exact resume, loud refusals.

A tiny model whose answers are scores; about 17 short runs, four of them in two processes. The one of two epochs is started by the
command line itself.
"""

import json
from collections import Counter

import pytest

from tests.conftest import swift_flags
from tests.engines.record import apart, record
from tests.swift_ext import two_ranks
from tests.tiny import build_scoring_model, scoring_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration

PAIRS, K = 12, 2
BT = {"BT_DELTA_TEMP": 20, "BT_LOG_PAIRS": "true"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_scoring_model(tmp_path_factory.mktemp("scorer") / "model", malformed=0.9)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", scoring_rows(PAIRS))


@pytest.fixture(scope="module")
def train(model, rows, run_swift, tmp_path_factory):
    """train(environment, processes=1, ..., **flags): one pair (4 rows, of which 2 fit a step) a rank and generation."""
    folder = tmp_path_factory.mktemp("runs")
    count = iter(range(1000))

    def run(environment=None, processes=1, succeed=True, plugin="bt_grpo", until=None, command_line=False, **flags):
        run_folder = flags.pop("output_dir", None) or folder / str(next(count))
        flags = {
            "rlhf_type": "grpo", "reward_funcs": "bt_pointwise_baseline", "num_generations": K, "steps_per_generation": 2,
            "per_device_train_batch_size": 2, "max_completion_length": 2, "temperature": 1.0, "beta": 0.04,
        } | flags  # fmt: skip
        options = swift_flags(model, flags.pop("dataset", rows), run_folder, **flags)
        settings, sharded = BT if environment is None else environment, "fsdp" in flags
        done = run_swift(run_folder, options, settings, plugin, processes, until, command_line, sharded)
        assert (done.returncode == 0) == succeed, done.output[-3000:]
        return done

    return run


def generations(run, ranks=1) -> list[list[tuple]]:
    """For each rank, in order: (step, pairs) of every generation; both sides of a pair must be there."""
    of_ranks = []
    for rank in range(ranks):
        lines = (run.folder / f"pairs-rank{rank}.jsonl").read_text().splitlines()
        of_ranks.append([])
        for line in map(json.loads, lines):
            sides = {}
            for pair, side in line["pairs_and_sides"]:
                sides.setdefault(pair, []).append(side)
            assert all(found == [0, 1] for found in sides.values()), line
            assert line["rank"] == rank
            of_ranks[-1].append((line["step"], tuple(sides)))
    return of_ranks


def pairs_in(generated) -> Counter:
    return Counter(pair for rank in generated for _, pairs in rank for pair in pairs)


@pytest.fixture(scope="module")
def two_epochs(train):
    """30 steps in one process: 15 generations, of which 12 are the first epoch."""
    return train(max_steps=30, save_strategy="steps", save_steps=7, log_completions=True, command_line=True)


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_an_epoch_generates_every_pair_once(two_epochs):
    generated = generations(two_epochs)
    first, second = generated[0][:12], generated[0][12:]
    assert pairs_in([first]) == Counter(range(PAIRS))
    assert [step for step, _ in generated[0]] == list(range(0, 30, 2))
    assert [pairs for _, pairs in second] != [pairs for _, pairs in first[:3]]


def test_stock_grpo_cuts_pairs(train, tmp_path):
    """Why the sampler is there: with the stock trainer, the same rewards meet half pairs."""
    plugin = tmp_path / "rewards_only.py"
    plugin.write_text(
        "from swift.rewards import orms\nfrom swift_ext.bt_grpo.rewards import REWARDS\norms.update(REWARDS)\n"
    )
    done = train({"BT_DELTA_TEMP": 20}, plugin=False, succeed=False, external_plugins=plugin, steps_per_generation=2)
    assert "has only side" in done.output


def test_two_processes_keep_pairs_whole(train):
    run = train(processes=2, max_steps=12)
    generated = generations(run, ranks=2)
    assert pairs_in(generated) == Counter(range(PAIRS))
    assert len(generated[0]) == len(generated[1]) == 6
    seen = f"two CPU ranks: 12 steps, each of {PAIRS} pairs generated once and whole on one rank"
    record("Generative reward model", "DDP", "ran", seen, two_ranks.PACKAGES)


@pytest.fixture(scope="module")
def ddp(train):
    return train(**two_ranks.STEPS)


@pytest.mark.parametrize("engine", two_ranks.ENGINES)
def test_two_ranks_take_the_steps_of_ddp(engine, train, ddp):
    two_ranks.takes_the_steps_of_ddp("Generative reward model", engine, train, ddp, generations)


@pytest.mark.long
def test_fsdp1_is_refused(train, tmp_path):
    two_ranks.fsdp1_is_refused("Generative reward model", train, tmp_path)


def test_reuse_of_generations_generates_each_pair_once(train):
    """num_iterations 2: a chunk of one pair is used for four steps."""
    run = train(num_iterations=2, max_steps=8)
    assert [step for step, _ in generations(run)[0]] == [0, 4]
    assert max(pairs_in(generations(run)).values()) == 1


def test_dynamic_sampling_replaces_whole_pairs(train):
    """Rewards of two values leave many groups without spread; what is trained on still consists of whole pairs."""
    run = train(
        {"BT_LOG_PAIRS": "true"},
        reward_funcs="bt_pointwise_binary",
        dynamic_sample=True,
        max_steps=6,
        log_completions=True,
    )
    assert len(generations(run)[0]) > 3  # pairs were sampled again, and each of those calls had both sides


def test_evaluation_has_whole_pairs(train, tmp_path):
    held_out = write_rows(tmp_path / "held_out.jsonl", scoring_rows(5, seed=9))
    run = train(
        val_dataset=held_out, eval_strategy="steps", eval_steps=2, max_steps=2, per_device_eval_batch_size=4,
        split_dataset_ratio=None,
    )  # fmt: skip
    (evaluation,) = run.evaluations
    assert {"eval_bt/parse_failure", "eval_reward"} <= evaluation.keys()


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_model_card_names_the_paper_the_objectives_the_data_and_the_claim(two_epochs):
    card = (two_epochs.folder / "README.md").read_text("utf-8")
    assert "trained with GRPO" in card and "- generative-reward-model" in card
    assert "| bt_pointwise_baseline | 1 | S log sigma(margin / T) + O, the margin bounded as set. |" in card
    assert "| settings |  | `BT_" in card
    assert "rows, digest `" in card and "`python -m launch reproduce bt-judgement`" in card


def test_log_has_the_metrics_and_they_agree_with_the_completions(two_epochs):
    from datasets_builders.scoring.parsers import get_parser

    parser = get_parser("score100_last")
    steps = {row["global_step/max_steps"].split("/")[0]: row for row in two_epochs.steps}
    failures = {}
    for line in (two_epochs.folder / "completions.jsonl").read_text().splitlines():
        table = json.loads(line)
        failures[table["step"][0]] = sum(parser(text) is None for text in table["completion"]) / len(
            table["completion"]
        )
    generated = [str(step) for step in range(1, 31, 2)]  # the log counts steps from 1
    logged = [steps[step]["bt/parse_failure"] for step in generated]
    assert logged == pytest.approx([failures[step] for step in generated])
    assert 0 < sum(logged) / len(logged) < 1
    for name in (
        "bt/correct", "bt/tie", "bt/saturated", "bt/margin", "rewards/BTBaseline/mean",
        "bt/score_mean", "bt/score_std_between", "bt/score_std_within", "bt/score_distinct",
    ):  # fmt: skip
        assert any(name in row for row in two_epochs.steps), name
    first = json.loads((two_epochs.folder / "completions.jsonl").read_text().splitlines()[0])["completion"]
    scores = [score for score in map(parser, first) if score is not None]
    assert steps["1"].get("bt/score_distinct") == (len(set(scores)) or None)


def test_without_vllm_all_tokens_are_drawn_from_and_the_log_says_so(two_epochs):
    """ms-swift's --top_k -1 alone reaches transformers as 50."""
    assert "answers are drawn at temperature 1, top-p 1, all tokens" in two_epochs.output


def test_min_reward_std_changes_advantages_as_it_says(train):
    """The floor divides by at least 5 where the spread is smaller; the same seed gives the same first completions."""
    runs = {
        mode: train({"BT_DELTA_TEMP": 20} | extra, max_steps=1, log_completions=True)
        for mode, extra in {
            "off": {},
            "floor": {"BT_MIN_REWARD_STD": 5},
            "zero": {"BT_MIN_REWARD_STD": 5, "BT_MIN_REWARD_STD_MODE": "zero"},
        }.items()
    }
    tables = {
        mode: json.loads((run.folder / "completions.jsonl").read_text().splitlines()[0]) for mode, run in runs.items()
    }
    rewards = tables["off"]["BTBaseline"]
    assert rewards == tables["floor"]["BTBaseline"] == tables["zero"]["BTBaseline"]
    assert any(tables["off"]["advantages"])
    for start in range(0, len(rewards), K):
        group = rewards[start : start + K]
        mean = sum(group) / K
        spread = (sum((one - mean) ** 2 for one in group) / (K - 1)) ** 0.5
        for row in range(start, start + K):
            centred = rewards[row] - mean
            assert tables["off"]["advantages"][row] == pytest.approx(centred / (spread + 1e-4), abs=1e-4)
            assert tables["floor"]["advantages"][row] == pytest.approx(centred / (max(spread, 5) + 1e-4), abs=1e-4)
            assert tables["zero"]["advantages"][row] == pytest.approx(
                0 if spread < 5 else centred / (spread + 1e-4), abs=1e-4
            )
    assert "frac_reward_low_std" in runs["floor"].steps[0] and "frac_reward_low_std" not in runs["off"].steps[0]


def test_pair_weight_on_the_advantage_survives_group_scaling(train):
    flags = {
        "reward_funcs": "bt_pointwise_graded_hardpair", "max_steps": 1, "log_completions": True, "num_generations": 8,
        "steps_per_generation": 8,
    }  # fmt: skip
    plain = train({}, **flags)
    weighted = train({"BT_PAIR_WEIGHT_ON": "advantage"}, **flags)
    assert "of the weights of pairs of BTGradedHardPair" in plain.output and "weights of pairs" not in weighted.output
    before, after = (
        json.loads((run.folder / "completions.jsonl").read_text().splitlines()[0]) for run in (plain, weighted)
    )
    assert before["completion"] == after["completion"]
    weights = []
    for start in (0, 8):  # the two sides of the one pair; the logged rewards are without weight now
        group = after["BTGradedHardPair"][start : start + 8]
        mean = sum(group) / 8
        spread = (sum((one - mean) ** 2 for one in group) / 7) ** 0.5
        for reward, advantage in zip(group, after["advantages"][start : start + 8], strict=True):
            if reward != mean:
                weights.append(advantage * (spread + 1e-4) / (reward - mean))
    assert weights and all(one == pytest.approx(weights[0], rel=1e-4) for one in weights)
    assert 0 < weights[0] < 1


# --- resume -----------------------------------------------------------------------------------------------------------


def test_resume_in_the_second_epoch_is_exact(train, two_epochs):
    """The epoch has 24 steps: a resume after step 28 must find the second epoch's order, and draw the same samples."""
    again = train(max_steps=30, resume_from_checkpoint=two_epochs.folder / "checkpoint-28")
    assert generations(again)[0] == [one for one in generations(two_epochs)[0] if one[0] >= 28]
    steps = [row for row in two_epochs.steps if int(row["global_step/max_steps"].split("/")[0]) > 28]
    for old, new in zip(steps, again.steps, strict=True):
        assert new.get("reward") == pytest.approx(old.get("reward"), abs=1e-6)  # logged where pairs are generated
        assert new["loss"] == pytest.approx(old["loss"], abs=1e-6)
        assert new["grad_norm"] == pytest.approx(old["grad_norm"], rel=1e-4, abs=1e-6)
    losses = apart((row["loss"] for row in again.steps), (row["loss"] for row in steps))
    seen = f"LoRA in fp32, 30 steps, an epoch generates each pair once; resumed after step 28: its pairs, losses {losses} apart at most"
    record("Generative reward model", "transformers", "ran", seen, two_ranks.PACKAGES)


def test_resume_in_the_middle_of_a_generation_takes_up_its_pairs(train, two_epochs):
    """After step 7 the pair of steps 6 and 7 has one of its two steps left; it is generated anew, then the order goes on."""
    again = train(max_steps=12, resume_from_checkpoint=two_epochs.folder / "checkpoint-7")
    whole = dict(generations(two_epochs)[0])
    assert generations(again)[0] == [(7, whole[6]), (8, whole[8]), (10, whole[10])]


def test_a_killed_run_in_two_processes_loses_and_repeats_no_pair(train, tmp_path):
    flags = {"processes": 2, "max_steps": 16, "save_strategy": "steps", "save_steps": 4}
    whole = train(**flags)
    folder = tmp_path / "killed"
    killed = train(**flags, output_dir=folder, until="checkpoint-8/trainer_state.json")
    before = [rank[:] for rank in generations(killed, 2)]
    resumed = train(**flags, output_dir=tmp_path / "resumed", resume_from_checkpoint=folder / "checkpoint-4")
    for full, first, second in zip(generations(whole, 2), before, generations(resumed, 2), strict=True):
        assert [one for one in first if one[0] < 4] + second == full
    rewards = {row["global_step/max_steps"]: row.get("reward") for row in whole.steps}
    assert len(resumed.steps) == 12
    for row in resumed.steps:
        assert row.get("reward") == pytest.approx(rewards[row["global_step/max_steps"]], abs=1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "flags", "message"),
    [
        ({}, {"steps_per_generation": 3}, "no multiple of 4 = 2 sides x num_generations 2"),
        ({"BT_GRADE_THRESH": 1}, {}, "BT_GRADE_THRESH has no effect on BTBaseline"),
        ({"BT_MIN_REWARD_STD": 1, "BT_MIN_REWARD_STD_MODE": "drop"}, {}, "needs --dynamic_sample true"),
    ],
    ids=["batch", "idle setting", "drop"],
)
def test_refused(train, environment, flags, message):
    done = train(environment, succeed=False, **flags)
    assert message in done.output
    if "steps_per_generation" in flags:
        assert "model_parameter_info" not in done.output and "Loading weights" not in done.output


def test_rows_that_are_no_pairs_are_refused(train, tmp_path):
    halves = write_rows(tmp_path / "halves.jsonl", scoring_rows(6)[:-1])
    assert "1 of 6 pairs have a fault (1 incomplete)" in train(dataset=halves, succeed=False).output
