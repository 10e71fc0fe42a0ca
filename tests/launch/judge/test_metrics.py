"""The numbers of a judge: by hand, by a slow count in the test, at the limits, and under changes of which all is known."""

import json
import math
import random
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.common.statistics import mean_of_means
from launch.judge.metrics import credit, evaluate_rows
from launch.judge.verdicts import JudgedRow
from tests.conftest import REPOSITORY
from tests.launch.judge.eval_cases import orders

SHARES = (
    "accuracy", "single_sample_accuracy", "three_class_accuracy", "accuracy_without_true_ties", "combined_accuracy",
    "macro_accuracy", "swap_consistency", "consistent_and_right", "position_bias", "tie_rate", "parse_rate",
)  # fmt: skip
VERDICT = st.sampled_from(["A", "B", "tie", None])
SAMPLES = st.lists(VERDICT, min_size=1, max_size=4)
TRUTH = {-3: "A", -1: "A", 0: "tie", 2: "B"}


@st.composite
def judged_rows(draw):
    """Up to eight pairs, some in one order, some of unknown truth or strength, in three subsets."""
    rows = []
    for number in range(draw(st.integers(1, 8))):
        strength = draw(st.sampled_from([*TRUTH, None]))
        truth = TRUTH.get(strength) or draw(st.sampled_from(["A", "B", "tie", None]))
        both = draw(st.sampled_from([(True, True), (True, True), (True, False), (False, True)]))
        said = [draw(SAMPLES) if there else None for there in both]
        rows += orders(f"p{number}", truth, *said, strength, draw(st.sampled_from(["", "x", "y"])))
    return rows


def values(found):
    """name -> value of every share, those of parts included."""
    flat = {name: found[name]["value"] for name in SHARES}
    for part in ("by_order", "by_strength", "by_subset"):
        flat |= {f"{part} {name}": cell["value"] for name, cell in found[part].items()}
    return flat


# --- by hand ----------------------------------------------------------------------------------------------------------

WORKED = [
    *orders("p1", "A", ["A"], ["B"], -3, "x"),  # right in both
    *orders("p2", "B", ["A"], ["A"], 1, "x"),  # the first reply in both: wrong, then right
    *orders("p3", "tie", ["tie"], ["A"], 0, "x"),  # right, then half
    *orders("p4", "A", ["tie"], [None], -2, "y"),  # half, then nothing
    *orders("p5", "B", ["B"], None, 2, "y"),  # right, one order only
]


def test_worked_numbers():
    """Pair means 1, 1/2, 3/4, 1/4, 1; strictly 1, 1/2, 1/2, 0, 1; both together A, tie, tie, none against A, B, tie, A."""
    found = evaluate_rows(WORKED)
    assert values(found) == pytest.approx({
        "accuracy": 3.5 / 5, "single_sample_accuracy": 3.5 / 5, "three_class_accuracy": 3 / 5,
        "accuracy_without_true_ties": 2.75 / 4, "combined_accuracy": (1 + 0.5 + 1 + 0) / 4,
        "macro_accuracy": (2.25 / 3 + 1.25 / 2) / 2, "swap_consistency": 1 / 4, "consistent_and_right": 1 / 4,
        # p4 has no verdict in one order; +1 and -1, +1 and +1, 0 and +1 in the others.
        "position_bias": (0 + 1 + 0.5) / 3,
        "tie_rate": (0.5 + 0.5) / 5, "parse_rate": 4.5 / 5,
        "by_order original": (1 + 0 + 1 + 0.5 + 1) / 5, "by_order swapped": (1 + 1 + 0.5 + 0) / 4,
        "by_strength 0": 0.75, "by_strength 1": 0.5, "by_strength 2": 1.25 / 2, "by_strength 3": 1.0,
        "by_subset x": 2.25 / 3, "by_subset y": 1.25 / 2,
    })  # fmt: skip
    assert {name: found[name]["n"] for name in SHARES} == {
        "accuracy": 5, "single_sample_accuracy": 5, "three_class_accuracy": 5, "accuracy_without_true_ties": 4,
        "combined_accuracy": 4, "macro_accuracy": 5, "swap_consistency": 4, "consistent_and_right": 4,
        "position_bias": 3, "tie_rate": 5, "parse_rate": 5,
    }  # fmt: skip
    assert [found[name] for name in ("pairs", "pairs_with_truth", "pairs_in_both_orders", "rows", "answers")] == [
        5, 5, 4, 9, 9,
    ]  # fmt: skip
    assert (list(found["by_strength"]), list(found["by_subset"])) == (["0", "1", "2", "3"], ["x", "y"])
    assert found["confusion"] == {
        "A": {"A": 2, "B": 0, "tie": 1, "none": 0},
        "B": {"A": 1, "B": 2, "tie": 0, "none": 1},
        "tie": {"A": 1, "B": 0, "tie": 1, "none": 0},
    }


