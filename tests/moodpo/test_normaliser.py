"""Statistics of scores, and the weighted sum."""

import json

import numpy as np
import pytest

from trl_ext.moodpo.rewards import Normaliser, read_statistics, scalarise

NAMES = ["helpful", "harmless"]
SCORES = np.random.default_rng(0).normal([3.0, -40.0], [0.5, 9.0], size=(200, 2))


@pytest.mark.parametrize("sizes", [[200], [1] * 200, [7, 90, 3, 100], [0, 200, 0]])
def test_running_statistics_do_not_depend_on_how_the_scores_come(sizes):
    normaliser = Normaliser(NAMES)
    for part in np.split(SCORES, np.cumsum(sizes)[:-1]):
        normaliser.update(part)
    expected = (SCORES - SCORES.mean(axis=0)) / SCORES.std(axis=0)
    np.testing.assert_allclose(normaliser.apply(SCORES), expected, rtol=1e-9, atol=1e-9)
    assert list(normaliser.statistics()) == NAMES
    np.testing.assert_allclose(normaliser.statistics()["harmless"], [SCORES[:, 1].mean(), SCORES[:, 1].std()])


def test_far_from_zero_no_digit_is_lost():
    """The textbook mean of squares minus square of the mean is off by 100 % here."""
    shifted = SCORES + 1e9
    normaliser = Normaliser(NAMES)
    for part in np.split(shifted, 20):
        normaliser.update(part)
    found = [std for _, std in normaliser.statistics().values()]
    np.testing.assert_allclose(found, SCORES.std(axis=0), rtol=1e-6)


def test_missing_scores_are_left_out_objective_by_objective():
    holed = SCORES.copy()
    holed[::3, 0] = np.nan
    holed[5, 1] = np.inf
    normaliser = Normaliser(NAMES)
    for part in np.split(holed, 10):
        normaliser.update(part)
    normaliser.update(np.full((4, 2), np.nan))
    there = [holed[np.isfinite(holed[:, k]), k] for k in (0, 1)]
    np.testing.assert_allclose(
        list(normaliser.statistics().values()), [[column.mean(), column.std()] for column in there], rtol=1e-9
    )
    assert np.isnan(normaliser.apply(holed)[::3, 0]).all() and np.isfinite(normaliser.apply(holed)[1::3, 0]).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e6])
def test_without_spread_nothing_is_blown_up(value):
    normaliser = Normaliser(["one"])
    np.testing.assert_array_equal(normaliser.apply([[2.5]]), [[2.5]])
    for _ in range(5):
        normaliser.update(np.full((3, 1), value))
    np.testing.assert_allclose(normaliser.apply([[value], [value + 0.5]]), [[0.0], [0.5]], atol=1e-9)


def test_stored_statistics_stay_as_they_are():
    normaliser = Normaliser(NAMES, "stored", {"harmless": (-2.0, 4.0), "helpful": (1.0, 0.5), "humor": (0.0, 1.0)})
    normaliser.update(SCORES)
    np.testing.assert_allclose(normaliser.apply([[2.0, 2.0], [np.nan, -2.0]]), [[2.0, 1.0], [np.nan, 0.0]])
    assert normaliser.statistics() == {"helpful": (1.0, 0.5), "harmless": (-2.0, 4.0)} and not normaliser.count.any()


def test_no_normalisation_leaves_raw_scores():
    normaliser = Normaliser(NAMES, "none")
    normaliser.update(SCORES)
    np.testing.assert_array_equal(normaliser.apply(SCORES), SCORES)
    assert normaliser.statistics() == {}


