"""What the command line takes: run files of both stacks, flags above them, the environment alone; and what it refuses."""

import json
import logging
import os
import sys

import pytest

from launch.doctor.doctor import guarded, main
from launch.doctor.methods import detect
from launch.doctor.plugin import check_plugin
from launch.doctor.run_file import Run, environment_of, read_flags, read_run
from tests.conftest import REPOSITORY
from tests.launch.doctor.clean_runs import clean_runs, write_run
from tests.launch.doctor.conftest import HAS_SWIFT
from tests.tiny import write_rows

swift_only = pytest.mark.skipif(not HAS_SWIFT, reason="ms-swift is not installed in this environment")


def of(findings: list[dict], check: str) -> list[dict]:
    return [one for one in findings if one["check"] == check]


@pytest.mark.parametrize(
    ("values", "environ", "header", "name"),
    [
        ({"external_plugins": ["a/modpo.py"], "model": "m"}, {}, "", "modpo"),
        ({"external_plugins": "x/bt_grpo.py", "micro_batch_size": 1}, {}, "", "megatron"),
        ({"model_name_or_path": "m", "w": 1}, {}, "", "modpo-trl"),
        ({"model_name_or_path": "m", "gold": "g"}, {}, "", "d2po"),
        ({"model_name_or_path": "m"}, {}, "# Launch:   trl reward --config x", "trl-reward"),
        ({"model_name_or_path": "m"}, {}, "", "trl-dpo"),
        ({"csv_path": "p.csv"}, {}, "", "moodpo"),
        ({"w_values": [1]}, {}, "", "modpo-pipeline"),
        ({"model": "m", "rlhf_type": "rm"}, {}, "", "swift-rm"),
        ({"model": "m"}, {"MODPO_W": "1"}, "", "modpo"),
        ({"model": "m"}, {}, "# Launch:   swift sft x.yaml", "swift-sft"),
    ],
)
def test_the_method_is_told_by_plugin_keys_launch_line_or_environment(values, environ, header, name):
    assert detect(values, environ, header).name == name


@pytest.mark.parametrize(
    ("plugins", "rlhf_type", "environ", "level", "found"),
    [
        (["shared_prefix"], "dpo", {"SHARED_PREFIX": "on"}, "ok", "shared_prefix is loaded for rlhf_type dpo"),
        (["shared_prefix"], "kto", {}, "error", "registers for rlhf_type dpo and grpo, the run has kto"),
        ([], "dpo", {"SHARED_PREFIX": "on"}, "error", "the plugin shared_prefix is not loaded: nothing reads it"),
        (["modpo"], "dpo", {"SHARED_PREFIX": "on"}, "error", "modpo does not read it"),
    ],
)
def test_the_plugin_of_stock_trainers_and_its_setting(plugins, rlhf_type, environ, level, found):
    paths = [str(REPOSITORY / "swift_ext" / "plugins" / f"{name}.py") for name in plugins]
    values = {"model": "m", "rlhf_type": rlhf_type, "external_plugins": paths}
    (finding,) = check_plugin(Run(None, detect(values, environ), values), environ)
    assert finding.level == level and found in finding.found


def test_flags_with_one_value_several_and_none():
    assert read_flags(["--a", "1", "--b", "x", "y", "--c=3", "--d"]) == {
        "a": "1",
        "b": ["x", "y"],
        "c": "3",
        "d": "true",
    }
    with pytest.raises(ValueError, match="unexpected 'x'"):
        read_flags(["x", "--a"])


def test_environment_command_line_and_logging_are_as_before(world, doctor, monkeypatch):
    monkeypatch.setenv("MODPO_W", "0.25")
    before, argv, level = dict(os.environ), sys.argv, logging.root.manager.disable
    doctor(clean_runs(world)["modpo-trl"])
    assert (dict(os.environ), sys.argv, logging.root.manager.disable) == (before, argv, level)