@pytest.mark.parametrize(
    ("verdict", "truth", "worth"),
    [
        ("A", "A", 1), ("B", "A", 0), ("tie", "A", 0.5), (None, "A", 0), ("B", "B", 1), ("tie", "B", 0.5),
        ("A", "tie", 0.5), ("B", "tie", 0.5), ("tie", "tie", 1), (None, "tie", 0),
    ],
)  # fmt: skip
def test_what_a_verdict_is_worth(verdict, truth, worth):
    assert credit(verdict, truth) == worth


def test_votes_beside_single_answers():
    """Votes A, tie (two of three lead equally), A; single answers 2/3, (1 + 0 + 1/2) / 3, 1/2."""
    rows = [
        *orders("p1", "A", ["A", "A", "B"], None),
        *orders("p2", "A", ["A", "B", "tie"], None),
        *orders("p3", "A", ["A", None], None),
    ]
    found = values(evaluate_rows(rows))
    assert found["accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["three_class_accuracy"] == pytest.approx(2 / 3)
    assert found["single_sample_accuracy"] == pytest.approx((2 / 3 + 1.5 / 3 + 1 / 2) / 3)
    assert found["parse_rate"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_position_bias_counts_every_answer_that_has_a_verdict():
    """Original A, A, B, none: +1/3; swapped tie, B: -1/2."""
    found = evaluate_rows(orders("p1", "A", ["A", "A", "B", None], ["tie", "B"]))
    assert found["position_bias"]["value"] == pytest.approx((1 / 3 - 1 / 2) / 2)


def test_rows_of_unknown_truth_count_where_no_truth_is_needed():
    found = evaluate_rows([*orders("p1", "A", ["A"], ["B"]), *orders("p2", None, ["A"], ["A"])])
    assert found["accuracy"]["n"] == found["combined_accuracy"]["n"] == found["consistent_and_right"]["n"] == 1
    assert found["swap_consistency"]["value"] == 0.5 and found["position_bias"]["value"] == 0.5
    assert sum(sum(votes.values()) for votes in found["confusion"].values()) == 2
    nothing = evaluate_rows(orders("p2", None, ["A"], ["A"]))
    assert nothing["accuracy"] == nothing["macro_accuracy"] == {"value": None, "low": None, "high": None, "n": 0}


def test_answers_that_were_cut_off_are_counted():
    assert evaluate_rows([JudgedRow("p", 0, "A", None, "", ("A", "B"), 2)])["cut_off"] == 2


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judge", "wanted"),
    [
        # accuracy, both together, agree, both right, bias, ties, parsed
        (lambda truth: truth, (1, 1, 1, 1, 0, 0, 1)),
        (lambda truth: {"A": "B", "B": "A"}[truth], (0, 0, 1, 0, 0, 0, 1)),
        (lambda truth: "A", (0.5, 0.5, 0, 0, 1, 0, 1)),
        (lambda truth: "B", (0.5, 0.5, 0, 0, -1, 0, 1)),
        (lambda truth: "tie", (0.5, 0.5, 1, 0, 0, 1, 1)),
        (lambda truth: None, (0, 0, 0, 0, None, 0, 0)),
    ],
    ids=["perfect", "wrong", "always A", "always B", "always tie", "silent"],
)
def test_judges_of_one_line(judge, wanted):
    rows = []
    for number in range(20):
        truth = "AB"[number % 3 == 0]
        rows += orders(f"p{number}", truth, [judge(truth)], [judge({"A": "B", "B": "A"}[truth])])
    found = evaluate_rows(rows)
    names = ("accuracy", "combined_accuracy", "swap_consistency", "consistent_and_right", "position_bias", "tie_rate",
             "parse_rate")  # fmt: skip
    assert tuple(found[name]["value"] for name in names) == wanted
    assert found["by_order"]["original"]["n"] == found["by_order"]["swapped"]["n"] == 20


# --- a slow count -----------------------------------------------------------------------------------------------------


HALVES = {
    **{(label, label): 2 for label in ("A", "B", "tie")},
    **dict.fromkeys([("A", "tie"), ("B", "tie"), ("tie", "A"), ("tie", "B")], 1),
}


def worth(verdict, truth):
    return Fraction(HALVES.get((verdict, truth), 0), 2)


def most(verdicts):
    counts = {label: verdicts.count(label) for label in ("A", "B", "tie")}
    top = max(counts.values())
    leaders = [label for label, count in counts.items() if count == top]
    return None if top == 0 else leaders[0] if len(leaders) == 1 else "tie"


TURNED = {"A": "B", "B": "A", "tie": "tie", None: None}


def slow(rows):
    """Every share once more, pair by pair, in fractions."""
    lists = {name: [] for name in SHARES if name != "macro_accuracy"}
    parts = {}
    for name in dict.fromkeys(row.pair_id for row in rows):
        own = {row.side: row for row in rows if row.pair_id == name}
        votes = {side: most(list(row.verdicts)) for side, row in own.items()}
        n = len(own)
        first = next(iter(own.values()))
        lists["tie_rate"].append(Fraction(sum(vote == "tie" for vote in votes.values()), n))
        read = {side: [one for one in row.verdicts if one] for side, row in own.items()}
        lists["parse_rate"].append(sum(Fraction(len(read[side]), len(own[side].verdicts)) for side in own) / n)
        if n == 2:
            lists["swap_consistency"].append(int(votes[0] is not None and votes[0] == TURNED[votes[1]]))
            if read[0] and read[1]:
                sums = [Fraction(one.count("A") - one.count("B"), len(one)) for one in read.values()]
                lists["position_bias"].append(sum(sums) / 2)
        if first.ground_truth is None:
            continue
        mean = sum(worth(votes[side], row.ground_truth) for side, row in own.items()) / n
        lists["accuracy"].append(mean)
        lists["three_class_accuracy"].append(
            Fraction(sum(votes[side] == row.ground_truth for side, row in own.items()), n)
        )
        if first.ground_truth != "tie":
            lists["accuracy_without_true_ties"].append(mean)
        singles = [[worth(one, row.ground_truth) for one in row.verdicts] for row in own.values()]
        lists["single_sample_accuracy"].append(sum(sum(one) / len(one) for one in singles) / n)
        if n == 2:
            told = [votes[0], TURNED[votes[1]]]
            together = None if None in told else told[0] if len(set(told)) == 1 else "tie"
            lists["combined_accuracy"].append(worth(together, own[0].ground_truth))
            lists["consistent_and_right"].append(int(all(votes[side] == own[side].ground_truth for side in own)))
        for side, row in own.items():
            key = "by_order " + ("swapped" if side else "original")
            parts.setdefault(key, []).append(worth(votes[side], row.ground_truth))
        parts.setdefault(f"by_subset {first.subset}", []).append(mean)
        if first.preference_strength is not None:
            parts.setdefault(f"by_strength {abs(first.preference_strength)}", []).append(mean)
    found = {name: sum(one) / len(one) if one else None for name, one in {**lists, **parts}.items()}
    subsets = [value for name, value in found.items() if name.startswith("by_subset")]
    found["macro_accuracy"] = sum(subsets) / len(subsets) if subsets else None
    for name in ("by_order original", "by_order swapped"):
        found.setdefault(name, None)
    return {name: None if value is None else float(value) for name, value in found.items()}


@settings(max_examples=60, deadline=None)
@given(judged_rows())
def test_every_share_by_a_slow_count(rows):
    found = evaluate_rows(rows)
    got, wanted = values(found), slow(rows)
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name] == (value if value is None else pytest.approx(value, abs=1e-12)), name


