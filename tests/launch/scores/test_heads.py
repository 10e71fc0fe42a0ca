"""Names of the heads: where they are looked for, and what is refused."""

import pytest

from launch.scores.heads import ARMORM_HEADS, BUILT_IN, choose_heads, head_table

NAMES = ["helpfulness", "verbosity", "safety"]


def test_the_first_table_that_names_heads_is_taken():
    made_up = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    declared = {"model.score.attributes": None, "config.attributes": NAMES, "config.id2label": made_up}
    assert head_table(declared, 3) == (tuple(NAMES), "config.attributes")
    assert head_table({"config.id2label": {"2": "c", "10": "d", "0": "a"}}, 3).names == ("a", "c", "d")


def test_a_nameless_model_of_nineteen_outputs_gets_the_built_in_table():
    made_up = {place: f"LABEL_{place}" for place in range(19)}
    assert head_table({"config.id2label": made_up}, 19) == (ARMORM_HEADS, BUILT_IN)
    assert [ARMORM_HEADS.index(name) for name in ("helpsteer-verbosity", "beavertails-is_safe", "code-readability")] == [
        4, 10, 18
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "heads", "message"),
    [
        ({"config.attributes": NAMES}, 4, "config.attributes names 3 heads, the model has 4 outputs"),
        # A table of the wrong length is an error even where the next one would fit.
        ({"config.attributes": NAMES[:2], "config.id2label": dict(enumerate(NAMES))}, 3, "names 2 heads"),
        ({"config.attributes": ["a", "a"]}, 2, "uses the name 'a' twice"),
        ({"config.attributes": ["a", " "]}, 2, "must be text, found ' '"),
        ({"config.attributes": "helpfulness"}, 1, "must be a list of names, found a str"),
        ({"config.id2label": {"x": "a"}}, 1, "the keys must be numbers"),
        ({"config.id2label": {0: "LABEL_0"}}, 1, "names none of its 1 heads .* ArmoRM's 19"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(declared, heads, message):
    with pytest.raises(ValueError, match=message):
        head_table(declared, heads)


def test_heads_are_chosen_by_name_in_the_asked_order():
    table = head_table({"config.attributes": NAMES}, 3)
    assert choose_heads(["safety", "helpfulness"], table) == {"safety": 2, "helpfulness": 0}
    assert list(choose_heads([], table)) == NAMES
    with pytest.raises(ValueError, match=r"--heads verbositty: .*config.attributes.*did you mean 'verbosity'"):
        choose_heads(["verbositty"], table)
    with pytest.raises(ValueError, match="'safety' twice"):
        choose_heads(["safety", "safety"], table)
