"""Margin specifications: what is refused and with which words, what defaults become, and which way a margin pushes."""

import json
import re

import pytest
from pydantic import ValidationError

from trl_ext.modpo.margins import Margin, MarginSpec, read_adapter_config, resolve_margins


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of adapter, classifier, function; got none"),
        ({"adapter": "a", "function": "brevity"}, r"got \['adapter', 'function'\]"),
        ({"adapter": "a", "classifier": "c"}, r"got \['adapter', 'classifier'\]"),
        ({"adapter": "a", "wieght": 1}, "no field 'wieght'; did you mean 'weight'"),
        ({"adapter": "a", "zzzz": 1}, "no field 'zzzz'$"),
        ({"adapter": "a", "beta": 0}, "beta = 0 switches the margin off"),
        ({"adapter": "a", "role": "penalty"}, "role"),
        ({"adapter": "a", "weight": -0.1}, "weight"),
        ({"adapter": "a", "weight": float("nan")}, "weight"),
        ({"adapter": "a", "weight": float("inf")}, "weight"),
        ({"adapter": "a", "beta": float("nan")}, "beta"),
        ({"classifier": "c", "head": -1}, "head"),
        ({"adapter": "a", "name": "a/b"}, "'a/b' may hold letters"),
        ({"adapter": "a", "name": ""}, "margin name ''"),
        ({"adapter": "a", "name": "_x"}, "margin name '_x'"),
        ({"function": "brevty"}, "unknown function 'brevty'.*did you mean 'brevity'"),
        ({"function": "no.such.module"}, "'no.such.module' cannot be imported"),
        ({"function": "json.nothing"}, "'json.nothing' cannot be imported"),
        ({"function": "math.pi"}, "'math.pi' is a float, not a function"),
    ],
)
def test_a_bad_margin_names_the_culprit(fields, message):
    with pytest.raises(ValidationError) as caught:
        MarginSpec(**fields)
    messages = [f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in caught.value.errors()]
    assert len(messages) == 1
    assert re.search(message, messages[0]), messages


def adapters(*weights, **fields) -> list[MarginSpec]:
    return [MarginSpec(adapter=f"folder/m{i}", weight=weight, **fields) for i, weight in enumerate(weights)]


