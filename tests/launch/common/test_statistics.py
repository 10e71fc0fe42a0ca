import math

import numpy as np
import pytest

from launch.common.statistics import (
    bootstrap_mean_interval,
    hypervolume,
    paired_bootstrap_difference,
    pareto_set,
    wilson_interval,
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
    assert bootstrap_mean_interval(VALUES, seed, resamples, alpha) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("wins", "n", "expected"),
    [
        (0, 10, (0.0, 0.2775401687666166)),
        (130, 200, (0.5816333576186576, 0.712712840605846)),
        (200, 200, (0.9811539940816791, 1.0)),
    ],
)
def test_wilson_matches_the_reference_numbers(wins, n, expected):
    assert wilson_interval(wins, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("wins", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(wins, n):
    with pytest.raises(ValueError, match="wins"):
        wilson_interval(wins, n)


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
    found = paired_bootstrap_difference(a, b)
    assert found.mean == pytest.approx(float(np.mean(a - b)))
    # Pairing removes the spread of b: the normal approximation of the paired interval, not of the unpaired one.
    half = 1.96 * np.std(a - b) / math.sqrt(200)
    assert found.low == pytest.approx(found.mean - half, abs=0.003)
    assert found.high == pytest.approx(found.mean + half, abs=0.003)
    swapped = paired_bootstrap_difference(b, a)
    assert swapped.mean == pytest.approx(-found.mean)
    assert swapped.high < 0


def test_paired_difference_refuses_unequal_lists():
    with pytest.raises(ValueError, match="equally long"):
        paired_bootstrap_difference([1.0], [1.0, 2.0])


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_must_leave_an_interval(alpha):
    with pytest.raises(ValueError, match="alpha"):
        bootstrap_mean_interval([1.0], alpha=alpha)
