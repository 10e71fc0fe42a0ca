import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_builders.scoring.parsers import SCORE5, SCORE100
from launch.bt.scored import ScoredPair
from launch.bt.spread import (
    aligned_margins,
    band_counts,
    histogram,
    is_uncertain,
    range_thresholds,
    score_range,
    summarize_samples,
    uncertainty,
    variance,
)
from tests.launch.bt.vectors import VECTORS, flag, pairs_of

SCORES = st.lists(st.one_of(st.none(), st.integers(0, 100).map(float)), min_size=1, max_size=6)


def without_nan(cell):
    return {name: None if value == "nan" else value for name, value in cell.items()}


@pytest.mark.parametrize("row", VECTORS["uncertain_extreme"], ids=str)
def test_uncertain_replies_of_the_vectors(row):
    assert is_uncertain(row["xs"], (row["low"], row["high"])) is row["out"]


@pytest.mark.parametrize("row", VECTORS["bucket_counts"], ids=str)
def test_band_counts_of_the_vectors(row):
    """Mended: bands that overlap count a score twice in the reference, and give -1 between them."""
    bands = row["low"], row["high"]
    if bands[0] >= bands[1]:
        assert -1 in row["out"]
        with pytest.raises(ValueError, match="--unc_low must be below --unc_high"):
            band_counts(row["xs"], bands)
    else:
        assert list(band_counts(row["xs"], bands).values()) == row["out"]


@pytest.mark.parametrize("row", VECTORS["histogram"], ids=str)
def test_histograms_of_the_vectors(row):
    assert histogram(row["xs"], row["bin_size"] or 1.0) == row["out"]


@pytest.mark.parametrize("row", VECTORS["summarize_scores"], ids=str)
def test_sample_summaries_of_the_vectors(row):
    """Mended: a reply without any score has no number of distinct scores, where the reference says 0."""
    wanted = without_nan(row["out"])
    if not wanted["valid_n"]:
        assert wanted["unique"] == 0
        wanted["unique"] = None
    assert summarize_samples(row["scores"]) == pytest.approx(wanted)


@pytest.mark.parametrize("row", VECTORS["aligned_delta_stats"], ids=str)
def test_aligned_margins_of_the_vectors(row):
    assert aligned_margins(row["pref"], row["non"]) == pytest.approx(without_nan(row["out"]))


@pytest.mark.parametrize("row", VECTORS["score_range"], ids=str)
def test_ranges_of_the_vectors(row):
    width = score_range(row["xs"])
    assert width == (None if row["range"] == "nan" else row["range"])
    pair = ScoredPair(0, (tuple(row["xs"]), (95.0,)))
    (cell,) = variance([pair], SCORE100, thresholds=[row["thr"]])["range"]
    assert cell["share_any"] == (None if width is None else float(row["ge"]))


@pytest.mark.parametrize("row", VECTORS["variance"], ids=lambda row: row["case"])
def test_variances_of_the_vectors(row):
    """Mended: equal means are a tie, where the reference takes side 1 and so calls it right or wrong by the label."""
    thresholds = [float(part) for part in flag(row["args"], "--range_thresholds", "20,30,40").split(",")]
    found = variance(pairs_of(row["pairs"]), SCORE100, thresholds=thresholds)
    wanted = row["out"]
    if row["case"] == "mean_tie_label1_counts_right":
        assert found["by_mean_score"] == {"correct": 0, "wrong": 0, "ties": 1, "undecided": 0}
        other = [pair.flip() for pair in pairs_of(row["pairs"])]
        assert variance(other, SCORE100)["by_mean_score"] == found["by_mean_score"]
    names = {
        "avg valid score rate": found["valid_rate"],
        "avg within-summary std": found["std_within_reply"],
        "avg unique scores/summary": found["unique_scores"],
        "avg tie rate (delta==0)": found["tie_rate"],
        "avg accuracy (ties=0.5)": found["accuracy"],
        "avg accuracy (strict ties=0)": found["strict_accuracy"],
    }
    if row["case"] == "basic":
        # Mended as above: the first pair's means are equal (70 and 70), so no pair is wrong and none can be uncertain.
        assert wanted["wrong_pairs"] == 1 and found["by_mean_score"]["wrong"] == 0
        assert found["uncertain_any"] is found["uncertain_both"] is None
    else:
        names |= {name: found[name] for name in ("uncertain_any", "uncertain_both")}
        assert found["by_mean_score"]["wrong"] == wanted["wrong_pairs"]
        for cell in found["range"] if wanted["wrong_pairs"] else []:
            for kind in ("any", "both"):
                share = wanted[f"range_{kind}"][f"{cell['at_least']:g}"]
                assert cell[f"share_{kind}"] == pytest.approx(share, abs=5.1e-4)
    for name, value in names.items():
        assert value == (wanted[name] if wanted[name] is None else pytest.approx(wanted[name], abs=5.1e-4)), name