@pytest.mark.parametrize(
    ("weights", "w", "normalized", "message"),
    [
        ([], 0, False, "MODPO_W must be above 0.*got 0"),
        ([], -0.5, False, "MODPO_W must be above 0.*got -0.5"),
        ([], float("nan"), False, "MODPO_W must be above 0.*got nan"),
        ([], 1.2, True, "MODPO_W must be at most 1 when normalized weights were asked for, got 1.2"),
        ([None], 1.2, False, "MODPO_W must be at most 1 when a margin leaves its weight to 1 - w, got 1.2"),
        ([0.7, None], 0.5, False, "w = 0.5 and the given margin weights sum to 1.2: nothing is left"),
        ([0.3, 0.3], 0.5, True, r"must sum to 1: w = 0.5 plus margins = 1.1"),
        ([0.3], 0.5, True, r"must sum to 1: w = 0.5 plus margins = 0.8"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, w, normalized, message):
    with pytest.raises(ValueError, match=message):
        resolve_margins(adapters(*weights), w, 0.1, normalized)


def test_two_margins_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two margins are called 'm': give each a `name`"):
        resolve_margins([MarginSpec(adapter="x/m"), MarginSpec(adapter="y/m")], 0.5, 0.1, False)
    named = [MarginSpec(adapter="x/m"), MarginSpec(adapter="y/m", name="other")]
    assert [m.name for m in resolve_margins(named, 0.5, 0.1, False)] == ["m", "other"]


@pytest.mark.parametrize(
    ("weights", "w", "expected"),
    [
        ([None], 0.3, [0.7]),
        ([None], 1.0, [0.0]),
        ([None, None], 0.4, [0.3, 0.3]),
        ([0.2, None, None], 0.4, [0.2, 0.2, 0.2]),
        ([0.1], 1.0, [0.1]),  # the length-penalty recipe: weights need not sum to one
        ([0.1], 3.0, [0.1]),
        ([1.0, None], 1e-12, [1.0, 0.0]),
    ],
)
def test_what_one_minus_w_leaves_over_is_shared(weights, w, expected):
    margins = resolve_margins(adapters(*weights), w, 0.1, False)
    assert [m.weight for m in margins] == pytest.approx(expected, abs=1e-11)


def test_normalized_weights_accept_a_sum_of_one_and_no_margin_at_all():
    assert resolve_margins(adapters(0.2, 0.3), 0.5, 0.1, True)
    assert resolve_margins([], 1.0, 0.1, True) == []


def test_defaults_of_beta_and_name():
    """An adapter's beta is the run's; a logit and a function value are taken as they are."""
    specs = [
        MarginSpec(adapter="some/where/helpful v2"), MarginSpec(classifier="org/reward-model"),
        MarginSpec(function="negative_response_tokens"), MarginSpec(function="trl_ext.objectives.text.brevity"),
        MarginSpec(adapter="q", beta=0.7, head=0, allow_other_base=True),
    ]  # fmt: skip
    margins = resolve_margins(specs, 0.5, 0.25, False)
    assert [(m.name, m.kind, m.beta) for m in margins] == [
        ("helpful_v2", "adapter", 0.25), ("reward-model", "classifier", 1.0),
        ("negative_response_tokens", "function", 1.0), ("brevity", "function", 1.0), ("q", "adapter", 0.7),
    ]  # fmt: skip
    assert margins[4].allow_other_base


def test_the_role_carries_the_sign():
    assert Margin("m", "adapter", "x", "reward", 0.4, 1.0).signed_weight == 0.4
    assert Margin("m", "adapter", "x", "cost", 0.4, 1.0).signed_weight == -0.4


@pytest.mark.parametrize(
    ("kind", "source", "role", "beta", "words"),
    [
        ("adapter", "runs/safe", "reward", 0.1, "pushes TOWARD what the adapter runs/safe prefers"),
        ("adapter", "runs/safe", "cost", 0.1, "pushes AWAY FROM what the adapter runs/safe prefers"),
        (
            "adapter",
            "runs/safe",
            "reward",
            -0.1,
            "pushes AWAY FROM what the adapter runs/safe prefers (by a raw negative beta)",
        ),
        (
            "adapter",
            "runs/safe",
            "cost",
            -0.1,
            "pushes TOWARD what the adapter runs/safe prefers (by a raw negative beta)",
        ),
        ("classifier", "org/rm", "reward", 1.0, "pushes TOWARD higher values of org/rm"),
        ("classifier", "org/rm", "cost", 1.0, "pushes AWAY FROM higher values of org/rm"),
        ("function", "negative_response_tokens", "reward", 1.0, "pushes TOWARD shorter answers"),
        ("function", "negative_response_tokens", "cost", 1.0, "pushes TOWARD longer answers"),
        (
            "function",
            "negative_response_tokens",
            "reward",
            -1.0,
            "pushes TOWARD longer answers (by a raw negative beta)",
        ),
        ("function", "brevity", "reward", 1.0, "pushes TOWARD shorter answers"),
        ("function", "rich_vocabulary", "reward", 1.0, "pushes TOWARD richer vocabulary"),
        ("function", "rich_vocabulary", "cost", 1.0, "pushes TOWARD plainer vocabulary"),
        ("function", "my.module.f", "cost", 1.0, "pushes AWAY FROM higher values of my.module.f"),
    ],
)
def test_the_direction_is_put_into_words(kind, source, role, beta, words):
    sentence = Margin("m", kind, source, role, 0.4, beta).direction()
    assert sentence == f"margin 'm': {role}, weight 0.4, beta {beta:g}: {words}"


def test_weight_zero_pushes_nowhere():
    sentence = Margin("m", "adapter", "x", "reward", 0.0, 1.0).direction()
    assert "pushes nowhere" in sentence and "TOWARD" not in sentence


def test_an_adapter_folder_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere' is not a folder"):
        read_adapter_config(str(tmp_path / "nowhere"))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds no adapter_config.json: found \['model.safetensors'\]"):
        read_adapter_config(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config.json: not JSON"):
        read_adapter_config(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4}))
    assert read_adapter_config(str(tmp_path)) == {"r": 4}
