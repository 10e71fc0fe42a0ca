"""The pipeline's settings: every preset is valid, and each mistake is named before anything is spent."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("doit")

from datasets_builders.io import write_json
from launch.__main__ import main as launch
from launch.cli.verbs import VERBS
from launch.pipelines.config import CRITICAL, PipelineConfig
from launch.pipelines.modpo import ModpoPipeline, shared_environment
from launch.pipelines.preflight import check_folder, kept_of_preset, preflight
from launch.pipelines.read_config import PRESETS, load_config
from launch.pipelines.stages import Command, StageRunner

NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))


def problem(argv: list[str]) -> str:
    with pytest.raises(ValueError) as caught:
        config, preset = load_config(argv)
        check_folder(config, preset)
        preflight(config)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_preset_is_valid_headed_and_gives_stages(name, tmp_path):
    text = (PRESETS / f"{name}.yaml").read_text()
    for word in ("# Purpose:", "# Hardware:", "# Launch:"):
        assert word in text
    config, preset = load_config(["--preset", name, "--out", str(tmp_path / "run")])
    stages = ModpoPipeline(config).stages()
    assert preset == name and [stage.name for stage in stages][-1] == "report"
    assert sum(stage.name.startswith("modpo_") for stage in stages) == len(config.w_values)
    names = [stage.name for stage in stages]
    StageRunner(config.out.resolve(), stages, {})
    for stage in stages:  # every dependency exists and comes earlier
        assert all(names.index(before) < names.index(stage.name) for before in stage.after)


def test_every_stage_follows_those_whose_outputs_its_commands_name(tmp_path):
    """Scores of other answers are other scores, although the prompts are the same."""
    out = str(tmp_path / "run")
    config, _ = load_config(["--preset", "quickstart", "--out", out, "--w_values", "0.5"])
    stages = ModpoPipeline(config).stages()
    StageRunner(config.out.resolve(), stages, {})
    after = {stage.name: set(stage.after) for stage in stages}
    assert after == {
        "model": set(), "sample": {"model"}, "data": {"sample"}, "margin": {"model", "data"},
        "check": {"model", "data", "margin"}, "precompute": {"model", "data", "margin"},
        "modpo_w0.5": {"model", "margin", "precompute", "check"}, "generate_base": {"model"},
        "generate_w0.5": {"model", "modpo_w0.5"}, "validate": {"generate_base", "generate_w0.5"},
        "score": {"model", "generate_base", "generate_w0.5", "validate"},
        "report": {"generate_base", "generate_w0.5", "score"},
    }  # fmt: skip


def test_soups_follow_both_ends_and_the_report_follows_the_soups(tmp_path):
    argv = ["--preset", "quickstart", "--out", str(tmp_path / "run"), "--w_values", "0.5", "--soup"]
    config, _ = load_config(argv)
    stages = ModpoPipeline(config).stages()
    StageRunner(config.out.resolve(), stages, {})
    after = {stage.name: set(stage.after) for stage in stages}
    assert after["preference"] == {"model", "data"} and after["soup_w0.5"] == {"model", "margin", "preference"}
    assert after["generate_soup_w0.5"] == {"model", "soup_w0.5"}
    answers = {"generate_base", "generate_w0.5", "generate_soup_w0.5"}
    assert after["validate"] == answers and after["report"] == answers | {"score"}


def argument(stage, flag: str) -> str:
    argv = getattr(stage.commands[0], "plain", stage.commands[0]).argv
    return argv[argv.index(flag) + 1]


def test_a_soup_mixes_by_the_weights_and_its_ends_are_trained_alike(tmp_path):
    argv = ["--preset", "quickstart", "--out", str(tmp_path / "run"), "--w_values", "0.3,0.8", "--soup"]
    config, _ = load_config(argv)
    stages = {stage.name: stage for stage in ModpoPipeline(config).stages()}
    assert argument(stages["soup_w0.3"], "--weights") == "preference=0.3,margin=0.7"
    assert argument(stages["soup_w0.8"], "--weights") == "preference=0.8,margin=0.2"
    for flag in ("--learning_rate", "--max_steps", "--beta", "--lora_rank", "--seed"):
        assert argument(stages["preference"], flag) == argument(stages["margin"], flag)
    assert Path(argument(stages["preference"], "--dataset")).name == "preference.jsonl"
    report = stages["report"].commands[0].argv
    assert report[report.index("--soups") + 1 :][:2] == ["soup_w0.3=0.3", "soup_w0.8=0.8"]
    assert not any("soup" in part for part in report[report.index("--weights") : report.index("--out")])


@pytest.mark.parametrize("times_w, expected", [("true", ["0.0005", "0.002"]), ("false", ["0.0025", "0.0025"])])
def test_the_learning_rate_is_that_of_every_w_or_times_it(times_w, expected, tmp_path):
    argv = ["--modpo_learning_rate", "2.5e-3", "--w_values", "0.2,0.8", "--learning_rate_times_w", times_w]
    config, _ = load_config(["--preset", "quickstart", "--out", str(tmp_path / "run"), *argv])
    stages = {stage.name: stage for stage in ModpoPipeline(config).stages()}
    assert [argument(stages[f"modpo_w{w}"], "--learning_rate") for w in ("0.2", "0.8")] == expected


def test_where_the_policies_begin_is_told_to_their_training_alone(tmp_path):
    config, _ = load_config(["--preset", "quickstart", "--out", str(tmp_path / "run"), "--start", "margins"])
    stages = {stage.name: stage for stage in ModpoPipeline(config).stages()}
    assert stages["modpo_w0.2"].commands[0].plain.environment["MODPO_START"] == "margins"
    assert "MODPO_START" not in stages["precompute"].commands[0].environment


@pytest.mark.parametrize("shared", ["true", "false"])
def test_dpo_shares_prompts_where_it_is_asked_to(shared, tmp_path):
    argv = ["--preset", "quickstart", "--out", str(tmp_path / "run"), "--soup", "--share_prompts", shared]
    stages = {stage.name: stage for stage in ModpoPipeline(load_config(argv)[0]).stages()}
    for name in ("margin", "preference"):
        plugins = [part for part in stages[name].commands[0].plain.argv if part.endswith("shared_prefix.py")]
        assert len(plugins) == (shared == "true") and all(Path(plugin).is_file() for plugin in plugins)


def test_the_score_of_a_trained_margin_follows_its_training(tmp_path):
    config, _ = load_config(["--preset", "helpsteer", "--out", str(tmp_path / "run"), "--w_values", "0.5"])
    stages = ModpoPipeline(config).stages()
    StageRunner(config.out.resolve(), stages, {})
    after = {stage.name: set(stage.after) for stage in stages}
    assert after == {
        "data": set(), "sft": {"data"}, "merge": {"sft"}, "margin": {"merge", "data"}, "check": {"merge", "data", "margin"},
        "precompute": {"merge", "data", "margin"}, "modpo_w0.5": {"merge", "margin", "precompute", "check"},
        "generate_sft": {"merge", "data"}, "generate_w0.5": {"merge", "data", "modpo_w0.5"},
        "validate": {"generate_sft", "generate_w0.5"},
        "score": {"merge", "margin", "generate_sft", "generate_w0.5", "validate"},
        "report": {"generate_sft", "generate_w0.5", "score"},
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_takes_the_flags_that_a_stage_gives_it(name, tmp_path, capsys):
    """Under their names of today: nothing is said about an old one."""
    config, _ = load_config(["--preset", name, "--out", str(tmp_path / "run")])
    stages = ModpoPipeline(config).stages()
    commands = [one.argv for stage in stages for one in stage.commands if isinstance(one, Command)]
    verbs = [argv[3:] for argv in commands if argv[1:3] == ["-m", "launch"] and argv[3] != "precompute-margins"]
    assert {"generate", "score", "report"} <= {argv[0] for argv in verbs}
    for verb, *flags in verbs:
        import_module(VERBS[verb].module).make_parser().parse_args(flags)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", NAMES)
def test_no_setting_of_a_stage_says_where_the_run_lies(name, tmp_path):
    found = []
    for folder in ("first", "moved"):
        config, _ = load_config(["--preset", name, "--out", str(tmp_path / folder)])
        stages = ModpoPipeline(config).stages()
        runner = StageRunner(config.out.resolve(), stages, {})
        found.append({stage.name: runner.signature(stage)["settings"] for stage in stages})
    assert found[0] == found[1]


def test_flags_override_file_overrides_preset(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("beta: 0.3\nw_values: [0.4]\n")
    config, _ = load_config(["--preset", "quickstart", "--config", str(file), "--w_values", "0.1,0.9", "--out", "x"])
    assert (config.beta, config.w_values, config.train_max_length) == (0.3, [0.1, 0.9], 256)


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--w_values", "0"], "w_values holds 0: every w must lie in (0, 1]"),
        (["--w_values", "1.5"], "w_values holds 1.5"),
        (["--w_values", "0.5", "0.5"], "twice"),
        (["--margin_role", "bonus"], "margin_role"),
        (["--beta", "0"], "beta"),
        (["--max_length", "24"], "max_length 24 leaves no room"),
        (
            ["--max_length", "100", "--max_new_tokens", "50", "--max_input_length", "101"],
            "max_input_length 101 is above max_length 100: lower it, or leave it out",
        ),
        (["--require_w_values", "0.1", "0.9"], "require_w_values demands"),
        (["--require_margin_role", "cost"], "require_margin_role demands 'cost'"),
        (["--prompts", "nowhere.jsonl"], "prompts: nowhere.jsonl does not exist"),
        (["--margin", "function"], "margin = function needs margin_function"),
        (["--y", "humor"], "y = 'humor' is not among the scores"),
        (["--eval_size", "0"], "eval_size"),
        (["--preference", "plain_wrds"], "did you mean 'plain_words'?"),
        (["--margin_preference", "os.nothing"], "cannot be imported"),
        (["--model", "/nowhere/model"], "model: /nowhere/model does not exist"),
        (["--model", "./nowhere"], "model: ./nowhere does not exist"),
        (["--model", "~/nowhere"], "model: ~/nowhere does not exist"),
        (["--scores", "x=implicit:/nowhere"], "scores: x: /nowhere does not exist"),
        (["--scores", "x=classifier:../nowhere"], "scores: x: ../nowhere does not exist"),
        (["--scores", "sea=clasifier:RM", "forest=function:plain_words"], "KIND one of"),
        (
            ["--soup", "--margin", "function", "--margin_function", "brevity"],
            "soup and start = margins need margin = ad",
        ),
        (["--start", "margins", "--margin", "function", "--margin_function", "brevity"], "need margin = adapter"),
        (["--soup", "--margin_role", "cost"], "soup mixes by w and 1 - w: margin_role must be reward"),
        (["--soup", "--margin_weight", "0.5"], "soup mixes by w and 1 - w"),
        (["--gen_do_sample", "false"], "no effect without gen_do_sample"),
    ],
)
def test_mistakes_are_named(argv, said, tmp_path):
    base = ["--preset", "quickstart", "--out", str(tmp_path / "run"), "--model", str(tmp_path)]
    assert said in problem([*base, *argv])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["preference_file", "preference_val_file", "margin_file", "margin_val_file"])
def test_a_row_that_is_no_pair_is_told_before_anything_runs(name, tmp_path):
    """Seen before: the first stage found it, after the base model of the run had been written."""
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    good, bad = (tmp_path / f"{kind}.jsonl" for kind in ("good", "bad"))
    good.write_text(json.dumps(pair) + "\n")
    bad.write_text(
        "".join(json.dumps(row) + "\n" for row in (pair, {**pair, "rejected": None}, {**pair, "chosen": "b"}))
    )
    files = dict.fromkeys(("preference_file", "preference_val_file", "margin_file", "margin_val_file"), good) | {
        name: bad
    }
    argv = [text for flag, file in files.items() for text in (f"--{flag}", str(file))]
    base = ["--preset", "quickstart", "--data", "files", "--out", str(tmp_path / "run"), "--model", str(tmp_path)]
    said = problem([*base, *argv])
    assert f"{name}: 2 of 3 rows are no pairs: 1 x no_pair ({bad}:2: not a pair" in said and f"{bad}:3" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        ([], ["system 'You are a helpful AI", "model_type 'llama'", "template 'chatml'"]),
        (["--system", "Be brief."], ["model_type 'llama'", "template 'chatml'"]),
        (["--config", "FILE"], ["model_type 'llama'"]),
        (["--model", "embedded"], []),
        (["--model_type", "qwen2", "--template", "qwen", "--system", "Be brief."], []),
    ],
)
def test_what_a_preset_says_of_its_own_model_is_told_with_another(argv, kept, tmp_path):
    (tmp_path / "run.yaml").write_text("system: null\ntemplate: qwen\n")
    argv = [str(tmp_path / "run.yaml") if text == "FILE" else text for text in argv]
    config, preset = load_config(["--preset", "hh_smollm2", "--out", str(tmp_path / "r"), "--model", "Qwen/Q", *argv])
    found = kept_of_preset(config, preset)
    assert len(found) == bool(kept) and all(one in found[0] for one in kept)
    names = [one.split()[0] for one in kept]
    assert all((f"--{name}" in found[0]) == (name in names) for name in ("system", "model_type", "template") if kept)


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("MODPO_MARGIN_BETA", "-0.1", "unset it, and set margin_beta of the pipeline"),
        ("modpo_margin_weight", "3", "set margin_weight of the pipeline"),
        ("MODPO_NORMALIZED_WEIGHTS", "true", "unset it"),
        ("BT_DELTA_TEMP", "20", "unset it"),
        ("judge_log_pairs", "true", "unset it"),
        ("JUDGE_HOST", "http://me:secret@host", "unset it"),
        ("JUDGE_API_KEY", "sk-0123456789", "unset it"),
        ("NPROC_PER_NODE", "4", "set processes to 4"),
        ("NNODES", "2", "trains on one node"),
        ("PRECISION", "bf16", "set torch_dtype of the pipeline"),
        ("MARGIN_BETA", "-0.1", "margin_role to what you want: above 0 is a cost in the reference's guide"),
    ],
)
def test_a_setting_of_the_shell_that_the_run_does_not_hold_is_refused(name, value, said, tmp_path, monkeypatch):
    monkeypatch.setenv(name, value)
    found = problem(["--preset", "quickstart", "--out", str(tmp_path / "run"), "--model", str(tmp_path)])
    hidden = {"JUDGE_API_KEY": "***", "JUDGE_HOST": "http://***@host"}
    assert f"{name} is {hidden.get(name, value)!r} in the shell" in found and said in found


def test_a_key_among_the_flags_of_a_stage_is_refused_by_its_name(tmp_path):
    flags = ["--modpo_flags", '{"hub_token": "hf_0123456789"}']
    found = problem(["--preset", "quickstart", "--out", str(tmp_path / "run"), "--model", str(tmp_path), *flags])
    assert "modpo_flags: hub_token would stand in logs" in found and "hf_" not in found


@pytest.mark.parametrize(
    "given", [["--precision", "bf16"], ["--torch_dtype", "bf16"], ["--torch_dtype", "bfloat16"], "file"]
)
def test_the_old_name_and_values_of_torch_dtype_say_the_new_ones(given, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("precision: bf16\n")
    argv = [
        "--preset",
        "quickstart",
        "--out",
        str(tmp_path / "run"),
        *(["--config", str(file)] if given == "file" else given),
    ]
    assert load_config(argv)[0].torch_dtype == "bfloat16"
    said = capsys.readouterr().err
    assert ("torch_dtype" in said) == (given != ["--torch_dtype", "bfloat16"]), said
    with pytest.raises(ValueError, match=r"torch_dtype: .* found 'bfloat61'; did you mean 'bfloat16'"):
        load_config([*argv[:4], "--torch_dtype", "bfloat61"])


@pytest.mark.parametrize(
    "preset, argv, offline",
    [
        ("quickstart", [], True),
        ("quickstart", ["--model", "org/model"], False),
        ("quickstart", ["--scores", "sea=classifier:org/RM", "forest=implicit:{margin}"], False),
        ("quickstart", ["--scores", "sea=classifier:{here}", "forest=implicit:{margin}"], True),
        ("quickstart", ["--preference", "mine.score"], False),
        ("quickstart", ["--preference", "launch.moodpo.topics:sea"], True),  # of the pack, it loads nothing
        ("quickstart", ["--modpo_flags", "{ref_model: org/model}"], False),
        ("helpsteer", [], False),  # the data come from the hub
        ("helpsteer", ["--source", "rows.jsonl"], True),
        ("hh_rlhf", ["--source", "rows.jsonl", "--margin_function", "mine.score"], False),
    ],
)
def test_stages_are_offline_only_where_nothing_comes_from_a_hub(preset, argv, offline, tmp_path):
    argv = [part.replace("{here}", str(tmp_path)) for part in argv]
    model = [] if "--model" in argv else ["--model", str(tmp_path)]
    config, _ = load_config(["--preset", preset, "--out", str(tmp_path / "run"), *model, *argv])
    assert shared_environment(config, False, {}).get("HF_HUB_OFFLINE") == ("1" if offline else None)
    assert "HF_HUB_OFFLINE" not in shared_environment(config, False, {"HF_HUB_OFFLINE": "0"})  # the user's own stays


def test_misspelt_setting_and_preset_offer_the_nearest(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("margin_roll: cost\n")
    assert "'margin_roll'; did you mean 'margin_role'?" in problem(["--config", str(file), "--out", "x"])
    assert "did you mean 'quickstart'?" in problem(["--preset", "quikstart", "--out", "x"])


def test_explicit_criticals(tmp_path):
    said = problem(["--preset", "quickstart", "--require_explicit_criticals", "--out", "x", "--beta", "0.1"])
    assert "--w_values" in said and "--beta" not in said and "--out" not in said
    assert set(CRITICAL) <= set(PipelineConfig.model_fields)


def test_folder_of_another_run_is_refused(tmp_path):
    argv = ["--preset", "quickstart", "--out", str(tmp_path), "--model", str(tmp_path)]
    (tmp_path / "thesis.tex").write_text("do not touch")
    assert "holds files but no run.json" in problem(argv)
    (tmp_path / "run.json").write_text(json.dumps({"preset": "quickstart", "run_tag": "other"}))
    assert "belongs to another run (run_tag 'other'" in problem(argv)
    assert (tmp_path / "thesis.tex").read_text() == "do not touch"


def test_a_folder_whose_first_start_was_killed_is_not_refused(tmp_path):
    """At whatever moment before the end of writing run.json, by its real writer."""
    config, preset = load_config(["--preset", "quickstart", "--out", str(tmp_path / "run"), "--model", str(tmp_path)])
    config.out.mkdir()
    writing = "import os, sys; from datasets_builders.beside import made_beside\n"
    writing += "from pathlib import Path\nwith made_beside(Path(sys.argv[1]), Path.touch): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", writing, str(config.out / "run.json")]).returncode == 9
    (config.out / ".lock").touch()
    assert len(list(config.out.iterdir())) == 2
    check_folder(config, preset)
    write_json(config.out / "run.json", {"preset": preset, "run_tag": config.run_tag})
    assert sorted(path.name for path in config.out.iterdir()) == [".lock", "run.json"]
    check_folder(config, preset)


def test_a_model_whose_type_nobody_can_tell_is_refused_before_the_first_stage(tmp_path):
    """Seen before: the preflight passed, and supervised training stopped after the data had been built."""
    model = tmp_path / "my_model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    argv = ["--preset", "helpsteer", "--model", str(model), "--out", str(tmp_path / "run")]
    assert re.search(r"ms-swift cannot tell its type; give --model_type: .*'llama'", problem(argv))
    preflight(load_config([*argv, "--model_type", "llama"])[0])


@pytest.mark.parametrize("name", NAMES)
def test_shorter_answers_of_a_preset_need_no_third_length(name, tmp_path):
    """Seen before: with a preset's own max_input_length a smaller max_length alone was refused."""
    argv = ["--preset", name, "--out", str(tmp_path / "run"), "--max_length", "128", "--max_new_tokens", "16"]
    assert load_config(argv)[0].max_input_length is None


