import math

import numpy as np
import pytest
from scipy.stats import binomtest

from launch.common.statistics import (
    Estimate,
    bootstrap_mean_interval,
    drawn_counts,
    ends_of,
    hypervolume,
    mean,
    mean_of_means,
    mean_share,
    paired_difference,
    pareto_set,
    share,
    student_mean,
)

VALUES = [
    0.7502, 0.6247, 0.7953, 0.4764, 0.6138, 0.644, 0.7772, 0.6683, 0.5019, 0.5797,
    0.673, 0.7485, 0.4978, 0.5514, 0.3762, 0.7162, 0.6215, 0.6804, 0.5898, 0.6864,
    0.5462, 0.6913, 0.708, 0.6454, 0.5528, 0.6896, 0.7934, 0.6809, 0.6335, 0.7143,
    0.5612, 0.6378, 0.5502, 0.6242, 0.5897, 0.7407, 0.5264, 0.614, 0.6466, 0.6196,
]  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "resamples", "alpha", "expected"),
    [
        (0, 1000, 0.05, (0.6334625, 0.604975, 0.6611575)),
        (7, 200, 0.1, (0.6334625, 0.607175, 0.658035)),
        (0, 5000, 0.05, (0.6334625, 0.6049675, 0.6608975)),
    ],
)
def test_bootstrap_matches_the_reference_numbers(seed, resamples, alpha, expected):
    found = bootstrap_mean_interval(VALUES, seed, resamples, alpha)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-12) and found.n == 40


@pytest.mark.parametrize(
    ("wins", "n", "reference"),
    [
        (0, 10, (0.0, 0.2775401687666166)),
        (130, 200, (0.5816333576186576, 0.712712840605846)),
        (200, 200, (0.9811539940816791, 1.0)),
    ],
)
def test_a_share_is_scipys_wilson_and_the_reference_to_its_rounded_z(wins, n, reference):
    """The reference rounds z = 1.959964 to 1.96."""
    found = share(wins, n)
    exact = binomtest(wins, n).proportion_ci(method="wilson")
    assert (found.value, found.n) == (wins / n, n)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(reference, abs=1e-5)


def test_a_share_takes_halves_and_nothing():
    """Its ends solve (p - w)^2 = z^2 w (1 - w) / n."""
    found = share(3.5, 6)
    for end in (found.low, found.high):
        assert (3.5 / 6 - end) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / 6)
    assert share(0, 0) == mean([]) == mean_of_means([]) == Estimate(None, None, None, 0)
    assert share(0, 0).as_json() == {"value": None, "low": None, "high": None, "n": 0}


@pytest.mark.parametrize(("wins", "n"), [(-1, 3), (4, 3), (1, -1)])
def test_wilson_refuses_impossible_counts(wins, n):
    with pytest.raises(ValueError, match="points"):
        share(wins, n)


def resampled(values, seed, resamples):
    """The means of resamples drawn one by one, sorted."""
    generator, values = np.random.default_rng(seed), np.asarray(values)
    return sorted(values[generator.integers(0, len(values), len(values))].mean() for _ in range(resamples))


def test_the_mean_cuts_2_5_percent_of_resampled_means_at_each_end(monkeypatch):
    """Between the neighbours of the ends that the slow way, and every earlier release, takes: numbers stay."""
    found, slow = mean(VALUES, seed=3), resampled(VALUES, 3, 5000)
    assert (found.value, found.n) == (pytest.approx(np.mean(VALUES)), len(VALUES))
    assert slow[124] <= found.low <= slow[126] and slow[4873] <= found.high <= slow[4875]
    assert found.low == pytest.approx(slow[125], abs=1e-5) and found.high == pytest.approx(slow[4874], abs=1e-5)
    monkeypatch.setattr("launch.common.statistics._CHUNK", 70)  # of one resample each
    assert mean(VALUES, seed=3) == found
    assert mean(VALUES, seed=4) != found
    with pytest.raises(ValueError, match="too few"):
        mean(VALUES, resamples=1)


def test_the_mean_of_means_resamples_within_groups_and_counts_each_alike():
    """A value alone in its group is in every resample; 200 ones and the two of 0 and 1: 3/4, never below 1/2."""
    assert mean_of_means([[2.0], [4.0, 4.0]]) == Estimate(3.0, 3.0, 3.0, 3)
    assert mean_of_means([[1.0] * 200, [1.0, 0.0]]) == Estimate(0.75, 0.5, 1.0, 202)
    assert mean_of_means([VALUES], seed=5) == mean(VALUES, seed=5)


