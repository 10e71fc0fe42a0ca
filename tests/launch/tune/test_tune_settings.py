"""Settings, search space and the run file of a trial."""

import pytest
import yaml

from datasets_builders.yaml_file import read_mapping
from launch.__main__ import main as launch
from launch.tune.objective import KINDS
from launch.tune.run_file import margin_specs, trial_run_file
from launch.tune.settings import TuneSettings
from launch.tune.space import DEFAULT, make_space, read_space
from launch.tune.tune_modpo import DEFAULT_CONFIG, read_settings

NEEDED = ["--study_name", "s", "--output_root", "out"]


def settings_of(*flags) -> TuneSettings:
    return read_settings([*NEEDED, *flags])


def test_the_seeds_command_line():
    """Flag by flag, with its defaults: budget 24, rungs 300, 600, 1000, w = 0.7."""
    flags = ["--rung_steps", "300,600,1000", "--sft_model_name", "SFT", "--margin_reward_model_name", "M"]
    found = settings_of(*flags, "--worker_id", "gpu1", "--gpu_id", "1")
    assert (found.n_trials, found.rung_steps, found.w, found.worker_id, found.gpu_id) == (
        24,
        [300, 600, 1000],
        0.7,
        "gpu1",
        "1",
    )
    assert found.config == DEFAULT_CONFIG and found.objective == "ranking" and str(found.folder) == "out/s"
    assert found.identity() == settings_of(*flags, "--worker_id", "gpu0", "--n_trials", "30").identity()
    assert found.identity() != settings_of(*flags, "--w", "0.6").identity()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--eval_steps", "0"], "--eval_steps: .*greater than 0, found '0'"),
        (["--rung_steps", "300,300"], r"rung_steps \[300, 300\] must increase"),
        (["--rung_steps", "100,500,1000"], r"rung 2 must lie in \[200, 400\), found 500"),
        (["--rung_steps", "0,2"], "--rung_steps.0: Input should be greater than 0, found '0'"),
        (["--rung_steps", "a"], "--rung_steps.0: .*valid integer.*found 'a'"),
        (["--w", "0"], "--w: .*greater than 0, found '0'"),
        (["--objective", "rankin"], "--objective 'rankin': did you mean 'ranking'"),
        (["--metrics", "eval_loss"], "--metrics 'eval_loss': NAME=NUMBER is needed"),
        (["--metrics", "eval_loss=x"], "--metrics.eval_loss: .*valid number"),
        (["--config", "none.yaml"], "config: no file none.yaml"),
        (["--study_name", "../s"], "label '../s': use letters"),
        (["--gpu_id", "0,1"], "gpu_id '0,1': one device per worker"),
        (["--worker_id", "a b"], "label 'a b'"),
        (["--margin_role", "costs"], "--margin_role: Input should be 'reward' or 'cost', found 'costs'"),
    ],
)
def test_mistakes_are_named(flags, message):
    with pytest.raises(ValueError, match=message):
        settings_of(*flags)


def test_a_misspelt_flag_offers_the_nearest(capsys):
    with pytest.raises(SystemExit) as found:
        settings_of("--rungs_steps", "1,2")
    assert found.value.code == 2 and "did you mean '--rung_steps'?" in capsys.readouterr().err


def test_other_factors_judge_other_ladders():
    assert settings_of("--rung_steps", "100,300,900,1000", "--reduction_factor", "3").rung_steps[-1] == 1000
    assert settings_of("--rung_steps", "300,601,602").rung_steps == [300, 601, 602]


def test_every_setting_has_a_flag_and_a_description():
    assert all(info.description for info in TuneSettings.model_fields.values())
    assert set(KINDS) == set(TuneSettings.model_fields["objective"].annotation.__args__)


def test_the_space_of_the_reference():
    space = read_space(None)
    assert set(space) == {"learning_rate", "weight_decay", "warmup_ratio", "beta", "margin_mult"} == set(DEFAULT)
    assert (space["learning_rate"].low, space["learning_rate"].high, space["learning_rate"].log) == (5e-5, 8e-4, True)
    assert space["beta"].choices == [0.1, 0.2, 0.5] and not space["weight_decay"].log


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"learning_rat": {"low": 0, "high": 1}}, "'learning_rat' cannot be tuned; did you mean 'learning_rate'"),
        ({"w": {"low": 0.1, "high": 1}}, "w cannot be tuned, the study's objective is a function of it"),
        ({"beta": {"low": 1, "high": 0.1}}, "beta: low 1 must be below high 0.1"),
        ({"beta": {"low": 0, "high": 1, "log": True}}, "beta: log needs low above 0, found 0"),
        ({"lora_r": {"low": 1.5, "high": 8, "integer": True}}, "lora_r: integer needs whole ends"),
        ({"beta": {"low": 0.1, "high": 1, "lgo": True}}, "beta: lgo Extra inputs are not permitted"),
        ({"beta": {"choices": []}}, "beta: choices List should have at least 1 item"),
        ({"beta": 0.1}, "beta needs low and high, or choices, found 0.1"),
        ({}, "a mapping of settings"),
    ],
)
def test_spaces_that_cannot_be(entries, message):
    with pytest.raises(ValueError, match=message):
        make_space(entries)


