import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_builders.scoring.parsers import SCORE100
from launch.bt.metrics import bt_loss, evaluate_pairs, margins_of, swap_probe
from launch.bt.scored import ScoredPair
from launch.bt.spread import uncertainty
from tests.launch.bt.vectors import VECTORS, flag, pairs_of

SCORE = st.one_of(st.none(), st.integers(0, 20).map(float))
SIDE = st.lists(SCORE, min_size=1, max_size=3).map(tuple)
PAIRS = st.lists(st.builds(ScoredPair, st.integers(0, 1), st.tuples(SIDE, SIDE)), min_size=1, max_size=25)


@pytest.mark.parametrize("row", VECTORS["bt_logloss"], ids=str)
def test_the_loss_of_the_vectors(row):
    assert bt_loss([row["d"]], row["temp"])[0] == pytest.approx(row["loss"], abs=1e-12)


@pytest.mark.parametrize("row", VECTORS["eval_bt"], ids=lambda row: row["case"])
def test_the_evaluations_of_the_vectors(row):
    """The reference leaves a pair out when any of its samples cannot be parsed; here that is `require_all_samples`."""
    bt_temp = flag(row["args"], "--bt_temp", 1.0)
    found = evaluate_pairs(pairs_of(row["pairs"]), bt_temp=bt_temp, require_all_samples=True)
    wanted = row["out"]
    got = {
        "evaluated": found["evaluated"],
        "skipped": found["unparsable"],
        "accuracy": found["accuracy"]["value"],
        "tie_rate": found["tie_rate"]["value"],
        "non_tie_accuracy": found["non_tie_accuracy"]["value"],
        "non_tie_total": found["non_tie_accuracy"]["n"],
        **{f"delta_{name}": found["margins"]["all"][name] for name in ("mean", "std", "min", "max")},
        "bt_all_mean": found["bt_loss"]["value"],
        "bt_all_std": found["losses"]["all"]["std"],
        "bt_nontie_mean": found["bt_loss_non_ties"]["value"],
        "bt_nontie_std": found["losses"]["non_ties"]["std"],
    }
    assert got == pytest.approx({name: wanted[name] for name in got}, abs=5.1e-5)
    for name, cell in wanted["diagnostics"].items():
        kind, _, part = name.partition(" (")
        part = {"all non-tie)": "non_ties", "correct)": "correct", "wrong)": "wrong"}[part]
        ours = found[{"delta_pref": "margins", "bt_loss": "losses"}[kind]][part]
        assert ours == (cell if cell is None else pytest.approx(cell, abs=5.1e-5))
    if "--report_uncertainty" in row["args"]:
        bands = flag(row["args"], "--unc_low", 0.0), flag(row["args"], "--unc_high", 0.0)
        unsure = uncertainty(pairs_of(row["pairs"]), SCORE100, bands)
        assert unsure["wrong_pairs"] == wanted["wrong_pairs"]
        assert unsure["uncertain_any"] == pytest.approx(wanted["uncertain_any"], abs=5.1e-5)
        assert unsure["uncertain_both"] == pytest.approx(wanted["uncertain_both"], abs=5.1e-5)
        for name in ("wrong", "correct"):
            assert "/".join(map(str, unsure[name]["bands"].values())) == wanted[f"{name}_buckets"]


def test_the_vectors_were_not_empty():
    assert len(VECTORS["eval_bt"]) == 6
    assert any("delta_pref (wrong)" in row["out"]["diagnostics"] for row in VECTORS["eval_bt"])


def test_a_pair_is_scored_by_the_samples_that_parse():
    """Mended: of the vector's three pairs the reference drops the first as well, though it has three scores."""
    (row,) = (row for row in VECTORS["eval_bt"] if row["case"] == "skip_if_any_sample_unparsable")
    found = evaluate_pairs(pairs_of(row["pairs"]), bt_temp=20)
    assert (found["evaluated"], found["unparsable"], found["correct"]) == (2, 1, 2)
    assert found["margins"]["all"]["mean"] == 20
    assert found["accuracy"]["value"] == 1.0
    assert found["accuracy_of_all"]["value"] == found["strict_accuracy_of_all"]["value"] == pytest.approx(2 / 3)
    assert found["pair_parse_rate"]["value"] == pytest.approx(2 / 3)
    assert found["sample_parse_rate"]["value"] == pytest.approx((3 / 4 + 1 + 2 / 4) / 3)


def brute_force(pairs, temperature, all_samples):
    """The same numbers by counting, in plain Python."""
    margins = []
    for pair in pairs:
        means = []
        for samples in pair.scores:
            numbers = [score for score in samples if score is not None]
            ok = numbers and not (all_samples and len(numbers) != len(samples))
            means.append(sum(numbers) / len(numbers) if ok else None)
        if None not in means:
            difference = means[0] - means[1] if pair.preferred == 0 else means[1] - means[0]
            margins.append(0.0 if abs(difference) < 1e-9 else difference)
    right, even = sum(m > 0 for m in margins), sum(m == 0 for m in margins)
    losses = [math.log1p(math.exp(-m / temperature)) for m in margins]
    n = len(margins)
    return {
        "evaluated": n,
        "accuracy": (right + even / 2) / n if n else None,
        "strict": right / n if n else None,
        "non_tie": right / (n - even) if n > even else None,
        "of_all": (right + even / 2) / len(pairs),
        "strict_of_all": right / len(pairs),
        "ties": even / n if n else None,
        "loss": sum(losses) / n if n else None,
        "worst": min(margins) if n else None,
    }