@given(SCORES)
def test_sample_summaries_by_another_way(samples):
    found = summarize_samples(samples)
    numbers = [score for score in samples if score is not None]
    assert found["valid_rate"] == pytest.approx(len(numbers) / len(samples))
    if not numbers:
        assert found["mean"] is found["std"] is found["unique"] is None
        return
    assert found["mean"] == pytest.approx(statistics.fmean(numbers))
    assert found["std"] == pytest.approx(statistics.pstdev(numbers))
    assert (found["min"], found["max"], found["unique"]) == (min(numbers), max(numbers), len(set(numbers)))


@given(SCORES, SCORES)
def test_aligned_margins_change_sign_with_the_label(one, other):
    here, there = aligned_margins(one, other), aligned_margins(other, one)
    assert (here["n"], here["p_gt"], here["p_eq"], here["p_lt"]) == (
        there["n"],
        there["p_lt"],
        there["p_eq"],
        there["p_gt"],
    )
    if here["n"]:
        assert here["mean"] == pytest.approx(-there["mean"])
        assert here["p_gt"] + here["p_eq"] + here["p_lt"] == pytest.approx(1)


@given(st.lists(st.integers(10, 50), max_size=60))
def test_histograms_lose_no_score_and_name_bins_of_a_tenth_exactly(tenths):
    scores = [tenth / 10 for tenth in tenths]
    found = histogram([*scores, None], SCORE5.bin_width)
    assert found == {f"{t / 10:.1f}": tenths.count(t) for t in sorted(set(tenths))}


def test_histogram_bins_of_two_points():
    assert histogram([0, 1, 2, 3, 5, 99, 100], SCORE100.bin_width) == {"0": 2, "2": 1, "4": 2, "100": 2}
    with pytest.raises(ValueError, match="width of a bin"):
        histogram([1.0], 0)


def test_only_wrong_pairs_count_as_uncertain():
    sure_wrong = ScoredPair(0, ((10.0, 15.0), (90.0, 95.0)))
    unsure_wrong = ScoredPair(1, ((90.0, 95.0), (10.0, 90.0)))
    unsure_right = ScoredPair(0, ((90.0, 95.0), (10.0, 90.0)))
    tie = ScoredPair(0, ((10.0, 90.0), (90.0, 10.0)))
    found = uncertainty([sure_wrong, unsure_wrong, unsure_right, tie], SCORE100)
    assert (found["wrong_pairs"], found["uncertain_any"], found["uncertain_both"]) == (2, 0.5, 0.0)
    assert found["wrong"]["bands"] == {"low": 3, "middle": 0, "high": 5}
    assert found["correct"]["bands"] == {"low": 1, "middle": 0, "high": 3}
    assert found["correct"]["histogram"] == {"10": 1, "90": 2, "96": 1}


def test_bands_and_ranges_follow_the_scale():
    pair = ScoredPair(1, ((3.3, 4.1), (2.0, 2.0)))
    assert uncertainty([pair], SCORE5)["bands"] == [2, 4]
    assert uncertainty([pair], SCORE100)["bands"] == [20, 80]
    assert range_thresholds(SCORE100) == (20, 30, 40)
    assert range_thresholds(SCORE5) == (0.8, 1.2, 1.6)
    # 4.1 - 3.3 is a little under 0.8 in binary, and reaches it all the same.
    assert [cell["share_any"] for cell in variance([pair], SCORE5)["range"]] == [1.0, 0.0, 0.0]


def test_replies_without_a_score_take_no_part_in_means():
    found = variance(
        [ScoredPair(0, ((None, None), (50.0, 60.0))), ScoredPair(1, ((40.0, 40.0), (70.0, None)))], SCORE100
    )
    assert found["valid_rate"] == pytest.approx((0 + 1 + 1 + 0.5) / 4)
    assert found["std_within_reply"] == pytest.approx((5 + 0 + 0) / 3)
    assert found["unique_scores"] == pytest.approx((2 + 1 + 1) / 3)
    assert found["accuracy"] == found["strict_accuracy"] == 1.0
    assert found["replies_without_score"] == 1
    assert found["by_mean_score"] == {"correct": 1, "wrong": 0, "ties": 0, "undecided": 1}
    json.dumps(found, allow_nan=False)