# --- properties -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(judged_rows(), st.randoms(use_true_random=False))
def test_order_of_rows_and_repetition_change_nothing(rows, shuffler):
    first = evaluate_rows(rows, seed=3)
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert evaluate_rows(shuffled, seed=3) == first == evaluate_rows(rows, seed=3)
    json.dumps(first, allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(judged_rows())
def test_bounds(rows):
    found = evaluate_rows(rows)
    cells = {name: found[name] for name in SHARES}
    for part in ("by_order", "by_strength", "by_subset"):
        cells |= {f"{part} {name}": cell for name, cell in found[part].items()}
    for name, cell in cells.items():
        if cell["value"] is None:
            assert cell == {"value": None, "low": None, "high": None, "n": 0}
            continue
        if cell["low"] is None:  # one pair, or one of each subset: nothing to resample
            assert cell["high"] is None and cell["n"] <= len(rows)
            continue
        least = -1 if name == "position_bias" else 0
        # A bootstrap of few pairs may miss its own mean by rounding alone.
        assert least <= cell["low"] <= cell["value"] + 1e-12 and cell["value"] - 1e-12 <= cell["high"] <= 1 + 1e-12
    strictly, kindly = found["three_class_accuracy"]["value"], found["accuracy"]["value"]
    assert strictly is None or strictly <= kindly + 1e-12
    right, agree = found["consistent_and_right"], found["swap_consistency"]
    assert right["value"] is None or right["value"] * right["n"] <= agree["value"] * agree["n"] + 1e-9


@settings(max_examples=40, deadline=None)
@given(judged_rows(), st.data())
def test_a_better_verdict_never_lowers_accuracy(rows, data):
    place = data.draw(st.integers(0, len(rows) - 1))
    row = rows[place]
    if row.ground_truth is None:
        return
    wrong = {"A": "B", "B": "A", "tie": "A"}[row.ground_truth]
    results = []
    for verdict in (None, wrong, "tie", row.ground_truth):
        changed = JudgedRow(row.pair_id, row.side, row.ground_truth, row.preference_strength, row.subset, (verdict,))
        found = values(evaluate_rows([*rows[:place], changed, *rows[place + 1 :]]))
        results.append([found["accuracy"], found["single_sample_accuracy"], found["three_class_accuracy"]])
    for lower, higher in pairwise(results):
        assert all(low <= high + 1e-12 for low, high in zip(lower, higher, strict=True))
    assert results[0][0] < results[-1][0]


@settings(max_examples=30, deadline=None)
@given(judged_rows())
def test_which_order_is_called_the_original_one_does_not_matter(rows):
    renamed = [
        JudgedRow(row.pair_id, 1 - row.side, row.ground_truth, row.preference_strength, row.subset, row.verdicts)
        for row in rows
    ]
    before, after = values(evaluate_rows(rows)), values(evaluate_rows(renamed))
    assert before["by_order original"] == after["by_order swapped"]
    for name in SHARES:
        assert after[name] == (None if before[name] is None else pytest.approx(before[name], abs=1e-12)), name


# --- intervals --------------------------------------------------------------------------------------------------------


def test_pairs_are_the_unit_of_the_bootstrap():
    """Both rows of 400 pairs right or both wrong: the half-width is that of 400 draws, not of 800."""
    rows = []
    for number in range(400):
        said = (["A"], ["B"]) if number % 2 else (["B"], ["A"])
        rows += orders(f"p{number}", "A", *said)
    cell = evaluate_rows(rows)["accuracy"]
    assert (cell["value"], cell["n"]) == (0.5, 400)
    assert (cell["high"] - cell["low"]) / 2 == pytest.approx(1.96 * math.sqrt(0.25 / 400), rel=0.1)


def test_samples_of_a_row_are_no_units():
    rows = []
    for number in range(200):
        rows += orders(f"p{number}", "A", ["A" if number % 2 else "B"] * 5, None)
    cell = evaluate_rows(rows)["single_sample_accuracy"]
    assert (cell["high"] - cell["low"]) / 2 == pytest.approx(1.96 * math.sqrt(0.25 / 200), rel=0.15)


@pytest.mark.parametrize("name", ["swap_consistency", "consistent_and_right"])
def test_shares_of_pairs_have_the_interval_of_wilson(name):
    """Its ends solve (p - w)^2 = z^2 w (1 - w) / n."""
    rows = [row for number in range(7) for row in orders(f"p{number}", "A", ["A"], ["B" if number < 3 else "A"])]
    cell = evaluate_rows(rows)[name]
    assert (cell["value"], cell["n"]) == (pytest.approx(3 / 7), 7)
    for end in (cell["low"], cell["high"]):
        assert (3 / 7 - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 7)


@pytest.mark.parametrize(("said", "value"), [(("A", "B"), 1.0), (("B", "A"), 0.0), ((None, None), 0.0)])
def test_twenty_pairs_alike_are_not_certainty(said, value):
    """Every resample of equal values is the same; at 20 of 20 the interval of Wilson still begins at n / (n + z^2)."""
    rows = [row for number in range(20) for row in orders(f"p{number}", "A", *([one] for one in said))]
    result = evaluate_rows(rows)
    for name in ("accuracy", "three_class_accuracy", "combined_accuracy", "single_sample_accuracy"):
        cell, width = result[name], 1.96**2 / (20 + 1.96**2)
        assert cell["value"] == value and cell["n"] == 20
        assert (cell["low"], cell["high"]) == pytest.approx((1 - width, 1) if value else (0, width), abs=1e-4)


def test_the_seed_moves_intervals_and_no_value():
    one, two = (evaluate_rows(WORKED, seed=seed) for seed in (0, 1))
    assert values(one) == values(two)
    rows = [row for number in range(50) for row in orders(f"p{number:02d}", "A", ["AB"[number % 3 == 0]], ["tie"])]
    assert evaluate_rows(rows, seed=0)["accuracy"] != evaluate_rows(rows, seed=1)["accuracy"]


def test_the_mean_of_subsets_weighs_them_equally_and_resamples_within_them():
    """200 right and 2 that are half right: 3/4; the two never leave their subset, so no resample is above 1 or below 1/2."""
    cell = mean_of_means([[1.0] * 200, [1.0, 0.0]])
    assert (cell.value, cell.low, cell.high, cell.n) == (0.75, 0.5, 1.0, 202)
    chance = random.Random(4)
    spread = [chance.random() for _ in range(300)]
    cell = mean_of_means([spread, [0.5] * 10], seed=2)
    deviation = math.sqrt(sum((x - sum(spread) / 300) ** 2 for x in spread) / 300 / 300) / 2
    assert (cell.high - cell.low) / 2 == pytest.approx(1.96 * deviation, rel=0.1)


# --- rows that do not belong together ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no verdicts"),
        ([*WORKED, WORKED[0]], "pair p1 side 0 appears twice"),
        ([JudgedRow("p", 0, "A", None, "", ("A",)), JudgedRow("p", 1, "A", None, "", ("A",))],
         "pair p: ground_truth is 'A' in the original order, and the swapped row, turned back, says 'B'"),
        ([JudgedRow("p", 0, "A", -2, "", ("A",)), JudgedRow("p", 1, "B", -2, "", ("A",))], "preference_strength is -2"),
        ([JudgedRow("p", 0, "A", None, "x", ("A",)), JudgedRow("p", 1, "B", None, "y", ("A",))], "subset is 'x'"),
        ([JudgedRow("p", 0, None, None, "", ("A",)), JudgedRow("p", 1, "B", None, "", ("A",))], "ground_truth is None"),
    ],
)  # fmt: skip
def test_rows_that_contradict_each_other_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        evaluate_rows(rows)


# --- the same for the `evaluate` library ------------------------------------------------------------------------------


def test_the_evaluate_module_gives_the_numbers_of_the_command(tmp_path, evaluate):
    module = REPOSITORY / "launch" / "judge" / "evaluate_modules" / "judge_pairwise"
    metric = evaluate.load(str(module), cache_dir=str(tmp_path / "cache"))
    rows = [
        *orders("p1", "A", ["A", None], ["B"]),
        *orders("p2", None, ["tie"], ["A", "A"]),
        *orders("p3", "B", ["A"], None),
    ]
    found = metric.compute(
        pair_ids=[row.pair_id for row in rows],
        sides=[row.side for row in rows],
        verdicts=[list(row.verdicts) for row in rows],
        references=[row.ground_truth for row in rows],
        seed=5,
    )
    assert found == evaluate_rows(rows, seed=5)
    assert "None stands for" in metric.description