@given(PAIRS, st.floats(0.5, 50), st.booleans())
def test_every_number_by_another_way(pairs, temperature, all_samples):
    found = evaluate_pairs(pairs, bt_temp=temperature, require_all_samples=all_samples)
    got = {
        "evaluated": found["evaluated"],
        "accuracy": found["accuracy"]["value"],
        "strict": found["strict_accuracy"]["value"],
        "non_tie": found["non_tie_accuracy"]["value"],
        "of_all": found["accuracy_of_all"]["value"],
        "strict_of_all": found["strict_accuracy_of_all"]["value"],
        "ties": found["tie_rate"]["value"],
        "loss": found["bt_loss"]["value"],
        "worst": (found["margins"]["all"] or {"min": None})["min"],
    }
    for name, value in brute_force(pairs, temperature, all_samples).items():
        assert got[name] == (value if value is None else pytest.approx(value, abs=1e-9)), name
    json.dumps(found, allow_nan=False)


@given(PAIRS, st.booleans())
def test_sides_do_not_matter_and_labels_do(pairs, all_samples):
    probe = swap_probe(pairs, all_samples)
    if probe["accuracy"] is not None:
        assert probe["sides_and_labels_swapped"] == pytest.approx(probe["accuracy"], abs=1e-12)
        assert probe["labels_flipped"] == pytest.approx(1 - probe["accuracy"], abs=1e-12)
    margins = margins_of(pairs, all_samples)
    np.testing.assert_array_equal(margins_of([pair.swap() for pair in pairs], all_samples), margins)
    np.testing.assert_array_equal(margins_of([pair.flip() for pair in pairs], all_samples), -margins)


def test_intervals_hold_their_value_and_narrow_with_the_number_of_pairs():
    few = [ScoredPair(0, ((60.0,), (float(20 + 10 * k),))) for k in range(10)]
    small, large = evaluate_pairs(few), evaluate_pairs(few * 20)
    for name in ("accuracy", "strict_accuracy", "accuracy_of_all", "bt_loss", "tie_rate"):
        for cell in (small[name], large[name]):
            assert cell["low"] <= cell["value"] <= cell["high"]
        assert large[name]["high"] - large[name]["low"] < small[name]["high"] - small[name]["low"]
        assert large[name]["value"] == pytest.approx(small[name]["value"])
    assert small["strict_accuracy"]["n"] == 10 and large["strict_accuracy"]["n"] == 200


def test_silence_does_not_pay():
    talkative = [ScoredPair(0, ((80.0,), (20.0,))), ScoredPair(0, ((20.0,), (80.0,)))]
    silent = [talkative[0], ScoredPair(0, ((20.0,), (None,)))]
    assert evaluate_pairs(silent)["accuracy"]["value"] > evaluate_pairs(talkative)["accuracy"]["value"]
    for name in ("accuracy_of_all", "strict_accuracy_of_all"):
        assert evaluate_pairs(silent)[name]["value"] == evaluate_pairs(talkative)[name]["value"] == 0.5


def test_nothing_parsable_is_none_and_not_a_number():
    found = evaluate_pairs([ScoredPair(1, ((None,), (None,)))])
    assert found["accuracy"]["value"] is None and found["bt_loss"]["value"] is None
    assert found["margins"] == {"all": None, "non_ties": None, "correct": None, "wrong": None}
    assert found["accuracy_of_all"]["value"] == 0.0
    assert swap_probe([ScoredPair(1, ((None,), (None,)))])["accuracy"] is None
    json.dumps(found, allow_nan=False)


def test_scores_that_differ_in_the_last_bits_are_a_tie():
    pair = ScoredPair(0, ((3.3, 3.3, 3.3), (3.3,)))
    assert pair.margin() == 0.0
    assert ScoredPair(0, ((3.3,), (3.4,))).margin() == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("preferred", "scores", "message"),
    [
        (2, ((1.0,), (2.0,)), "0 or 1"),
        (True, ((1.0,), (2.0,)), "0 or 1"),
        (0, ((1.0,), ()), "at least one sample"),
        (0, ((1.0,), (float("nan"),)), "finite"),
        (0, ((1.0,), (float("inf"),)), "finite"),
    ],
)
def test_impossible_pairs_are_refused(preferred, scores, message):
    with pytest.raises(ValueError, match=message):
        ScoredPair(preferred, scores)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_impossible_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match="must be positive"):
        evaluate_pairs([ScoredPair(0, ((1.0,), (2.0,)))], bt_temp=temperature)


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="no pairs"):
        evaluate_pairs([])
