"""Numbers of the trade-off by hand and by a second way, and what is the same for every policy."""

import numpy as np
import pytest

from launch.common.statistics import Estimate
from launch.moodpo.analysis import PolicyScores, estimates, reference_point, resample_shares, summarise_policy
from launch.moodpo.pareto_draw import build_summary, write_markdown
from launch.moodpo.points import Point

VECTORS = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])


def random_scores(points=3, prompts=7, samples=2, objectives=2, seed=0):
    return np.random.default_rng(seed).normal(size=(points, prompts, samples, objectives))


def test_hypervolume_inner_product_and_correlation_by_hand():
    """Two points (1, 0) and (0, 1) above (-1, -1): two rectangles of 2, one unit square in common."""
    scores = np.array([[1.0, 0.0], [0.0, 1.0]])[:, None, None, :].repeat(4, axis=1)
    policy = PolicyScores(np.array([[1.0, 0.0], [0.0, 1.0]]), scores)
    found = summarise_policy(policy, VECTORS, [-1.0, -1.0], resample_shares(4, 50, 0))
    assert found["points"] == 2
    assert found["hypervolume"] == {"value": 3.0, "low": 3.0, "high": 3.0, "n": 4}
    assert found["mean_inner_product"]["value"] == 1.0
    assert found["spearman"][1]["value"] == found["spearman"][0]["value"] == 1.0
    assert found["dispersion"] == 0.0
    crossed = PolicyScores(policy.weights[::-1], scores)
    found = summarise_policy(crossed, VECTORS, [-1.0, -1.0], resample_shares(4, 50, 0))
    assert found["mean_inner_product"]["value"] == 0.0
    assert [cell["value"] for cell in found["spearman"]] == [-1.0, -1.0]


def test_a_policy_that_cannot_be_asked_gives_one_answer_to_every_wish():
    scores = np.array([0.4, -0.2])[None, None, None, :].repeat(5, axis=1)
    for weights in (None, np.array([[0.9, 0.1]])):
        found = summarise_policy(PolicyScores(weights, scores), VECTORS, [-1.0, -1.0], resample_shares(5, 50, 0))
        assert found["mean_inner_product"]["value"] == pytest.approx((0.4 + 0.1 - 0.2) / 3)
        assert found["hypervolume"]["value"] == pytest.approx(1.4 * 0.8)
        assert found["spearman"] is None


def test_dispersion_is_the_determinant_within_a_wish():
    """Two wishes whose answers lie far from each other but close together within each."""
    near = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])  # variances 4/3, no covariance
    scores = np.stack([near, near + 100])[:, :, None, :]
    found = summarise_policy(PolicyScores(VECTORS[[0, 2]], scores), VECTORS, [-1.0, -1.0], resample_shares(4, 50, 0))
    assert found["dispersion"] == pytest.approx(16 / 9)
    single = summarise_policy(
        PolicyScores(None, near[None, :1, None]), VECTORS, [-1.0, -1.0], resample_shares(1, 50, 0)
    )
    assert single["dispersion"] is None


def test_intervals_resample_whole_prompts_and_cut_2_5_percent_at_each_end():
    """The same prompts drawn one by one, averaged the long way."""
    scores, shares = random_scores(), resample_shares(7, 200, 3)
    assert np.allclose(shares.sum(axis=1), 1) and (resample_shares(7, 200, 3) == shares).all()
    assert (resample_shares(7, 200, 4) != shares).any()
    drawn = []
    for row in shares:
        counts = np.rint(row * 7).astype(int)
        assert counts.sum() == 7
        chosen = scores[:, np.repeat(np.arange(7), counts)]
        drawn.append(chosen.reshape(3, -1, 2).mean(axis=1).max())
    drawn.sort()
    (found,) = estimates(lambda means: means.max(), scores, shares)
    assert found.value == pytest.approx(scores.mean(axis=(1, 2)).max()) and found.n == 7
    assert (found.low, found.high) == (pytest.approx(drawn[5]), pytest.approx(drawn[194]))


def test_a_measure_that_is_not_defined_has_no_bounds():
    found = estimates(lambda means: np.array([np.nan, 1.0]), random_scores(), resample_shares(7, 100, 0))
    assert found == [Estimate(None, None, None, 7), Estimate(1.0, 1.0, 1.0, 7)]
    found = estimates(lambda means: 2.0, random_scores(), resample_shares(7, 39, 0))
    assert found == [Estimate(2.0, None, None, 7)]


