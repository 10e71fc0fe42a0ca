"""RewardBench 2, RM-Bench and JudgeBench: their formats, and their own scoring against a count made in the test."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_builders.io import SkipCounter
from datasets_builders.judging.prompt import PairwisePrompt
from launch.judge.benchmarks import base
from launch.judge.benchmarks.base import distinct
from launch.judge.benchmarks.registry import BENCHMARKS
from launch.judge.verdicts import JudgedRow
from tests.launch.judge.benchmark_rows import (
    DOMAINS,
    SOURCES,
    by_score,
    judgebench_row,
    rewardbench2_row,
    rm_bench_row,
    score_of,
    write,
)
from tests.launch.judge.eval_cases import JUDGES, judged

RB2, RMB, JB = (BENCHMARKS[name] for name in ("rewardbench2", "rm-bench", "judgebench"))
FOUR = st.lists(st.integers(0, 3), min_size=4, max_size=4)
SIX = st.lists(st.integers(0, 4), min_size=6, max_size=6)


def load(benchmark, source, **options):
    return benchmark.load(source=str(source), skips=SkipCounter(), **options)


def scored(benchmark, source, judge, **options):
    pairs = load(benchmark, source, **options)
    return benchmark.evaluate(pairs, judged(pairs, judge))


def rewardbench2_file(tmp_path, name="rb2.jsonl"):
    return write(tmp_path / name, [
        rewardbench2_row(1, [9], [1, 2, 3], "Math"),
        rewardbench2_row(2, [5], [1, 5, 5], "Math"),
        rewardbench2_row(3, [5], [1, 6, 5], "Focus"),
        rewardbench2_row(4, [9], [1, 2], "Ties", "ref:0"),
        rewardbench2_row(5, [9, 8], [1, 2, 3], "Ties", "tied:0"),
        rewardbench2_row(6, [9, 3], [1, 2, 3], "Ties", "tied:1"),
    ])  # fmt: skip


def rm_bench_file(tmp_path, name="rmb.json"):
    return write(tmp_path / name, [rm_bench_row(i, [4, 5, 6], [1, 2, 3], d) for i, d in enumerate(DOMAINS)])


def judgebench_file(tmp_path, name="jb.jsonl"):
    rows = [judgebench_row(i, i % 3, 1, ["A>B", "B>A"][i % 2], s) for i, s in enumerate(SOURCES)]
    return write(tmp_path / name, rows)


FILES = {"rewardbench2": rewardbench2_file, "rm-bench": rm_bench_file, "judgebench": judgebench_file}
CASES = [(name, ending) for name in FILES for ending in (".jsonl", ".json", ".parquet")]


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ending"), CASES)
def test_every_container_gives_the_same_pairs(name, ending, tmp_path):
    benchmark, make = BENCHMARKS[name], FILES[name]
    pairs = load(benchmark, make(tmp_path, f"this{ending}"))
    assert pairs == load(benchmark, make(tmp_path, "other.jsonl"))
    assert {pair.source for pair in pairs} == {benchmark.hub_name}


def test_pairs_of_rewardbench2(tmp_path):
    """Right against wrong: 3 + 3 + 3, and 1 x 2, 2 x 3, 2 x 3 in Ties."""
    pairs = load(RB2, rewardbench2_file(tmp_path))
    assert len(pairs) == len(distinct(pairs)) == 9 + 2 + 6 + 6
    assert Counter(pair.subset for pair in pairs) == {"Math": 6, "Focus": 3, "Ties": 14}
    for pair in pairs:
        better = pair.responses["AB".index(pair.label)]
        assert f".c{pair.meta['chosen_index']}," in better
        assert f".r{pair.meta['rejected_index']}," in pair.responses["BA".index(pair.label)]
        assert pair.meta.get("kind") == (None if pair.subset != "Ties" else "tied" if pair.meta["item"] > 3 else "ref")
        assert pair.conversation == ({"role": "user", "content": f"Question {pair.meta['item'] + 1}?"},)


def test_pairs_of_rm_bench(tmp_path):
    pairs = load(RMB, rm_bench_file(tmp_path))
    assert len(pairs) == 45 and {pair.subset for pair in pairs} == set(DOMAINS)
    cells = Counter((pair.meta["chosen_index"], pair.meta["rejected_index"]) for pair in pairs)
    assert cells == {(i, j): 5 for i in range(3) for j in range(3)}


def test_pairs_of_judgebench_keep_the_published_order(tmp_path):
    pairs = load(JB, judgebench_file(tmp_path), seed=5)
    assert [pair.label for pair in pairs] == ["A", "B", "A", "B", "A"]
    assert all(".a," in pair.responses[0] and ".b," in pair.responses[1] for pair in pairs)
    assert [pair.subset for pair in pairs] == ["knowledge", "knowledge", "reasoning", "math", "coding"]


def test_the_hub_is_asked_for_the_right_set_and_split(monkeypatch):
    asked = []
    monkeypatch.setattr(base, "rows_from", lambda *arguments: asked.append(arguments) or iter(()))
    for benchmark, split in ((RB2, None), (RMB, None), (JB, None), (JB, "claude")):
        with pytest.raises(ValueError, match=f"{benchmark.hub_name}: no usable row for {benchmark.name}"):
            benchmark.load(split=split, skips=SkipCounter())
    assert asked == [
        (None, "allenai/reward-bench-2", "test"),
        (None, "THU-KEG/RM-Bench", "train"),
        (None, "ScalerLab/JudgeBench", "gpt"),
        (None, "ScalerLab/JudgeBench", "claude"),
    ]
    with pytest.raises(ValueError, match="unknown split 'gtp' of judgebench; did you mean 'gpt'"):
        JB.load(split="gtp", skips=SkipCounter())


@pytest.mark.parametrize(
    ("bench", "row", "reason"),
    [
        (RB2, {**rewardbench2_row(1, [1], [0, 0]), "num_correct": 2}, "num_correct"),
        (RB2, rewardbench2_row(1, [1, 2], [0]), "several_chosen"),
        (RB2, rewardbench2_row(1, [1, 2], [0], "Ties", "both:1"), "unknown_id"),
        (RB2, {**rewardbench2_row(1, [1], [0]), "rejected": []}, "wrong_type"),
        (RB2, {**rewardbench2_row(1, [1], [0]), "chosen": "text"}, "wrong_type"),
        (RB2, {**rewardbench2_row(1, [1], [0]), "chosen": [" "]}, "empty_chosen"),
        (RB2, {**rewardbench2_row(1, [1], [0]), "chosen": ["same"], "rejected": [" same\n"]}, "identical_replies"),
        (RB2, {**rewardbench2_row(1, [1], [0]), "subset": None}, "missing_field"),
        (RMB, rm_bench_row(1, [1, 2], [0, 0, 0]), "styles"),
        (RMB, rm_bench_row(1, [1, 2, 3], [0, 0]), "styles"),
        (RMB, {**rm_bench_row(1, [1, 2, 3], [0, 0, 0]), "domain": None}, "missing_field"),
        (JB, judgebench_row(1, 1, 2, "A=B"), "unknown_label"),
        (JB, judgebench_row(1, 1, 2, "A>B", "livebench-data"), "unknown_source"),
        (JB, {**judgebench_row(1, 1, 2, "A>B"), "response_A": "x", "response_B": "x"}, "identical_replies"),
    ],
)
def test_rows_that_cannot_be_used_are_counted_or_refused(bench, row, reason, tmp_path):
    good = {RB2: rewardbench2_row(7, [1], [0]), RMB: rm_bench_row(7, [1, 2, 3], [0, 0, 0]),
            JB: judgebench_row(7, 1, 2, "A>B")}[bench]  # fmt: skip
    source, skips = write(tmp_path / "rows.jsonl", [row, good]), SkipCounter()
    pairs = bench.load(source=source, skips=skips, max_skipped_share=0.5)
    assert (skips.kept, skips.skipped) == (1, {reason: 1})
    assert {pair.conversation[0]["content"] for pair in pairs} == {"Question 7?"}
    with pytest.raises(ValueError, match=r"rows.jsonl:1: "):
        load(bench, source)
    with pytest.raises(ValueError, match="1 of 2 rows skipped"):
        bench.load(source=source, skips=SkipCounter(), max_skipped_share=0.4)


def test_a_row_that_says_the_opposite_of_an_earlier_one_is_left_out(tmp_path):
    first = judgebench_row(1, 1, 2, "A>B")
    other = {**first, "response_A": first["response_B"], "response_B": first["response_A"]}
    skips = SkipCounter()
    pairs = JB.load(source=write(tmp_path / "a.jsonl", [first, other]), skips=skips, max_skipped_share=0.5)
    assert (len(pairs), skips.skipped) == (1, {"contradicts_another_row": 1})
    same = {**other, "label": "B>A"}
    pairs = load(JB, write(tmp_path / "b.jsonl", [first, same]))
    assert (len(pairs), len(distinct(pairs))) == (2, 1)


# --- which reply is first, and which rows -----------------------------------------------------------------------------


def many(tmp_path, order=range(60)):
    rows = [rewardbench2_row(index, [5], [1, 2, 3], ["Math", "Focus"][index % 2]) for index in order]
    return write(tmp_path / f"many{order[0]}.jsonl", rows)


def test_the_seed_decides_which_reply_is_first(tmp_path):
    first, again, other = (load(RB2, many(tmp_path), seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    for pairs in (first, other):
        assert 60 < sum(pair.label == "A" for pair in pairs) < 120
    both_ways = sum(a.label != b.label for a, b in zip(first, other, strict=True))
    assert 60 < both_ways < 120
    assert [a.pair_id for a in first] == [b.pair_id for b in other]


def test_the_first_reply_does_not_depend_on_the_place_of_the_row(tmp_path):
    forward = {pair.pair_id: pair.label for pair in load(RB2, many(tmp_path))}
    assert forward == {pair.pair_id: pair.label for pair in load(RB2, many(tmp_path, list(range(59, -1, -1))))}


def test_a_part_of_the_rows_is_chosen_whole(tmp_path):
    source = many(tmp_path)
    part = load(RB2, source, n_items=10)
    assert len(part) == 30 and set(Counter(pair.meta["item"] for pair in part).values()) == {3}
    everything = load(RB2, source)
    assert [pair for pair in everything if pair.meta["item"] in {one.meta["item"] for one in part}] == part
    assert {pair.meta["item"] for pair in load(RB2, source, n_items=10, seed=1)} != {p.meta["item"] for p in part}
    assert load(RB2, source, n_items=99) == everything


@pytest.mark.parametrize("name", FILES)
def test_rows_for_the_judge_hold_both_orders_and_can_be_scored_back(name, tmp_path):
    benchmark = BENCHMARKS[name]
    pairs = load(benchmark, FILES[name](tmp_path))
    rows = [row for pair in distinct(pairs) for row in pair.rows(PairwisePrompt())]
    assert len({(row["pair_id"], row["side"]) for row in rows}) == len(rows) == 2 * len(distinct(pairs))
    perfect = [
        JudgedRow(row["pair_id"], row["side"], row["ground_truth"], None, row["subset"], (row["ground_truth"],))
        for row in rows
    ]
    assert benchmark.evaluate(pairs, perfect)["macro_accuracy"]["value"] == 1.0


def test_pairs_without_a_verdict_are_refused(tmp_path):
    pairs = load(RB2, rewardbench2_file(tmp_path))
    rows = judged(pairs, by_score)
    with pytest.raises(ValueError, match="1 of 23 pairs of rewardbench2 were not judged in both orders"):
        RB2.evaluate(pairs, rows[:-1])
    with pytest.raises(ValueError, match="23 of 23 pairs"):
        RB2.evaluate(pairs, [row for row in rows if row.side == 0])


# --- RewardBench 2 ----------------------------------------------------------------------------------------------------


def test_worked_numbers_of_rewardbench2(tmp_path):
    """Best of 4: 1, 1/3 (three share the top) and 0; Ties: ref right, of the tied one right, one equal to a wrong reply."""
    found = scored(RB2, rewardbench2_file(tmp_path), by_score)
    assert found["by_subset"]["Math"]["value"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["by_subset"]["Focus"]["value"] == 0
    assert found["macro_accuracy"]["value"] == pytest.approx((1 + 1 / 3) / 4)
    assert found["micro_accuracy"]["value"] == pytest.approx((1 + 1 / 3) / 3)
    assert (found["micro_accuracy"]["n"], found["macro_accuracy"]["n"]) == (3, 3)
    assert found["all_right"]["value"] == pytest.approx(1 / 3)
    assert (found["ties_ref"]["value"], found["ties_tied"]["value"], found["ties_tied"]["n"]) == (1.0, 0.5, 2)
    assert found["ties_accuracy"]["value"] == 0.75
    assert found["headline"]["best of 4, mean of the subsets"] == found["macro_accuracy"]
    assert "Ties" not in found["by_subset"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FOUR, st.sampled_from(["Math", "Focus", "Safety"])), min_size=1, max_size=6))
def test_best_of_4_is_the_authors_number_for_a_judge_that_has_scores(tmp_path_factory, items):
    """1 / (replies that share the highest score) where the right one is among them (`reroll_and_score_dataset`)."""
    rows = [rewardbench2_row(i, scores[:1], scores[1:], subset) for i, (scores, subset) in enumerate(items)]
    found = scored(RB2, write(tmp_path_factory.mktemp("rb2") / "x.jsonl", rows), by_score)
    own = [(scores[0] == max(scores)) / scores.count(max(scores)) for scores, _ in items]
    assert found["micro_accuracy"]["value"] == pytest.approx(sum(own) / len(own))
    for subset, cell in found["by_subset"].items():
        part = [value for value, (_, name) in zip(own, items, strict=True) if name == subset]
        assert cell["value"] == pytest.approx(sum(part) / len(part)) and cell["n"] == len(part)
    parts = [cell["value"] for cell in found["by_subset"].values()]
    assert found["macro_accuracy"]["value"] == pytest.approx(sum(parts) / len(parts))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(FOUR, st.integers(1, 3)), min_size=1, max_size=6))
def test_ties_accuracy_is_the_authors_for_a_judge_that_has_scores(tmp_path_factory, items):
    rows = [
        rewardbench2_row(i, scores[:right], scores[right:], "Ties", f"{'ref' if right == 1 else 'tied'}:{i}")
        for i, (scores, right) in enumerate(items)
    ]
    found = scored(RB2, write(tmp_path_factory.mktemp("ties") / "x.jsonl", rows), by_score)
    for kind, some in (("ref", [1]), ("tied", [2, 3])):
        own = [min(scores[:right]) > max(scores[right:]) for scores, right in items if right in some]
        assert found[f"ties_{kind}"]["n"] == len(own)
        assert found[f"ties_{kind}"]["value"] == (pytest.approx(sum(own) / len(own)) if own else None)
    assert found["micro_accuracy"]["value"] is None


@pytest.mark.parametrize(
    ("judge", "best", "ties"),
    [("perfect", 1, 1), ("wrong", 0, 0), ("always A", 0.25, 0), ("always tie", 0.25, 0), ("silent", 0, 0)],
)
def test_limits_of_rewardbench2(judge, best, ties, tmp_path):
    found = scored(RB2, rewardbench2_file(tmp_path), JUDGES[judge])
    assert {cell["value"] for cell in found["by_subset"].values()} == {best}
    assert found["macro_accuracy"]["value"] == found["micro_accuracy"]["value"] == best
    assert found["ties_accuracy"]["value"] == ties


# --- RM-Bench ---------------------------------------------------------------------------------------------------------


def authors_rm_bench(rows):
    """Mean of domains of the shares of right > wrong below, on and above the diagonal, as `compute_accuracy` has them."""
    domains = {}
    for row in rows:
        domains.setdefault("safety" if row["domain"].startswith("safety") else row["domain"], []).append(row)
    result = {"easy": [], "normal": [], "hard": [], "all": []}
    for part in domains.values():
        won = {
            (i, j): sum(score_of(row["chosen"][i]) > score_of(row["rejected"][j]) for row in part) / len(part)
            for i in range(3) for j in range(3)
        }  # fmt: skip
        levels = {
            "easy": (won[1, 0] + won[2, 0] + won[2, 1]) / 3,
            "normal": (won[0, 0] + won[1, 1] + won[2, 2]) / 3,
            "hard": (won[0, 1] + won[0, 2] + won[1, 2]) / 3,
        }
        for level, value in levels.items():
            result[level].append(value)
        result["all"].append(sum(levels.values()) / 3)
    return {name: sum(some) / len(some) for name, some in result.items()}


def test_worked_matrix_of_rm_bench(tmp_path):
    """Right replies 2, 4, 6 against 1, 3, 5: the concise one wins once, the detailed twice, Markdown always."""
    found = scored(RMB, write(tmp_path / "x.json", [rm_bench_row(1, [2, 4, 6], [1, 3, 5])]), by_score)
    assert found["matrix"] == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert [found[level]["value"] for level in ("easy", "normal", "hard")] == [1, 1, 0]
    assert found["macro_accuracy"]["value"] == pytest.approx(2 / 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SIX, st.sampled_from(DOMAINS)), min_size=1, max_size=6))
def test_levels_are_the_authors_for_a_judge_that_has_scores(tmp_path_factory, items):
    rows = [rm_bench_row(i, scores[:3], scores[3:], domain) for i, (scores, domain) in enumerate(items)]
    found = scored(RMB, write(tmp_path_factory.mktemp("rmb") / "x.jsonl", rows), by_score)
    own = authors_rm_bench(rows)
    for level in ("easy", "normal", "hard"):
        assert found[level]["value"] == pytest.approx(own[level])
    assert found["macro_accuracy"]["value"] == pytest.approx(own["all"])
    flat = [score_of(right) > score_of(wrong) for row in rows for right in row["chosen"] for wrong in row["rejected"]]
    assert found["micro_accuracy"]["value"] == pytest.approx(sum(flat) / len(flat))
    assert found["micro_accuracy"]["n"] == len(rows)
    assert not any("-" in domain for domain in found["domains"])


def test_a_cell_counts_each_order_for_a_half(tmp_path):
    pairs = load(RMB, write(tmp_path / "x.json", [rm_bench_row(1, [9, 9, 9], [1, 1, 1])]))
    rows = judged(pairs, JUDGES["perfect"])
    changed = [
        JudgedRow(row.pair_id, row.side, row.ground_truth, None, row.subset, ("tie",))
        if row.side == 1 and row.pair_id == pairs[1].pair_id else row
        for row in rows
    ]  # fmt: skip
    assert RMB.evaluate(pairs, changed)["matrix"] == [[1, 0.5, 1], [1, 1, 1], [1, 1, 1]]


def test_styles_of_the_same_text_are_asked_once_and_counted_in_each_cell(tmp_path):
    row = rm_bench_row(1, [3, 3, 0], [1, 1, 1])
    row["chosen"][1] = row["chosen"][0]
    pairs = load(RMB, write(tmp_path / "x.json", [row]))
    assert (len(pairs), len(distinct(pairs))) == (9, 6)
    assert [pair.meta["chosen_index"] for pair in distinct(pairs)] == [0, 0, 0, 2, 2, 2]
    found = RMB.evaluate(pairs, judged(pairs, by_score))
    assert found["matrix"] == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("judge", "value"), [("perfect", 1), ("wrong", 0), ("always A", 0.5), ("always tie", 0), ("silent", 0)]
)
def test_limits_of_rm_bench(judge, value, tmp_path):
    found = scored(RMB, rm_bench_file(tmp_path), JUDGES[judge])
    numbers = [found[name]["value"] for name in ("easy", "normal", "hard", "macro_accuracy", "micro_accuracy")]
    assert numbers == [value] * 5 and found["matrix"] == [[value] * 3] * 3


# --- JudgeBench -------------------------------------------------------------------------------------------------------

VOTES = ["A", "B", "tie", None]


@pytest.mark.parametrize("original", VOTES)
@pytest.mark.parametrize("swapped", VOTES)
def test_the_rule_of_judgebench(original, swapped, tmp_path):
    """The better reply is A in the original order, B in the swapped one: plus 1 for each that says so, minus 1 for the other."""
    pairs = load(JB, write(tmp_path / "x.jsonl", [judgebench_row(1, 1, 2, "A>B")]))
    rows = [JudgedRow(pairs[0].pair_id, 0, "A", None, "math", (original,)),
            JudgedRow(pairs[0].pair_id, 1, "B", None, "math", (swapped,))]  # fmt: skip
    count = {"A": 1, "B": -1}.get(original, 0) + {"B": 1, "A": -1}.get(swapped, 0)
    found = JB.evaluate(pairs, rows)
    assert (found["correct"], found["undecided"], found["incorrect"]) == (count > 0, count == 0, count < 0)
    assert found["micro_accuracy"]["value"] == found["by_subset"]["math"]["value"] == float(count > 0)


def test_kinds_of_judgebench(tmp_path):
    """A judge that is right about some: micro over pairs, macro over kinds."""
    chance = random.Random(1)
    kinds = [SOURCES[0], SOURCES[2], SOURCES[4]]
    rows = [judgebench_row(i, i, 99, chance.choice(["A>B", "B>A"]), chance.choice(kinds)) for i in range(80)]
    pairs = load(JB, write(tmp_path / "x.jsonl", rows))
    right = {pair.pair_id: chance.random() < 0.6 for pair in pairs}
    found = JB.evaluate(pairs, judged(pairs, lambda p: p.label if right[p.pair_id] else "AB".replace(p.label, "")))
    shares = {}
    for kind in ("knowledge", "reasoning", "coding"):
        own = [right[pair.pair_id] for pair in pairs if pair.subset == kind]
        shares[kind] = sum(own) / len(own)
        assert (found["by_subset"][kind]["value"], found["by_subset"][kind]["n"]) == (shares[kind], len(own))
    assert found["micro_accuracy"]["value"] == sum(right.values()) / 80
    assert found["macro_accuracy"]["value"] == pytest.approx(sum(shares.values()) / 3)
    assert found["macro_accuracy"]["value"] != pytest.approx(found["micro_accuracy"]["value"])


def test_the_same_letter_in_both_orders_is_undecided(tmp_path):
    pairs = load(JB, judgebench_file(tmp_path))
    found = JB.evaluate(pairs, judged(pairs, JUDGES["always A"]))
    assert (found["correct"], found["undecided"], found["incorrect"]) == (0, 5, 0)


@pytest.mark.parametrize(
    ("judge", "value"), [("perfect", 1), ("wrong", 0), ("always A", 0), ("always tie", 0), ("silent", 0)]
)
def test_limits_of_judgebench(judge, value, tmp_path):
    found = scored(JB, judgebench_file(tmp_path), JUDGES[judge])
    assert found["micro_accuracy"]["value"] == found["macro_accuracy"]["value"] == value


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_order_of_verdicts_changes_nothing(name, tmp_path):
    benchmark = BENCHMARKS[name]
    pairs = load(benchmark, FILES[name](tmp_path))
    rows = judged(pairs, by_score)
    first = benchmark.evaluate(pairs, rows, 3)
    assert benchmark.evaluate(pairs, rows[::-1], 3) == first == benchmark.evaluate(pairs, rows, 3)
    for cell in first["headline"].values():
        assert cell["low"] is None or cell["low"] <= cell["value"] <= cell["high"]