@pytest.fixture
def base(tmp_path, adapter):
    """A run file with a learning rate, a short-form margin and a save strategy of its own."""
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({
        "learning_rate": 9.0, "warmup_ratio": 0.5, "save_strategy": "epoch", "output_dir": "elsewhere", "max_length": 64,
        "margin_function": "brevity", "margin_beta": 0.05, "margin_role": "cost",
    }))  # fmt: skip
    return path


def test_the_run_file_of_a_trial(base, adapter, tmp_path):
    parameters = {"learning_rate": 1e-4, "weight_decay": 0.05, "warmup_ratio": 0.1, "beta": 0.2, "margin_mult": 1.5}
    flags = [
        "--config",
        str(base),
        "--sft_model_name",
        "SFT",
        "--margin_reward_model_name",
        str(adapter),
        "--margin_role",
        "cost",
    ]
    settings = settings_of(*flags, "--rung_steps", "30,60,105")
    run_file = read_mapping(base)
    run = trial_run_file(settings, run_file, margin_specs(settings, run_file), parameters, tmp_path / "t")
    assert run["margins"] == [
        {
            "adapter": str(adapter),
            "name": "margin",
            "role": "cost",
            "beta": pytest.approx(0.3),
            "head": 0,
            "allow_other_base": False,
        }
    ]
    assert (run["beta"], run["learning_rate"], run["w"], run["weight_decay"]) == (0.2, 1e-4, 0.7, 0.05)
    assert run["warmup_steps"] == 10 and "warmup_ratio" not in run and "margin_function" not in run
    assert (run["max_steps"], run["eval_steps"], run["save_steps"], run["save_strategy"]) == (105, 105, 105, "steps")
    assert (
        run["output_dir"] == str(tmp_path / "t")
        and run["run_name"] == "s_t"
        and run["max_length"] == 64
        and run["model_name_or_path"] == "SFT"
    )
    assert yaml.safe_load(yaml.safe_dump(run)) == run


def test_a_margin_of_the_run_file_keeps_its_role_and_is_scaled(base, tmp_path):
    settings = settings_of("--config", str(base))
    specs = margin_specs(settings, read_mapping(base))
    margin = trial_run_file(settings, {}, specs, {"beta": 0.5, "margin_mult": 2.0}, tmp_path)["margins"][0]
    assert (margin["function"], margin["role"], margin["beta"]) == ("brevity", "cost", pytest.approx(0.1))


@pytest.mark.parametrize(("gpu_id", "use_cpu"), [(None, None), ("0", None), ("", True)])
def test_no_gpu_means_the_processor_in_the_run_file_as_well(gpu_id, use_cpu, base, tmp_path):
    """Seen before: `--gpu_id ""` hid the GPUs, and the run file's bf16 was refused for want of one."""
    settings = settings_of("--config", str(base), *([] if gpu_id is None else ["--gpu_id", gpu_id]))
    run = trial_run_file(settings, read_mapping(base), margin_specs(settings, read_mapping(base)), {}, tmp_path)
    assert run.get("use_cpu") is use_cpu


def test_no_margin_and_no_adapter_are_refused_before_anything_is_made(tmp_path, capsys):
    empty = tmp_path / "run.yaml"
    empty.write_text("max_length: 8\n")
    base = ["tune-modpo", "--study_name", "s", "--output_root", str(tmp_path / "out"), "--config", str(empty)]
    assert launch(base) == 2 and "no margin: give --margin_reward_model_name" in capsys.readouterr().err
    assert launch([*base, "--margin_reward_model_name", str(tmp_path)]) == 2
    assert "holds no adapter_config.json" in capsys.readouterr().err
    assert launch([*base, "--summarize_only"]) == 2 and "no study there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_packs_run_file_leaves_to_the_study_what_the_study_decides():
    run_file = read_mapping(DEFAULT_CONFIG)
    decided = trial_run_file(settings_of(), run_file, margin_specs_of_brevity(), {"beta": 0.1}, DEFAULT_CONFIG)
    assert not [name for name in run_file if decided[name] != run_file[name]]


def margin_specs_of_brevity():
    from trl_ext.modpo.margins import MarginSpec

    return [MarginSpec(function="brevity")]
