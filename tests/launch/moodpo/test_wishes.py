"""Weights as they are written: read, refused with an offer, spread over the simplex, and balanced between sliders."""

import itertools
import random

import pytest

from launch.moodpo.weights import balance, lattice, parse_weights, percentages, write_weights

NAMES = ("helpful", "harmless", "humor")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("helpful=0.7,harmless=0.3", (0.7, 0.3, 0.0)),
        ("humor=1", (0.0, 0.0, 1.0)),
        (" harmless = 0.25 , helpful=.75 ", (0.75, 0.25, 0.0)),
        ("helpful=0.333333,harmless=0.333333,humor=0.333334", (0.333333, 0.333333, 0.333334)),
    ],
)
def test_weights_are_read_in_the_order_of_the_objectives(text, expected):
    assert parse_weights(text, NAMES) == expected


def test_what_is_written_is_read_back():
    assert parse_weights(write_weights(NAMES, (0.5, 0.1, 0.4)), NAMES) == (0.5, 0.1, 0.4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("helpfull=1", ["no objective 'helpfull'", "helpful, harmless, humor", "did you mean 'helpful'"]),
        ("xyz=1", ["no objective 'xyz'"]),
        ("helpful=7,harmless=3", ["sum to 10", "must sum to 1", "helpful=0.7,harmless=0.3"]),
        ("helpful=0.5", ["sum to 0.5", "helpful=1"]),
        ("helpful=0", ["every weight is 0"]),
        ("helpful=-1,harmless=2", ["'helpful' must be a number of at least 0"]),
        ("helpful=inf", ["'helpful' must be a number of at least 0"]),
        ("helpful=nan", ["'helpful' must be a number of at least 0"]),
        ("helpful=much", ["'much' is not a number"]),
        ("helpful=0.5,helpful=0.5", ["named twice"]),
        ("0.7,0.3", ["write NAME=WEIGHT"]),
        ("", ["write NAME=WEIGHT"]),
    ],
)
def test_mistakes_name_what_would_be_right(text, words):
    with pytest.raises(ValueError) as error:
        parse_weights(text, NAMES)
    assert all(word in str(error.value) for word in words), error.value
    assert ("did you mean" in str(error.value)) == ("full" in text)


def test_a_lattice_holds_every_multiple_once_and_falls_in_the_first_weight():
    assert lattice(2, 10) == [(k / 10, (10 - k) / 10) for k in range(10, -1, -1)]
    assert lattice(1, 4) == [(1.0,)]
    three = lattice(3, 4)
    expected = {row for row in itertools.product((0, 0.25, 0.5, 0.75, 1.0), repeat=3) if sum(row) == 1}
    assert set(three) == expected and len(three) == 15
    assert three == sorted(three, reverse=True)


def test_names_of_files_are_whole_percentages_that_sum_to_100():
    assert percentages((0.7, 0.3)) == "70-30"
    assert percentages((1 / 3, 1 / 3, 1 / 3)) == "34-33-33"


@pytest.mark.parametrize(
    ("before", "moved", "after"),
    [
        ([80, 50], 0, [80, 20]),
        ([80, 50], 1, [50, 50]),
        ([40, 30, 60], 0, [40, 20, 40]),
        ([10, 30, 10], 1, [35, 30, 35]),
        ([100, 0, 0], 0, [100, 0, 0]),
        ([20, 0, 0], 0, [20, 40, 40]),  # nobody has a share: equal ones
        ([0, 0, 0], 2, [50, 50, 0]),
        ([120, 50], 0, [100, 0]),
        ([-5, 50], 0, [0, 100]),
        ([37], 0, [100]),
    ],
)
def test_the_slider_in_the_hand_stays_and_the_others_share_the_rest(before, moved, after):
    assert balance(before, moved) == after


def test_sliders_always_sum_to_100():
    draw = random.Random(0)
    for _ in range(200):
        before = [draw.randint(0, 100) for _ in range(draw.randint(2, 5))]
        moved = draw.randrange(len(before))
        after = balance(before, moved)
        assert sum(after) == 100 and after[moved] == before[moved] and min(after) >= 0
        # What is balanced stays, whichever slider is said to have moved: `Generate` balances once more.
        assert all(balance(after, place) == after for place in range(len(after)))
