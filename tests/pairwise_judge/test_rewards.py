"""The judge's rewards as TRL and ms-swift call them, and as verl loads them."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trl_ext.pairwise_judge.verl_reward as verl_reward
from trl_ext.objectives.verdicts import LABELS, swap_label
from trl_ext.pairwise_judge.rewards import (
    pairwise_consistency,
    pairwise_format,
    pairwise_preference,
    pairwise_preference_by_strength,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pairwise_judge.json").read_text(encoding="utf-8"))


def say(*verdicts: str | None) -> list[str]:
    return ["no verdict" if verdict is None else f"why\n<preference>{verdict}</preference>" for verdict in verdicts]


def test_texts_and_messages_are_read_alike():
    texts = say("A", "B", None)
    messages = [[{"role": "assistant", "content": text}] for text in texts]
    truths = ["A", "A", "tie"]
    assert pairwise_preference(texts, ground_truth=truths) == [1.0, 0.0, 0.0]
    assert pairwise_preference(messages, ground_truth=truths, prompts=[None] * 3) == [1.0, 0.0, 0.0]
    assert pairwise_format(messages) == [1.0, 1.0, 0.0]


def test_clear_preferences_weigh_more():
    rewards = pairwise_preference_by_strength(
        say("A", "B", "tie", "A"), ground_truth=["A", "B", "tie", "B"], preference_strength=[-3, 2, 0, 1]
    )
    assert rewards == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_consistency_counts_the_same_judgement_in_the_other_order_for_right_answers_only():
    """One pair, two answers an order; truth A in the original order, B in the swapped one."""
    rows = {"ground_truth": ["A", "A", "B", "B"], "pair_id": ["p"] * 4, "side": [0, 0, 1, 1]}
    assert pairwise_consistency(say("A", "B", "B", "A"), **rows) == [0.5, 0.0, 0.5, 0.0]
    assert pairwise_consistency(say("A", "A", "A", "A"), **rows) == [0.0] * 4  # the first place, always
    assert pairwise_consistency(say("A", "A", "B", "B"), **rows) == [1.0] * 4
    assert (
        pairwise_consistency(say("tie", "tie", "tie", "tie"), **rows) == [0.0] * 4
    )  # agrees with itself, and is wrong
    assert pairwise_consistency(say("A", None, None, "B"), **rows) == [0.5, 0.0, 0.0, 0.5]


CASE = st.lists(st.tuples(st.sampled_from([*LABELS, None]), st.sampled_from([*LABELS, None])), min_size=1, max_size=4)


@given(CASE, st.sampled_from(LABELS), st.integers(-3, 3))
def test_exchanging_the_replies_exchanges_the_rewards(answers, truth, strength):
    first, second = (list(column) for column in zip(*answers, strict=True))
    count = len(first)

    def rewards(original, swapped, label):
        rows = {
            "ground_truth": [label] * count + [swap_label(label)] * count,
            "preference_strength": [strength] * 2 * count,
            "pair_id": [7] * 2 * count,
            "side": [0] * count + [1] * count,
        }
        texts = say(*original, *swapped)
        return [
            function(texts, **rows)
            for function in (
                pairwise_preference,
                pairwise_preference_by_strength,
                pairwise_consistency,
                pairwise_format,
            )
        ]

    here, there = rewards(first, second, truth), rewards(second, first, swap_label(truth))
    for one, other in zip(here, there, strict=True):
        assert one == pytest.approx(other[count:] + other[:count])
        assert all(0 <= value <= 1 for value in one)
    for right, consistent, verdict in zip(here[0], here[2], first + second, strict=True):
        assert consistent <= right and (verdict is not None or right == 0)


@pytest.mark.parametrize(
    ("function", "columns", "message"),
    [
        (pairwise_preference, {}, "2 completions need as many values of the column 'ground_truth', found none"),
        (pairwise_preference, {"ground_truth": ["A"]}, "'ground_truth', found 1"),
        (pairwise_preference, {"ground_truth": ["A", None]}, "found None"),
        (pairwise_preference_by_strength, {"ground_truth": ["A", "B"]}, "'preference_strength'"),
        (
            pairwise_preference_by_strength,
            {"ground_truth": ["A", "B"], "preference_strength": [1, None]},
            "row 1 of this batch has no preference_strength",
        ),
        (
            pairwise_consistency,
            {"ground_truth": ["A", "B"], "pair_id": [1, 2], "side": [0, 1]},
            "pair 1 is here in the original order alone",
        ),
        (
            pairwise_consistency,
            {"ground_truth": ["A", "B"], "pair_id": [1, 1], "side": [0, 2]},
            "side 2 must be 0 or 1",
        ),
        (pairwise_consistency, {"ground_truth": ["A", "B"], "side": [0, 1]}, "'pair_id', found none"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(function, columns, message):
    with pytest.raises(ValueError, match=message):
        function(say("A", "B"), **columns)


# --- verl -------------------------------------------------------------------------------------------------------------


def as_verl_loads_it():
    """By path, under the name `custom_module`, wrapped with the configured keyword arguments (none)."""
    spec = importlib.util.spec_from_file_location("custom_module", verl_reward.__file__)
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_module"] = module
    spec.loader.exec_module(module)
    function = module.compute_score

    def wrapped(*args, **kwargs):
        return function(*args, **kwargs, **{})

    return wrapped


@pytest.mark.parametrize("vector", VECTORS["B_compute_score"], ids=lambda vector: str(vector["solution"]))
def test_the_worked_calls_of_the_reference(vector):
    """The reference scored by extra_info.metadata.preferred and took a tie for granted; here `ground_truth` counts."""
    call = {
        "data_source": vector["data_source"],
        "solution_str": vector["solution"],
        "ground_truth": vector["ground_truth"],
        "extra_info": vector["extra_info"],
    }
    if vector["ground_truth"] not in LABELS:
        with pytest.raises(ValueError, match="found 'unknown'"):
            as_verl_loads_it()(**call)
        return
    found = as_verl_loads_it()(**call)
    tagged = "<preference>" in vector["solution"]
    expected = float(tagged and vector["out"]["predicted_preference"] == vector["ground_truth"])
    assert found["score"] == found["accuracy"] == found["acc"] == expected
    assert found["true_preference"] == vector["ground_truth"]
    assert found["predicted_preference"] == (vector["out"]["predicted_preference"] if tagged else "none")
    assert found["task_type"] == "pairwise" and found["data_source"] == "helpsteer2_pairwise"


def test_every_call_has_the_same_keys_and_numbers_that_verl_can_average():
    calls = [
        as_verl_loads_it()(data_source="d", solution_str=text, ground_truth="B", extra_info=info)
        for text in say("B", "A", None)
        for info in (None, {}, {"preference_strength": 2.0, "index": 3}, json.dumps({"preference_strength": None}))
    ]
    assert len({tuple(call) for call in calls}) == 1
    assert all(isinstance(value, (str, float)) for call in calls for value in call.values())
    assert [call["score"] for call in calls] == [1.0] * 4 + [0.0] * 8
    assert calls[2]["preference_strength"] == 2.0
