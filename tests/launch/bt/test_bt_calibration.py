import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.bt.calibration import calibrate, fit_temperature, reliability
from launch.bt.metrics import bt_loss

MARGINS = st.lists(st.integers(-40, 40).map(float), min_size=1, max_size=40)


def sigma(x):
    return 1 / (1 + math.exp(-x))


def by_the_model(n, temperature, seed=0):
    """Margins whose signs were drawn from the Bradley-Terry model of that temperature."""
    generator = np.random.default_rng(seed)
    size = generator.uniform(0, 40, n)
    right = generator.random(n) < 1 / (1 + np.exp(-size / temperature))
    return np.where(right, size, -size)


@given(MARGINS, st.floats(2, 30))
def test_the_table_by_another_way(margins, temperature):
    found = reliability(margins, temperature)
    bins = {}
    for margin in margins:
        confidence = sigma(abs(margin) / temperature)
        place = min(9, int((confidence - 0.5) / 0.05 + 1e-12))
        outcome = 0.5 if margin == 0 else float(margin > 0)
        bins.setdefault(place, []).append((confidence, outcome))
    assert [row["n"] for row in found["table"]] == [len(bins[place]) for place in sorted(bins)]
    ece = 0.0
    for row, (place, members) in zip(found["table"], sorted(bins.items()), strict=True):
        confidence, outcome = (sum(column) / len(members) for column in zip(*members, strict=True))
        assert row["low"] == pytest.approx(0.5 + 0.05 * place) and row["high"] == pytest.approx(0.55 + 0.05 * place)
        assert row["confidence"] == pytest.approx(confidence) and row["accuracy"] == pytest.approx(outcome)
        ece += abs(confidence - outcome) * len(members) / len(margins)
    assert found["ece"] == pytest.approx(ece)


def test_worked_by_hand():
    # sigma(20 / 20) = 0.7311 for four pairs, three of them right: one bin, |0.75 - 0.7311|.
    found = reliability([20, 20, 20, -20], 20)
    assert found["ece"] == pytest.approx(0.75 - 1 / (1 + math.exp(-1)))
    assert [(row["n"], row["accuracy"]) for row in found["table"]] == [(4, 0.75)]
    # A tie is an even bet that came out even.
    assert reliability([0.0, 0.0], 3.0)["ece"] == 0.0


def test_a_calibrated_model_has_a_small_error_only_at_its_temperature():
    margins = by_the_model(20000, 12.0)
    assert reliability(margins, 12.0)["ece"] < 0.015
    assert reliability(margins, 2.0)["ece"] > 0.1
    assert reliability(margins, 80.0)["ece"] > 0.1


def test_the_fitted_temperature_is_the_one_of_the_model_and_the_best_of_a_grid():
    margins = by_the_model(20000, 12.0)
    temperature, note = fit_temperature(margins)
    assert note == "fitted" and temperature == pytest.approx(12.0, rel=0.05)
    best = min(np.geomspace(1, 200, 400), key=lambda t: bt_loss(margins, t).mean())
    assert temperature == pytest.approx(best, rel=0.01)
    for other in (temperature * 1.02, temperature / 1.02):
        assert bt_loss(margins, temperature).mean() < bt_loss(margins, other).mean()


@pytest.mark.parametrize(
    ("margins", "note"),
    [
        ([], "no decided pairs"),
        ([0.0, 0.0], "no decided pairs"),
        ([1.0, -2.0], "no temperature beats a coin"),
        ([1.0, -1.0], "no temperature beats a coin"),
        ([1.0, 2.0, 0.0], "no wrong pair"),
    ],
)
def test_no_temperature_where_none_is_best(margins, note):
    temperature, said = fit_temperature(margins)
    assert temperature is None and note in said


def test_the_temperature_is_judged_on_pairs_it_was_not_fitted_on():
    margins = by_the_model(401, 12.0, seed=3)
    found = calibrate(margins, 1.0, seed=5)
    assert (found["fit"]["fitted_on"], found["fit"]["held_out"]) == (200, 201)
    order = np.random.default_rng(5).permutation(401)
    fit, rest = margins[order[:200]], margins[order[200:]]
    assert found["fit"]["temperature"] == fit_temperature(fit)[0]
    assert found["held_out_at_fitted"]["bt_loss"] == pytest.approx(bt_loss(rest, found["fit"]["temperature"]).mean())
    assert found["held_out_at_bt_temp"]["bt_loss"] == pytest.approx(bt_loss(rest, 1.0).mean())
    assert found["held_out_at_fitted"]["bt_loss"] < found["held_out_at_bt_temp"]["bt_loss"]
    assert found["held_out_at_fitted"]["ece"] < found["held_out_at_bt_temp"]["ece"]
    # Another seed, other halves; the same seed, the same.
    assert calibrate(margins, 1.0, seed=6)["fit"] != found["fit"]
    assert calibrate(margins, 1.0, seed=5) == found


def test_halves_without_pairs():
    found = calibrate([], 1.0)
    assert found["at_bt_temp"]["ece"] is None and found["held_out_at_bt_temp"]["bt_loss"] is None
    assert calibrate([5.0], 1.0)["fit"]["note"] == "no decided pairs"
