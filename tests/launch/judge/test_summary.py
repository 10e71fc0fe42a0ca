import json

from launch.judge.summary import pair_records, summarise
from launch.judge.verdicts import JudgedRow


def row(side, *verdicts, pair="p", truth="A", strength=-2, capped=0):
    return JudgedRow(pair, side, truth, strength, "chat", verdicts, capped)


def test_a_pair_of_which_only_the_swapped_order_is_there_is_turned_back():
    assert pair_records([row(1, "A", "A", "B")]) == [
        {"pair_id": "p", "verdict": "B", "agree": None, "votes": [None, "B"], "ground_truth": "B",
         "preference_strength": 2, "subset": "chat"}
    ]  # fmt: skip
    tie = pair_records([row(1, "tie", truth="tie", strength=0.0)])
    assert json.dumps(tie[0]["preference_strength"]) == "0.0"
    assert pair_records([row(1, "A", truth=None, strength=None)])[0]["preference_strength"] is None


def test_one_order_without_a_vote_neither_agrees_nor_disagrees():
    (pair,) = pair_records([row(0, None), row(1, "A", truth="B", strength=2)])
    assert (pair["verdict"], pair["agree"], pair["votes"]) == (None, None, [None, "B"])


def test_worked_summary():
    """p: A A tie against B; q: nothing in the first order; r: A in both orders, which contradicts."""
    rows = [
        row(0, "A", "A", "tie"), row(1, "B", None, "B"),
        row(0, None, None, None, pair="q", capped=2), row(1, "A", "A", "A", pair="q"),
        row(0, "A", "A", "A", pair="r"), row(1, "A", "tie", "A", pair="r", capped=1),
    ]  # fmt: skip
    assert summarise(rows) == {
        "pairs": 3, "rows": 6, "answers": 18, "parse_rate": 14 / 18, "first_preferred": 10 / 12, "ties": 2 / 14,
        "swap_agreement": 0.5, "capped": 3,
    }  # fmt: skip


def test_shares_of_nothing_are_none():
    found = summarise([row(0, None)])
    assert found["parse_rate"] == 0
    assert found["first_preferred"] is found["ties"] is found["swap_agreement"] is None
