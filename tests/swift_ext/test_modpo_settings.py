"""`MODPO_*` from the environment: every name known, every value valid, and the message names the variable."""

import pytest

from swift_ext.modpo.settings import MODPOSettings
from swift_ext.settings import read_settings


@pytest.fixture
def read(monkeypatch):
    import os

    for name in list(os.environ):
        if name.upper().startswith("MODPO_"):
            monkeypatch.delenv(name)

    def read(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return read_settings(MODPOSettings)

    return read


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, r"MODPO_W: Field required"),
        ({"MODPO_W": "much"}, r"MODPO_W: .*number.*found 'much'"),
        ({"MODPO_W": "nan"}, r"MODPO_W: .*finite.*found"),
        ({"MODPO_W": "inf"}, r"MODPO_W: .*finite.*found"),
        ({"MODPO_W": "0.5", "MODPO_MARGN_ROLE": "cost"}, r"unknown setting MODPO_MARGN_ROLE; did you mean 'MODPO_MARGIN_ROLE'\?"),
        ({"MODPO_W": "0.5", "modpo_wieght": "1"}, r"unknown setting modpo_wieght; "),
        ({"MODPO_W": "0.5", "MODPO_MARGINS": "[{"}, r"MODPO_\*: .*\"margins\".*Expecting"),
        ({"MODPO_W": "0.5", "MODPO_MARGINS": "{}"}, r"MODPO_MARGINS: .*list"),
        ({"MODPO_W": "0.5", "MODPO_MARGINS": '[{"adapter": "a", "wieght": 1}]'}, r"MODPO_MARGINS\[0\]: .*'wieght'; did you mean 'weight'"),
        ({"MODPO_W": "0.5", "MODPO_MARGINS": '[{"adapter": "a"}, {"function": "brevty"}]'}, r"MODPO_MARGINS\[1\]: .*'brevty'"),
        ({"MODPO_W": "0.5", "MODPO_MARGINS": '[{"adapter": "a", "role": "tax"}]'}, r"MODPO_MARGINS\[0\]\[role\]: .*found 'tax'"),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_ROLE": "cost"}, "MODPO_MARGIN_ROLE is set but no margin source is"),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_WEIGHT": "0.1"}, "MODPO_MARGIN_WEIGHT is set but no margin source is"),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "a", "MODPO_MARGINS": '[{"adapter": "b"}]'}, "either MODPO_MARGINS or the short form"),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "a", "MODPO_MARGIN_FUNCTION": "brevity"}, r"one margin, got \['adapter', 'function'\]"),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "a", "MODPO_MARGIN_ROLE": "penalty"}, "MODPO_MARGIN_ROLE: .*'reward' or 'cost', found 'penalty'"),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "a", "MODPO_MARGIN_WEIGHT": "-1"}, r"MODPO_MARGIN_WEIGHT: .*greater than or equal to 0, found '-1'"),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "a", "MODPO_MARGIN_WEIGHT": "nan"}, "MODPO_MARGIN_WEIGHT: "),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "a", "MODPO_MARGIN_BETA": "inf"}, "MODPO_MARGIN_BETA: "),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "a", "MODPO_MARGIN_BETA": "0"}, "beta = 0 switches the margin off"),
        ({"MODPO_W": "0.5", "MODPO_MARGIN_FUNCTION": "brevty"}, r"'brevty'.*did you mean 'brevity'"),
        ({"MODPO_W": "0.5", "MODPO_NORMALIZED_WEIGHTS": "perhaps"}, r"MODPO_NORMALIZED_WEIGHTS: .*found 'perhaps'"),
    ],
)  # fmt: skip
def test_a_bad_setting_names_its_variable(read, variables, message):
    with pytest.raises(ValueError, match=message):
        read(**variables)


@pytest.mark.parametrize(
    ("w", "message"),
    [("0", "MODPO_W must be above 0"), ("-1", "MODPO_W must be above 0"), ("1.5", "MODPO_W must be at most 1")],
)
def test_w_out_of_range_is_refused_when_resolved(read, w, message):
    with pytest.raises(ValueError, match=message):
        read(MODPO_W=w, MODPO_NORMALIZED_WEIGHTS="true").resolve(0.1)


def test_the_short_form_is_one_margin(read):
    settings = read(MODPO_W="0.3", MODPO_MARGIN_FUNCTION="brevity", MODPO_MARGIN_ROLE="cost", MODPO_MARGIN_BETA="0.5")
    (margin,) = settings.resolve(0.1)
    assert (margin.name, margin.kind, margin.role, margin.weight, margin.beta) == (
        "brevity",
        "function",
        "cost",
        0.7,
        0.5,
    )


def test_the_list_form_and_lower_case_names(read):
    """`--model_kwargs` writes upper case, a shell may not."""
    settings = read(
        modpo_w="0.5", MODPO_MARGINS='[{"adapter": "a/x", "weight": 0.2}, {"function": "brevity", "role": "cost"}]'
    )
    assert [(m.name, m.weight, m.signed_weight) for m in settings.resolve(0.1)] == [
        ("x", 0.2, 0.2),
        ("brevity", 0.3, -0.3),
    ]


def test_names_of_other_methods_are_left_alone(read):
    assert read(MODPO_W="1", MODPOLITE="x", BT_SCALE="2").margins == []