def test_model_kwargs_win_over_the_run_file(tmp_path):
    run = write_run(tmp_path / "run.yaml", {"model": "m", "ENV": {"MODPO_W": 0.5}, "model_kwargs": '{"modpo_w": 0.7}'})
    with environment_of(read_run(run, [], "modpo", None)):
        assert os.environ["MODPO_W"] == "0.7"
    assert "MODPO_W" not in os.environ


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "expected keys and values, found a list"),
        ("a: [", "not YAML"),
        ("ENV: 3\n", "must be a mapping"),
    ],
)
def test_a_run_file_that_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        main([str(path)])


def test_what_cannot_be_told_is_refused_with_the_names(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"nothing says what kind of run .*--method, one of modpo, bt_grpo"):
        main(["--learning_rate", "1"])
    with pytest.raises(ValueError, match="--method 'mopdo': did you mean 'modpo'"):
        main(["--method", "mopdo"])
    monkeypatch.setenv("NPROC_PER_NODE", "two")
    with pytest.raises(ValueError, match="NPROC_PER_NODE is 'two'"):
        main([])


def test_a_check_that_breaks_is_a_finding_and_hides_no_other():
    (found,) = guarded("rows", lambda: [][1])
    assert (found.check, found.level) == ("rows", "error")
    assert found.found.startswith(
        "the check itself failed: IndexError: list index out of range (test_doctor_command.py:"
    )


def test_the_environment_alone(doctor, monkeypatch):
    monkeypatch.setenv("MODPO_W", "0.5")
    monkeypatch.setenv("MODPO_MARGIN_FUNCTION", "brevity")
    monkeypatch.setenv("MODPO_MARGIN_ROLE", "cost")
    code, findings = doctor(None)
    assert code == 0
    assert "pushes TOWARD longer answers" in of(findings, "margin direction")[0]["found"]
    monkeypatch.setenv("MODPO_W", "-1")
    code, findings = doctor(None)
    assert code == 1 and "MODPO_W must be above 0" in of(findings, "settings")[0]["found"]


@swift_only
def test_flags_override_the_run_file(world, doctor):
    run = clean_runs(world)["bt_grpo"]
    code, findings = doctor(run, "--num_generations", "4", "--generation_batch_size", "16")
    assert code == 0 and "2 whole pairs x 2 x 4 completions" in of(findings, "batches")[0]["found"]
    code, findings = doctor(run, "--num_generation", "4")
    assert code == 1 and "'num_generation' (flag)" in of(findings, "keys")[0]["found"]


@swift_only
@pytest.mark.parametrize(
    ("processes", "found"),
    [
        (1, "1 process: each generates 16 completions at a time = 2 whole pairs x 2 x 4 completions, in 4 micro-steps"),
        (
            2,
            "2 processes: each generates 8 completions at a time = 1 whole pair x 2 x 4 completions, in 2 micro-steps",
        ),
        (3, "generation_batch_size (16) must be divisible by the global batch size (12)"),
        (4, "each of 4 ranks generates 4 completions at a time"),
    ],
)
def test_batches_of_several_processes(processes, found, world, doctor):
    run = clean_runs(world)["bt_grpo"] | {"num_generations": 4, "generation_batch_size": 16, "ddp_backend": "gloo"}
    code, findings = doctor(run, "--num_processes", str(processes))
    assert found in of(findings, "batches")[0]["found"]
    assert code == (processes > 2)


@swift_only
def test_a_variable_of_the_shell_that_contradicts_the_run_file(world, doctor, monkeypatch):
    monkeypatch.setenv("MODPO_W", "0.9")
    code, findings = doctor(clean_runs(world)["modpo"])
    assert code == 1 and "MODPO_W is '0.9' in the shell but" in of(findings, "settings")[0]["found"]


