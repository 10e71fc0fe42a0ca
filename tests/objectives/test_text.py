"""Functions of a prompt and a response: worked values, and refusal of what is not one finite number a response."""

import pytest

from trl_ext.objectives import call_text_function, get_text_function
from trl_ext.objectives.text import FUNCTIONS


@pytest.mark.parametrize(
    ("name", "response", "tokens", "expected"),
    [
        ("negative_response_tokens", "x", 301, -301.0),  # bfloat16 would say -300 or -302
        ("negative_response_tokens", "", 1, -1.0),
        ("brevity", "Don't count the 3 numbers, or -- dashes.", 9, -6.0),  # Don't count the numbers or dashes
        ("brevity", "", 1, 0.0),
        ("rich_vocabulary", "Patience patience PATIENCE, astronomy and short", 9, 2.0),
        ("rich_vocabulary", "sixsix seven77", 3, 0.0),  # six letters; "seven" is cut off at the digit
        ("short_words", "four fives and longer", 9, 0.5),
        ("long_words", "sixsix sevenses, sevense", 9, 2 / 3),
        ("long_words", "", 1, 0.0),
        ("short_words", "42 !", 3, 0.0),
    ],
)
def test_worked_values(name, response, tokens, expected):
    assert call_text_function(name, ["p"], [response], [tokens]) == [expected]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_value_depends_on_its_own_response_only(name):
    responses = ["One remarkable sentence.", "", "Two.", "A considerably longer sentence than all the others."]
    tokens = [5, 1, 3, 12]
    together = call_text_function(name, [""] * 4, responses, tokens)
    apart = [call_text_function(name, [""], [r], [t])[0] for r, t in zip(responses, tokens, strict=True)]
    assert together == apart and all(isinstance(value, float) for value in together)


def test_names_and_dotted_paths():
    assert get_text_function("trl_ext.objectives.text.brevity") is get_text_function("brevity")
    with pytest.raises(ValueError, match=r"unknown function 'brevty': registered are .*; did you mean 'brevity'\?"):
        get_text_function("brevty")
    with pytest.raises(ValueError, match=r"'os\.nothing' cannot be imported"):
        get_text_function("os.nothing")


def nan_in_second(prompts, responses, *, response_tokens):
    return [0.0, float("nan")]


def too_few(prompts, responses, *, response_tokens):
    return [0.0]


def test_bad_values_name_function_index_and_response():
    with pytest.raises(ValueError, match=r"nan_in_second' returned nan for response 1: 'second'"):
        call_text_function(f"{__name__}.nan_in_second", ["", ""], ["first", "second"], [1, 1])
    with pytest.raises(ValueError, match=r"too_few' returned 1 values for 2 responses"):
        call_text_function(f"{__name__}.too_few", ["", ""], ["first", "second"], [1, 1])