@pytest.mark.parametrize(
    "found",
    [
        mean([2.0]),
        mean_share([0.5]),
        mean_of_means([[2.0], [3.0]]),
        paired_difference([3.0], [1.0]),
        bootstrap_mean_interval([2.0]),
        student_mean([2.0]),
        Estimate(2.0, *ends_of(np.concatenate(list(drawn_counts(1, 1000, seed=0)))[:, 0]), 1),
    ],
    ids=["mean", "share", "groups", "paired", "reference", "student", "counts"],
)
def test_one_value_has_no_interval(found):
    """Every resample of one value is that value: an interval of no width told apart what was seen once."""
    assert found.low is None and found.high is None and found.value is not None and not found.excludes(0)


def test_seeds_have_students_interval():
    """1, 2, 3: s = 1, t(2) = 4.302653."""
    found = student_mean([1.0, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
    assert student_mean([5.0]) == Estimate(5.0, None, None, 1)
    assert not student_mean([5.0]).excludes(0) and student_mean([5.0, 5.0]).excludes(0)


def test_counts_are_drawn_alike_in_any_chunk():
    whole = np.concatenate(list(drawn_counts(7, 50, seed=2)))
    assert whole.shape == (50, 7) and (whole.sum(axis=1) == 7).all()
    parts = list(drawn_counts(7, 50, seed=2, width=4_000_000 // 12))
    assert len(parts) == 5 and (np.concatenate(parts) == whole).all()


def test_too_few_draws_have_no_ends():
    draws = np.arange(200.0)[::-1].copy()
    assert ends_of(draws) == (5.0, 194.0)
    draws[:161] = np.nan
    assert ends_of(draws) == (None, None)


POINTS = {"sft": (0.5, 0.4), "w0.1": (0.45, 0.2), "w0.4": (0.55, 0.3), "w0.9": (0.6, 0.5), "dup": (0.55, 0.3)}


@pytest.mark.parametrize(
    ("maximise", "expected"), [((True, False), ["w0.1", "w0.4", "w0.9", "dup"]), ((True, True), ["w0.9"])]
)
def test_pareto_matches_the_reference_numbers(maximise, expected):
    flags = pareto_set(list(POINTS.values()), maximise)
    assert [label for label, flag in zip(POINTS, flags, strict=True) if flag] == expected


def test_pareto_drops_a_point_that_ties_on_one_objective_and_loses_on_the_other():
    assert pareto_set([(1, 1), (1, 0.5)]) == [True, False]


def test_hypervolume_is_the_area_of_a_staircase():
    # Worked by hand: columns of width 1, 1 and 1 under (1, 3), (2, 2), (3, 1) from the origin.
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (0, 0)) == pytest.approx(6)
    assert hypervolume([(1, 3), (2, 2), (3, 1), (-5, 9)], (0, 0)) == pytest.approx(6)
    assert hypervolume([(1, 1)], (2, 2), maximise=False) == pytest.approx(1)


def test_hypervolume_refuses_a_reference_of_another_length():
    with pytest.raises(ValueError, match="reference"):
        hypervolume([(1, 3)], (0, 0, 0))


def test_points_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        pareto_set([(1, math.nan)])


def test_paired_difference_is_a_minus_b_and_changes_sign_when_swapped():
    generator = np.random.default_rng(3)
    b = generator.normal(size=200)
    a = b + 0.5 + 0.1 * generator.normal(size=200)
    found = paired_difference(a, b)
    assert found.value == pytest.approx(float(np.mean(a - b)))
    # Pairing removes the spread of b: the normal approximation of the paired interval, not of the unpaired one.
    half = 1.96 * np.std(a - b) / math.sqrt(200)
    assert found.low == pytest.approx(found.value - half, abs=0.003)
    assert found.high == pytest.approx(found.value + half, abs=0.003)
    swapped = paired_difference(b, a)
    assert swapped.value == pytest.approx(-found.value)
    assert swapped.high < 0


def test_paired_difference_refuses_unequal_lists():
    with pytest.raises(ValueError, match="equally long"):
        paired_difference([1.0], [1.0, 2.0])


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_must_leave_an_interval(alpha):
    with pytest.raises(ValueError, match="alpha"):
        bootstrap_mean_interval([1.0], alpha=alpha)
