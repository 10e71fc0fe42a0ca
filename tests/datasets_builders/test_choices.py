"""The nearest name, in every message that has one."""

import pytest

from datasets_builders.choices import check_choice, did_you_mean, nearest
from trl_ext.moodpo.specs import get_reward_specs


def test_the_nearest_name_and_all_valid_ones():
    assert nearest("blu", ["red", "blue"]) == "did you mean 'blue'? Valid: red, blue"
    assert nearest("xyz", ["red", "blue"]) == "Valid: red, blue"
    assert did_you_mean("blu", ["red", "blue"]) == "; did you mean 'blue'?" and did_you_mean("xyz", ["red"]) == ""


def test_a_value_that_is_no_choice_is_refused():
    check_choice("--colour", "red", ("red", "blue"))
    with pytest.raises(ValueError, match=r"^--colour is 'blu': valid are \['red', 'blue'\]; did you mean 'blue'\?$"):
        check_choice("--colour", "blu", ("red", "blue"))
    with pytest.raises(ValueError, match=r"^--colour is None: valid are \['red', 'blue'\]$"):
        check_choice("--colour", None, ("red", "blue"))


@pytest.mark.parametrize(("name", "end"), [("brevty", r"; did you mean 'brevity'\? Valid: "), ("xyzzy", r"\. Valid: ")])
def test_an_unknown_reward_model_ends_its_sentence(name, end):
    with pytest.raises(ValueError, match=f"^unknown reward model '{name}'{end}"):
        get_reward_specs([name])
