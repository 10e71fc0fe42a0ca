import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.judge.verdicts import JudgedRow, combine_orders, group_orders, majority, read_verdicts
from tests import tiny
from trl_ext.objectives.verdicts import swap_label

VERDICTS = st.sampled_from(["A", "B", "tie", None])


def row(verdicts, side=0, **other):
    given = {"pair_id": "p", "ground_truth": "A", "preference_strength": -2, "subset": "chat", "capped": 0, **other}
    return JudgedRow(side=side, verdicts=tuple(verdicts), **given)


@pytest.mark.parametrize(
    ("verdicts", "vote"),
    [
        (["A"], "A"),
        (["A", "B", "B"], "B"),
        (["A", "B"], "tie"),
        (["A", "tie"], "tie"),
        (["A", "A", "B", "B", "tie"], "tie"),
        (["A", "A", "B", "tie"], "A"),
        (["tie", "tie", "A"], "tie"),
        (["B", None, None, None], "B"),
        ([None, None], None),
    ],
)
def test_a_vote_is_what_most_verdicts_say(verdicts, vote):
    assert majority(verdicts) == vote
    assert row(verdicts).vote == vote


@given(st.lists(VERDICTS, min_size=1, max_size=9), st.randoms())
def test_a_vote_turns_around_with_the_verdicts_and_knows_no_order(verdicts, random):
    assert majority(map(swap_label, verdicts)) == swap_label(majority(verdicts))
    shuffled = random.sample(verdicts, len(verdicts))
    assert majority(shuffled) == majority(verdicts)


# (vote of the original order, vote of the swapped one as it was said there) -> verdict in the original frame
COMBINED = {
    ("A", "B"): "A",
    ("B", "A"): "B",
    ("tie", "tie"): "tie",
    ("A", "A"): "tie",
    ("B", "B"): "tie",
    ("A", "tie"): "tie",
    ("tie", "B"): "tie",
    ("A", None): None,
    ("tie", None): None,
    (None, "A"): None,
    (None, "B"): None,
    (None, "tie"): None,
    (None, None): None,
}


@pytest.mark.parametrize(("votes", "verdict"), COMBINED.items())
def test_both_orders_make_one_verdict(votes, verdict):
    original, swapped = row([votes[0]]), row([votes[1]], side=1)
    assert combine_orders(original, swapped) == verdict
    assert combine_orders(original, None) == votes[0]
    assert combine_orders(None, swapped) == swap_label(votes[1])
    assert combine_orders(None, None) is None


@given(st.lists(VERDICTS, min_size=1, max_size=5), st.lists(VERDICTS, min_size=1, max_size=5))
def test_exchanging_the_orders_turns_the_verdict_around(first, second):
    plain = combine_orders(row(first), row(second, side=1))
    assert combine_orders(row(second), row(first, side=1)) == swap_label(plain)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((row(["A"], side=1), row(["A"], side=1)), "expected the row of side 0; found side 1"),
        ((row(["A"]), row(["A"])), "expected the row of side 1; found side 0"),
        ((row(["A"]), row(["A"], side=1, pair_id="q")), "two pairs: p and q"),
    ],
)
def test_rows_that_are_no_two_orders_of_a_pair_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        combine_orders(*rows)


def test_orders_are_grouped_as_pairs_appear():
    second, first, alone = row(["A"], 1, pair_id="x"), row(["B"], 0, pair_id="x"), row(["A"], 1, pair_id="a")
    assert list(group_orders([second, alone, first]).items()) == [("x", (first, second)), ("a", (None, alone))]


LINE = {
    "pair_id": "p", "side": 0, "ground_truth": "A", "preference_strength": -2, "subset": "chat",
    "verdicts": ["A", "B", None, "A"], "vote": "A", "capped": 1,
}  # fmt: skip


def test_a_line_keeps_its_keys_and_values(tmp_path):
    rows = [row(["A", "B", None, "A"], capped=1), row(["tie"], 1, ground_truth=None, preference_strength=None)]
    assert json.dumps(rows[0].to_json()) == json.dumps(LINE)
    assert read_verdicts(tiny.write_rows(tmp_path / "verdicts.jsonl", [one.to_json() for one in rows])) == rows


def test_other_keys_of_a_line_are_passed_over(tmp_path):
    assert read_verdicts(tiny.write_rows(tmp_path / "v.jsonl", [{**LINE, "note": 1}])) == [
        row(["A", "B", None, "A"], capped=1)
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 2}, "side must be 0 or 1; found 2"),
        ({"side": True}, "side must be 0 or 1; found True"),
        ({"pair_id": 7}, "pair_id and subset are texts; found 7"),
        ({"subset": None}, "pair_id and subset are texts"),
        ({"ground_truth": "a"}, "one of A, B, tie or null; found 'a'"),
        ({"verdicts": ["A", "C"]}, "one of A, B, tie or null; found 'C'"),
        ({"verdicts": [], "capped": 0}, "verdicts must hold one entry for each answer; found none"),
        ({"verdicts": "AB"}, "verdicts must be a list; found 'AB'"),
        ({"verdicts": [["A"]]}, "found \\['A'\\]"),
        ({"vote": "B"}, "vote 'B' is not what the verdicts give, 'A'"),
        ({"capped": 5}, "capped must be from 0 to 4; found 5"),
        ({"preference_strength": "2"}, "preference_strength must be a number or null; found '2'"),
        ({"preference_strength": True}, "preference_strength must be a number or null; found True"),
        ({"preference_strength": float("nan")}, "preference_strength must be a number or null; found nan"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, change, message):
    file = tiny.write_rows(tmp_path / "verdicts.jsonl", [{**LINE, "pair_id": "q"}, {**LINE, **change}])
    with pytest.raises(ValueError, match=f"verdicts.jsonl:2: .*{message}"):
        read_verdicts(file)


def test_missing_keys_repeated_rows_and_empty_files_are_named(tmp_path):
    for key, other in itertools.product(["vote"], ["capped", "subset"]):
        short = {name: value for name, value in LINE.items() if name not in (key, other)}
        with pytest.raises(ValueError, match=rf"v.jsonl:1: no field .*{other}"):
            read_verdicts(tiny.write_rows(tmp_path / "v.jsonl", [short]))
    twice = [LINE, {**LINE, "side": 1}, LINE]
    with pytest.raises(ValueError, match=r"v.jsonl:3: pair p side 0 is in line 1 already"):
        read_verdicts(tiny.write_rows(tmp_path / "v.jsonl", twice))
    with pytest.raises(ValueError, match=r"v.jsonl: no verdicts"):
        read_verdicts(tiny.write_rows(tmp_path / "v.jsonl", []))