@pytest.mark.parametrize("mode", ["running", "stored", "none"])
def test_a_resumed_run_goes_on_with_exactly_the_same_numbers(mode):
    stored = {"helpful": (1.0, 0.5), "harmless": (0.1, 3.0)} if mode == "stored" else None
    whole, first = Normaliser(NAMES, mode, stored), Normaliser(NAMES, mode, stored)
    whole.update(SCORES[:60])
    first.update(SCORES[:60])
    state = json.loads(json.dumps(first.state_dict()))
    second = Normaliser(NAMES, mode, stored)
    second.load_state_dict(state)
    for normaliser in (whole, second):
        normaliser.update(SCORES[60:])
    np.testing.assert_array_equal(whole.apply(SCORES), second.apply(SCORES))
    assert second.state_dict() == whole.state_dict()


def test_the_state_of_another_run_is_refused():
    state = Normaliser(NAMES).state_dict()
    with pytest.raises(ValueError, match="has names"):
        Normaliser(NAMES[::-1]).load_state_dict(state)
    with pytest.raises(ValueError, match="has mode 'running', this run has 'none'"):
        Normaliser(NAMES, "none").load_state_dict(state)
    state = Normaliser(["a"], "stored", {"a": (0.0, 1.0)}).state_dict()
    with pytest.raises(ValueError, match="has stored"):
        Normaliser(["a"], "stored", {"a": (0.0, 2.0)}).load_state_dict(state)


@pytest.mark.parametrize(
    ("mode", "stored", "message"),
    [
        ("runing", None, "use running, stored or none"),
        ("stored", None, "'stored' needs stored statistics"),
        ("running", {"helpful": (0, 1)}, "'running' takes no stored statistics"),
        ("stored", {"helpful": (0, 1)}, r"no stored mean and std for \['harmless'\]; there are those of \['helpful'\]"),
        ("stored", {"helpful": (0, 0), "harmless": (0, 1)}, "'helpful': a finite mean and a positive std"),
        ("stored", {"helpful": (float("nan"), 1), "harmless": (0, 1)}, "'helpful': a finite mean"),
    ],
)
def test_settings_that_make_no_sense_are_refused(mode, stored, message):
    with pytest.raises(ValueError, match=message):
        Normaliser(NAMES, mode, stored)


@pytest.mark.parametrize("method", ["update", "apply"])
def test_a_table_with_another_number_of_objectives_is_refused(method):
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(N, 2\)"):
        getattr(Normaliser(NAMES, "none"), method)(np.zeros((2, 3)))


def test_statistics_from_a_file(tmp_path):
    file = tmp_path / "statistics.json"
    file.write_text('{"helpful": {"mean": 1, "std": 0.5}}')
    assert read_statistics(str(file)) == {"helpful": (1.0, 0.5)}
    for text, message in (
        ("{", "expected"),
        ("[1]", "expected"),
        ('{"a": {"mean": 1}}', "expected .*std"),
        ('{"a": {"mean": 1, "std": 0}}', "'a': a finite mean and a positive std"),
        ('{"a": 3}', "expected"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=f"statistics.json: .*{message}"):
            read_statistics(str(file))
    with pytest.raises(ValueError, match=r"nowhere\.json: cannot be read"):
        read_statistics(str(tmp_path / "nowhere.json"))


def test_the_weighted_sum_by_hand():
    scores = np.array([[1.0, -2.0], [3.0, 0.5]])
    np.testing.assert_allclose(scalarise(scores, [[0.25, 0.75], [1.0, 0.0]]), [-1.25, 3.0])
    np.testing.assert_allclose(scalarise(scores, [0.5, 0.5]), [-0.5, 1.75])


def test_a_missing_score_makes_its_row_missing_whatever_its_weight():
    found = scalarise([[1.0, np.nan], [1.0, 2.0]], [[1.0, 0.0], [0.5, 0.5]])
    np.testing.assert_array_equal(found, [np.nan, 1.5])


@pytest.mark.parametrize("weights", [[0.5], [[0.5, 0.5]], [0.2, 0.3, 0.5], 1.0])
def test_weights_that_do_not_fit_the_scores_are_refused(weights):
    with pytest.raises(ValueError, match="expected"):
        scalarise(np.zeros((3, 2)), weights)