def test_preflight_only_prints_the_stages_and_spends_nothing(tmp_path, capsys):
    out = tmp_path / "run"
    argv = [
        "helpsteer-modpo",
        "--preset",
        "quickstart",
        "--model",
        str(tmp_path),
        "--out",
        str(out),
        "--preflight_only",
    ]
    assert launch(argv) == 0
    said = capsys.readouterr().out
    assert "swift rlhf --rlhf_type dpo" in said and "MODPO_W=0.2" in said and "preflight passed" in said
    assert "pushes TOWARD what the adapter" in said
    assert not out.exists()


def test_launch_offers_the_nearest_verb(capsys):
    assert launch(["generat"]) == 2
    assert "did you mean 'generate'" in capsys.readouterr().err


def test_check_pairs_names_file_and_line(tmp_path, capsys):
    good = {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "rejected_response": "b",
    }
    file, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    file.write_text(json.dumps(good) + "\n" + json.dumps({"messages": good["messages"]}) + "\n")
    assert launch(["check-pairs", "--pairs", str(file), "--out", str(out)]) == 2
    assert f"{file}:2: not a pair, found messages; valid: messages with rejected_response" in capsys.readouterr().err
    assert not out.exists()
    file.write_text("")
    assert launch(["check-pairs", "--pairs", str(file), "--out", str(out)]) == 2 and not out.exists()
    file.write_text(json.dumps(good) + "\n")
    assert launch(["check-pairs", "--pairs", str(file), "--out", str(out)]) == 0
    assert Path(out).read_text() == json.dumps(good) + "\n"
