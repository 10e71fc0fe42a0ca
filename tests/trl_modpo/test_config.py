"""MODPOConfig: the settings of the ms-swift side under the same names, mistakes named."""

import json

import pytest

pytest.importorskip("trl")


@pytest.fixture
def config(tmp_path):
    from trl_ext import MODPOConfig

    return lambda **fields: MODPOConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False, **fields)


def test_defaults_are_those_of_the_swift_side(config):
    settings = pytest.importorskip("swift_ext.modpo.settings").MODPOSettings
    ours, theirs = config(w=0.5), settings(w=0.5)
    names = set(settings.model_fields) - {"store"}
    assert {name: getattr(ours, name) or None for name in names} == {
        name: getattr(theirs, name) or None for name in names
    }


@pytest.mark.parametrize("written", [list, json.dumps], ids=["list", "json"])
def test_margins_from_yaml_and_from_the_command_line(written, config):
    fields = [{"function": "brevity", "weight": 0.2, "role": "cost"}, {"function": "rich_vocabulary"}]
    margins = config(w=0.5, margins=written(fields)).resolve()
    assert [(m.name, m.role, m.weight, m.beta) for m in margins] == [
        ("brevity", "cost", 0.2, 1.0),
        ("rich_vocabulary", "reward", 0.3, 1.0),
    ]


def test_the_short_form_takes_beta_of_the_run_for_an_adapter(config):
    (margin,) = config(w=0.7, beta=0.25, margin_adapter="folder", margin_role="cost").resolve()
    assert (margin.kind, margin.signed_weight, margin.beta) == ("adapter", -0.3, 0.25)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "w is missing: the weight of the preference in the data, above 0"),
        ({"w": 0.0}, "^w must be above 0"),
        ({"w": float("nan")}, "^w must be above 0"),
        ({"w": 1.2, "margin_function": "brevity"}, "^w must be at most 1 when a margin leaves its weight to 1 - w, got 1.2"),
        ({"w": 0.5, "margins": [{"function": "brevity", "weight": 0.2}], "normalized_weights": True}, "must sum to 1"),
        ({"w": 0.5, "margins": [{"function": "brevty"}]}, r"margins\[0\]: unknown function 'brevty'.*did you mean 'brevity'"),
        ({"w": 0.5, "margins": [{"function": "brevity"}, {"function": "brevity", "wieght": 1}]}, r"margins\[1\]: a margin has no field 'wieght'; did you mean 'weight'"),
        ({"w": 0.5, "margins": [{"function": "brevity", "weight": -1}]}, r"margins\[0\]: weight .*greater than or equal to 0, found -1"),
        ({"w": 0.5, "margins": "[{]"}, r"margins: not JSON .*, found '\[\{\]'"),
        ({"w": 0.5, "margins": {"function": "brevity"}}, "margins: a list of mappings is needed"),
        ({"w": 0.5, "margins": ["brevity"]}, r"margins\[0\]: a margin is a mapping of fields, found 'brevity'"),
        ({"w": 0.5, "margin_role": "cost"}, "margin_role is set but no margin source is"),
        ({"w": 0.5, "margin_function": "brevity", "margin_classifier": "x"}, r"the short form takes one margin, got \['classifier', 'function'\]"),
        ({"w": 0.5, "margin_function": "brevity", "margins": [{"function": "brevity"}]}, "either margins or the short form"),
        ({"w": 0.5, "margins": [{"function": "brevity"}, {"function": "brevity"}]}, "two margins are called 'brevity'"),
        ({"w": 0.5, "margin_function": "brevity", "margin_weight": -0.1}, "margin_function: weight .*found -0.1"),
        ({"w": 0.5, "margin_function": "brevity", "margin_beta": 0.0}, "beta = 0 switches the margin off"),
    ],
)  # fmt: skip
def test_mistakes_are_named(fields, message, config):
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_resume_settings_appear_whole_and_differences_are_named(tmp_path):
    from trl_ext.modpo.run_settings import SETTINGS_FILE, refuse_other_settings, save_settings

    refuse_other_settings(tmp_path, {"w": 0.5})  # nothing saved, nothing to compare
    save_settings(tmp_path, {"w": 0.5, "margins": [{"name": "a"}]})
    assert [path.name for path in tmp_path.iterdir()] == [SETTINGS_FILE]
    refuse_other_settings(tmp_path, {"w": 0.5, "margins": [{"name": "a"}]})
    with pytest.raises(ValueError, match=r"modpo_settings\.json: the run had margins = .*'a'.*this one has .*'b'"):
        refuse_other_settings(tmp_path, {"w": 0.5, "margins": [{"name": "b"}]})


def test_the_run_file_parses_and_names_its_launch_line():
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, TrlParser

    from tests.conftest import REPOSITORY
    from trl_ext import MODPOConfig

    path = REPOSITORY / "launch" / "runs" / "modpo_trl" / "smollm2.yaml"
    head = path.read_text().split("model_name_or_path")[0]
    assert all(
        word in head for word in ("# Purpose:", "# Hardware:", "# Launch:", f"--config {path.relative_to(REPOSITORY)}")
    )
    parser = TrlParser((ScriptArguments, MODPOConfig, ModelConfig, DatasetMixtureConfig))
    script, args, model, _ = parser.parse_args_and_config(["--config", str(path), "--w", "0.8"])
    (margin,) = args.resolve()
    assert (args.w, margin.signed_weight, margin.beta, script.dataset_name) == (
        0.8,
        pytest.approx(0.2),
        0.05,
        "preference.jsonl",
    )
    assert model.lora_target_modules == "all-linear" and args.precompute_ref_log_probs