def test_resamples_without_a_value_are_left_out_of_the_bounds():
    calls = iter(range(1000))
    (found,) = estimates(
        lambda means: np.nan if (call := next(calls)) % 2 else call, random_scores(), resample_shares(7, 400, 0)
    )
    assert (found.value, found.low, found.high) == (400, 2 * 5, 2 * 194)  # of the 200 values 0, 2, ..., 398


def test_the_reference_lies_a_tenth_below_the_worst_of_all_points():
    first, second = random_scores(seed=1), random_scores(points=1, seed=2)
    means = np.concatenate([first.mean(axis=(1, 2)), second.mean(axis=(1, 2))])
    expected = [min(column) - 0.1 * (max(column) - min(column)) for column in means.T]
    assert reference_point([first, second]) == pytest.approx(expected)


def points_and_tables(scale=1.0, shift=0.0):
    names = ["brevity", "humor"]
    points = [Point("untouched", "untouched", "untouched", None, None, ())]
    points += [
        Point(f"ours_{k}", "ours", "moodpo", vector, None, ("humor", "brevity"))
        for k, vector in enumerate([(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)])
    ]
    tables = {}
    for place, point in enumerate(points):
        noise = np.random.default_rng(place).normal(size=(9, 2, 2))
        tables[point.label] = (noise + (point.weights or (-1, -1))) * scale + shift
    return names, points, tables


def test_measures_do_not_depend_on_the_unit_of_an_objective():
    """Normalised by the untouched model: another scale and offset of one objective changes nothing but its raw means."""
    names, points, tables = points_and_tables()
    one = build_summary(names, VECTORS, points, tables, resamples=60)
    names, points, moved = points_and_tables(np.array([50.0, 1.0]), np.array([-7.0, 0.0]))
    two = build_summary(names, VECTORS, points, moved, resamples=60)
    for measure in ("hypervolume", "mean_inner_product"):
        assert two["policies"]["ours"][measure]["value"] == pytest.approx(one["policies"]["ours"][measure]["value"])
    untouched = tables["untouched"].reshape(-1, 2)
    means = np.stack([tables[f"ours_{k}"].mean(axis=(0, 1)) for k in range(3)])
    expected = (VECTORS * (means - untouched.mean(axis=0)) / untouched.std(axis=0)).sum(axis=1).mean()
    assert one["policies"]["ours"]["mean_inner_product"]["value"] == pytest.approx(expected)
    assert one["points"][1]["scores"]["humor"]["value"] == pytest.approx(tables["ours_0"][..., 1].mean())
    assert one["policies"]["ours"]["spearman"][0]["value"] > 0.4
    corner = one["hv_reference"]
    assert corner["raw"] == pytest.approx(
        np.array(corner["normalised"]) * untouched.std(axis=0) + untouched.mean(axis=0)
    )


def test_a_given_reference_is_in_raw_units_and_stays():
    names, points, tables = points_and_tables()
    found = build_summary(names, VECTORS, points, tables, reference=(-3.0, -2.0), resamples=60)
    assert found["hv_reference"]["raw"] == pytest.approx([-3.0, -2.0]) and found["hv_reference"]["given"]
    untouched = tables["untouched"]
    area = np.prod((untouched.mean(axis=(0, 1)) - (-3.0, -2.0)) / untouched.reshape(-1, 2).std(axis=0))
    assert found["policies"]["untouched"]["hypervolume"]["value"] == pytest.approx(area)
    with pytest.raises(ValueError, match="--hv_reference has 1 numbers for the 2 objectives brevity, humor"):
        build_summary(names, VECTORS, points, tables, reference=(1.0,))


def test_the_table_names_the_reference_and_every_policy():
    names, points, tables = points_and_tables()
    text = write_markdown(build_summary(names, VECTORS, points, tables, reference=(-3.0, -2.0), resamples=60))
    assert "reference point (brevity -3, humor -2)" in text and "9 prompts, 2 answers each" in text
    assert "e-1" not in text  # of the untouched model's standardised scores, whose mean is 0
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0].split("---")[0] for row in rows] == [
        "| policy",
        "|",
        "| untouched",
        "| ours",
        "| point",
        "|",
        "| untouched",
        "| ours_0",
        "| ours_1",
        "| ours_2",
    ]
    assert len({row.count("|") for row in rows[:4]}) == 1