@swift_only
@pytest.mark.parametrize("place", ["shell", "run file", "flag"])
def test_no_secret_is_shown(place, world, doctor, monkeypatch, capsys):
    """Seen before: a key of the shell stood twice in the message that it is not in the run file."""
    secret, address = "sk-0123456789", "http://me:pass-word@host/adapter"
    run = clean_runs(world)["modpo"]
    run["ENV"]["MODPO_MARGIN_ADAPTER"] = address
    flags = []
    if place == "shell":
        monkeypatch.setenv("MODPO_API_KEY", secret)
    elif place == "run file":
        del run["ENV"]["MODPO_MARGIN_ADAPTER"]
        run["ENV"] |= {"WANDB_API_KEY": secret, "MODPO_MARGIN_FUNCTION": secret}
    else:
        flags = ["--hub_token", secret, "--torch_dtype", secret]
    code, findings = doctor(run, *flags)
    shown = json.dumps(findings) + capsys.readouterr().out
    assert code == 1 and "***" in shown
    assert not [text for text in (secret, "pass-word") if text in shown]


@swift_only
def test_warnings_do_not_fail(world, doctor):
    run = clean_runs(world)["modpo"]
    run["ENV"]["MODPO_MARGIN_BETA"] = -0.1
    code, findings = doctor(run)
    assert code == 0
    (found,) = [one for one in of(findings, "margin direction") if one["level"] == "warning"]
    assert "AWAY FROM" in found["found"] and "role: cost with beta 0.1" in found["fix"]
    code, findings = doctor(clean_runs(world)["modpo"], "--adapters", str(world / "margin"))
    assert code == 0 and of(findings, "reference")[0]["level"] == "warning"
    assert "they differ at step 0" in of(findings, "reference")[0]["found"]


@swift_only
def test_a_margin_that_ranks_its_pairs(world, contrary, tmp_path, doctor):
    import json

    rows = [json.loads(line) for line in contrary.read_text().splitlines()]
    turned = [
        {"messages": [row["messages"][0], {"role": "assistant", "content": row["rejected_response"]}],
         "rejected_response": row["messages"][1]["content"]}
        for row in rows
    ]  # fmt: skip
    code, findings = doctor(
        clean_runs(world)["modpo"],
        "--margin_pairs",
        str(write_rows(tmp_path / "p.jsonl", turned)),
        "--probe_pairs",
        "20",
    )
    assert code == 0 and "ranks 20 of 20 pairs" in of(findings, "margin direction")[1]["found"]


@pytest.mark.parametrize("method", ["modpo", "modpo-trl", "moodpo"])
def test_load_counts_what_the_headers_said(method, world, doctor):
    if method == "modpo" and not HAS_SWIFT:
        pytest.skip("ms-swift is not installed in this environment")
    code, findings = doctor(clean_runs(world)[method], "--load")
    (found,) = [one["found"] for one in of(findings, "trainability") if one["found"].startswith("loaded:")]
    assert code == 0 and "0 of margins, 0 of the base train, as counted from the headers" in found


def test_the_table_of_adapters_names_sizes_and_who_trains(world, doctor):
    _, findings = doctor(clean_runs(world)["modpo-trl"])
    assert [one["found"] for one in of(findings, "trainability")] == [
        f"base ({world / 'model'}): 31.4k parameters, requires_grad False",
        "adapter of the policy (new, rank 4): 896 parameters, requires_grad True",
        f"adapter of margin 'margin' ({world / 'margin'}): 896 parameters, requires_grad False",
    ]
    assert of(findings, "reference")[0]["found"] == f"{world / 'model'} with all adapters off; beta 0.1 / w 0.5 = 0.2"


@pytest.mark.skipif(HAS_SWIFT, reason="ms-swift is installed in this environment")
def test_a_missing_upstream_is_said(world, doctor):
    code, findings = doctor(clean_runs(world)["bt_grpo"])
    assert code == 1
    assert [one["check"] for one in findings if one["level"] == "error"] == ["upstream"]
    assert "bt_grpo runs on ms-swift, and swift is not installed here" in of(findings, "upstream")[0]["found"]
    assert of(findings, "keys")[0]["level"] == "skipped"
