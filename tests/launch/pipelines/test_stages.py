"""StageRunner: what is done stays done, what a changed setting touches is redone, a killed run continues."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("doit")

from launch.pipelines.identity import path_digest, settings_of
from launch.pipelines.stages import Command, Resumed, Stage, StageRunner

COUNT = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(sys.argv[2]); q = p.with_suffix('.runs'); q.write_text(q.read_text() + 'x' if q.exists() else 'x')"


def write_stage(folder: Path, name: str, text: str, after=()) -> Stage:
    """A stage that writes `text` to `name.txt` and counts its runs in `name.runs`."""
    output = folder / f"{name}.txt"
    return Stage(name, name, [Command(["python", "-c", COUNT, str(output), text])], [output], after)


def chain(folder: Path, first="1", second="2") -> list[Stage]:
    return [
        write_stage(folder, "a", first),
        write_stage(folder, "b", second, ["a"]),
        write_stage(folder, "c", "3", ["b"]),
        write_stage(folder, "side", "4"),
    ]


def runs(folder: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text()) for path in sorted(folder.glob("*.runs"))}


def test_second_run_does_nothing(tmp_path):
    assert StageRunner(tmp_path, chain(tmp_path), {}).run() == 0
    assert StageRunner(tmp_path, chain(tmp_path), {}).run() == 0
    assert runs(tmp_path) == {"a": 1, "b": 1, "c": 1, "side": 1}


def test_changed_setting_redoes_what_depends_on_it(tmp_path):
    StageRunner(tmp_path, chain(tmp_path), {}).run()
    assert StageRunner(tmp_path, chain(tmp_path, second="changed"), {}).run() == 0
    assert runs(tmp_path) == {"a": 1, "b": 2, "c": 2, "side": 1}


def test_equal_output_of_a_redone_stage_stops_there(tmp_path):
    """c depends on the content of b, not on b having run: a changed a with an unchanged b leaves c alone."""
    StageRunner(tmp_path, chain(tmp_path), {}).run()
    StageRunner(tmp_path, chain(tmp_path, first="other"), {}).run()
    assert runs(tmp_path) == {"a": 2, "b": 2, "c": 1, "side": 1}


@pytest.mark.parametrize("damage", ["delete", "edit"])
def test_lost_or_edited_output_is_made_again(tmp_path, damage):
    StageRunner(tmp_path, chain(tmp_path), {}).run()
    target = tmp_path / "b.txt"
    target.unlink() if damage == "delete" else target.write_text("tampered")
    assert StageRunner(tmp_path, chain(tmp_path), {}).run() == 0
    assert runs(tmp_path)["b"] == 2 and target.read_text() == "2"


def test_failure_names_the_stage_and_stops_what_depends_on_it(tmp_path, capfd):
    stages = chain(tmp_path)
    stages[1].commands = [Command(["python", "-c", "raise SystemExit('the reason')"])]
    assert StageRunner(tmp_path, stages, {}).run() == 1
    said = capfd.readouterr().out
    assert "[2/4] b: FAILED with exit code 1" in said and "the reason" in said
    assert "c" not in runs(tmp_path)


def test_stage_without_its_output_is_not_done(tmp_path, capfd):
    stage = Stage("a", "a", [Command(["python", "-c", "pass"])], [tmp_path / "never"])
    assert StageRunner(tmp_path, [stage], {}).run() == 1
    assert "left no" in capfd.readouterr().out


SLOW = """
import pathlib, sys, time
p = pathlib.Path(sys.argv[1])
done = int(p.read_text()) if p.exists() else 0
for step in range(done, 5):
    time.sleep(0.3)
    p.write_text(str(step + 1))
"""
DRIVER = """
import sys
from pathlib import Path
from launch.pipelines.stages import Command, Stage, StageRunner
folder, script = Path(sys.argv[1]), sys.argv[2]
out = folder / "steps.txt"
command = Command(["python", "-c", script, str(out)])
sys.exit(StageRunner(folder, [Stage("slow", "slow", [command], [out], resumable=True, settings={"k": sys.argv[3]})], {}).run())
"""


def drive(folder: Path, setting: str, wait: bool = True):
    argv = [sys.executable, "-c", DRIVER, str(folder), SLOW, setting]
    process = subprocess.Popen(argv, start_new_session=True, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE)
    if wait:
        assert process.wait(60) == 0
    return process


def test_kill_continues_under_the_same_settings_and_starts_over_under_others(tmp_path):
    process = drive(tmp_path, "one", wait=False)
    deadline = time.monotonic() + 30
    while not (tmp_path / "steps.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = int((tmp_path / "steps.txt").read_text())
    assert 0 < left < 5 and not (tmp_path / "manifests" / "slow.json").exists()
    (tmp_path / "steps.txt").write_text("4")  # a resumable stage keeps what is there under the same settings ...
    begun = time.monotonic()
    drive(tmp_path, "one")
    assert time.monotonic() - begun < 20 and (tmp_path / "steps.txt").read_text() == "5"
    first = json.loads((tmp_path / "manifests" / "slow.json").read_text())
    drive(tmp_path, "two")  # ... and loses it under others
    second = json.loads((tmp_path / "manifests" / "slow.json").read_text())
    assert first["settings"] != second["settings"] and second["seconds"] >= 1.5


@pytest.mark.parametrize("seconds", [0, 0.05, 0.5])
def test_a_child_ends_with_its_parent_alone_killed(tmp_path, seconds):
    process = drive(tmp_path, "one", wait=False)
    deadline = time.monotonic() + 30
    while not (tmp_path / "logs" / "slow.log").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.7)  # a child that lived on would write twice
    left = [path.read_text() for path in tmp_path.glob("steps.txt")]
    time.sleep(0.7)
    assert [path.read_text() for path in tmp_path.glob("steps.txt")] == left and left != ["5"]


TRAIN = """
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--output_dir") + 1])
rate = sys.argv[sys.argv.index("--learning_rate") + 1]
found = sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*"))
for step in range(max(found, default=0) + 1, int(sys.argv[sys.argv.index("--max_steps") + 1]) + 1):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    before = folder / f"checkpoint-{step - 1}" / "weights"
    (checkpoint / "weights").write_text((before.read_text() if before.exists() else "") + rate + " ")
    (checkpoint / "trainer_state.json").write_text("{}")
"""


def training(folder: Path, *flags: str, rate="1e-4", after=()) -> Stage:
    """A training of 3 steps that goes on from its newest checkpoint, as the pipeline's do."""
    out = folder / "sft"
    argv = ["python", "-c", TRAIN, "--output_dir", str(out), "--max_steps", "3", "--learning_rate", rate, *flags]
    command = Resumed(Command(argv), lambda: None)
    return Stage("sft", "training", [command], [out], after, resumable=True, results=[out / "checkpoint-3"])


def weights(folder: Path) -> str:
    return (folder / "sft" / "checkpoint-3" / "weights").read_text()


def test_another_learning_rate_trains_from_nothing_and_says_so(tmp_path, capfd):
    """Not from the last checkpoint of the old one, whose steps would stay in the weights."""
    StageRunner(tmp_path, [training(tmp_path)], {}).run()
    assert weights(tmp_path) == "1e-4 1e-4 1e-4 "
    capfd.readouterr()
    changed = StageRunner(tmp_path, [training(tmp_path, rate="1e-6")], {})
    changed.print_plan()
    line = "starts from nothing, sft of before is given up: learning_rate 1e-4 -> 1e-6"
    assert f"[1/1] training: {line}" in capfd.readouterr().out
    assert changed.run() == 0
    assert weights(tmp_path) == "1e-6 1e-6 1e-6 "
    assert f"[1/1] training: {line}" in capfd.readouterr().out


def test_an_interrupted_training_goes_on_under_its_settings_and_not_under_others(tmp_path):
    for rate, expected in (("1e-4", "old 1e-4 1e-4 "), ("1e-6", "1e-6 1e-6 1e-6 ")):
        folder = tmp_path / rate
        runner = StageRunner(folder, [training(folder)], {})
        runner.run()
        runner.manifest_path(runner.stages[0]).unlink()  # as after a kill before the end
        for step in (2, 3):
            shutil.rmtree(folder / "sft" / f"checkpoint-{step}")
        (folder / "sft" / "checkpoint-1" / "weights").write_text("old ")
        StageRunner(folder, [training(folder, rate=rate)], {}).run()
        assert weights(folder) == expected


def test_what_does_not_change_the_result_redoes_nothing(tmp_path, capfd):
    """Logging, how often a run is saved, evaluation batches, and where the run lies."""
    data = tmp_path / "data.jsonl"
    data.write_text("rows")
    first = tmp_path / "first"
    flags = ["--dataset", str(data), "--logging_steps", "10", "--save_steps", "5", "--per_device_eval_batch_size", "1"]
    StageRunner(first, [training(first, *flags)], {}).run()
    moved = first.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    elsewhere = data.rename(tmp_path / "elsewhere" / "data.jsonl")
    flags = [
        "--dataset",
        str(elsewhere),
        "--logging_steps",
        "1",
        "--save_steps",
        "9",
        "--per_device_eval_batch_size",
        "8",
    ]
    capfd.readouterr()
    assert StageRunner(moved, [training(moved, *flags)], {}).run() == 0
    assert "already done" in capfd.readouterr().out
    elsewhere.write_text("other rows")
    assert StageRunner(moved, [training(moved, *flags)], {}).run() == 0
    assert "dataset data.jsonl with content" in capfd.readouterr().out


def test_another_version_of_an_upstream_redoes_the_stage(tmp_path, capfd):
    StageRunner(tmp_path, [training(tmp_path)], {}).run()
    runner = StageRunner(tmp_path, [training(tmp_path)], {})
    runner.versions |= {"transformers": "0.0"}
    assert runner.run() == 0
    assert "version of transformers" in capfd.readouterr().out and weights(tmp_path) == "1e-4 1e-4 1e-4 "


def test_a_checkpoint_that_was_edited_is_not_gone_on_from(tmp_path, capfd):
    StageRunner(tmp_path, [training(tmp_path)], {}).run()
    (tmp_path / "sft" / "checkpoint-3" / "weights").write_text("tampered")
    assert StageRunner(tmp_path, [training(tmp_path)], {}).run() == 0
    assert weights(tmp_path) == "1e-4 1e-4 1e-4 "
    assert "sft/checkpoint-3 is not what the stage wrote" in capfd.readouterr().out


def test_what_no_stage_has_made_is_never_removed(tmp_path):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="sft is in the way: no stage of this run has made it"):
        StageRunner(tmp_path, [training(tmp_path)], {}).run()
    assert (tmp_path / "sft" / "mine.txt").read_text() == "mine"


def test_every_file_of_a_stage_is_its_own(tmp_path):
    """A plan that an interrupted start left beside its results must not meet the next start under other settings."""
    script = "import pathlib, sys; p = pathlib.Path(sys.argv[2]); p.mkdir(exist_ok=True); q = p / 'plan.json'; assert not q.exists() or q.read_text() == sys.argv[4]; q.write_text(sys.argv[4]); (p / 'rows').write_text('x')"

    def stage(beta):
        store = tmp_path / "store"
        command = Command(["python", "-c", script, "--store", str(store), "--beta", beta])
        return Stage("store", "store", [command], [store], resumable=True, results=[store / "rows"])

    for beta in ("0.1", "0.2"):
        runner = StageRunner(tmp_path, [stage(beta)], {})
        assert runner.run() == 0
        assert (tmp_path / "store" / "plan.json").read_text() == beta


def test_the_plan_names_what_depends_on_a_stage_that_starts_again(tmp_path, capfd):
    StageRunner(tmp_path, chain(tmp_path), {}).run()
    capfd.readouterr()
    StageRunner(tmp_path, chain(tmp_path, second="changed"), {}).print_plan()
    said = capfd.readouterr().out
    assert "[1/4] a: already done\n" in said and "[4/4] side: already done\n" in said
    assert "[2/4] b: starts from nothing, b.txt of before is given up: command " in said
    assert "[3/4] c: already done; again from nothing if the result of 'b' changes" in said


def test_a_model_counts_by_its_content_and_not_by_the_places_in_its_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_model.safetensors").write_bytes(b"weights" * 40)
        modules = ["q_proj", "v_proj"] if name == "one" else ["v_proj", "q_proj"]  # peft writes a set
        config = {"r": 4, "target_modules": modules, "base_model_name_or_path": str(tmp_path / name)}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
        (tmp_path / name / "args.json").write_text(json.dumps({"output_dir": name}))
    assert path_digest(tmp_path / "one") == path_digest(tmp_path / "two")
    (tmp_path / "two" / "adapter_config.json").write_text(json.dumps({"r": 8}))
    assert path_digest(tmp_path / "one") != path_digest(tmp_path / "two")


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Settings of a command line whose values name things in the working directory, for a run in another folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *argv, **environment: settings_of(["swift", "rlhf", *argv], environment, tmp_path / "run")


@pytest.mark.parametrize(
    "flag, value",
    [("source", "rows.jsonl"), ("source", "*.jsonl"), ("deepspeed", "ds.json"), ("dataset", "./rows.jsonl#5"),
     ("dataset", "rows.jsonl#5"), ("model", "RM"), ("reward", "rm=classifier:RM"), ("reward", "rm=classifier:./RM"),
     ("reward", "rm=classifier:{here}/RM"), ("adapters", "one=RM"), ("adapters", "{here}/a=b")],
)  # fmt: skip
def test_what_a_value_names_counts_by_its_content(counted, tmp_path, flag, value):
    here = tmp_path / "here"
    for name in ("RM", "a=b"):
        (here / name).mkdir()
    files = [here / name for name in ("rows.jsonl", "ds.json", "RM/model.safetensors", "a=b/model.safetensors")]
    for file in files:
        file.write_text("one")
    value = value.format(here=here)
    before = counted(f"--{flag}", value)
    assert counted(f"--{flag}", value) == before
    for file in files:
        file.write_text("two")
    after = counted(f"--{flag}", value)
    assert {name for name in before if before[name] != after[name]} == {flag}


def test_a_word_is_no_folder_that_happens_to_have_its_name(counted, tmp_path):
    """Nor is a text: what lies in the working directory must not redo a run."""
    words = [
        "--split",
        "train",
        "--dataset",
        "ultrafeedback",
        "--lora_rank",
        "16",
        "--system",
        "Is it? " * 60 + "and/or",
    ]
    before = counted(*words)
    for name in ("train", "ultrafeedback", "swift", "rlhf"):
        (tmp_path / "here" / name).mkdir()
        (tmp_path / "here" / name / "rows.jsonl").write_text("x")
    (tmp_path / "here" / "16").write_text("x")
    assert counted(*words) == before


@pytest.mark.parametrize(
    "argv, environment",
    [
        (["--function", "{}.score"], {}),
        (["--reward", "x=function:{}.score"], {}),
        ([], {"MODPO_MARGIN_FUNCTION": "{}.score"}),
    ],
)
def test_a_function_counts_by_its_source_and_what_it_imports_beside_it(
    counted, tmp_path, monkeypatch, argv, environment
):
    name = f"mine_{tmp_path.name}"
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{name}.py").write_text(
        f"from {name}_beside import S\n\n\ndef score(p, r, *, response_tokens):\n    return [S]\n"
    )
    (tmp_path / f"{name}_beside.py").write_text("S = 1.0\n")
    argv, environment = [part.format(name) for part in argv], {k: v.format(name) for k, v in environment.items()}
    before = counted(*argv, **environment)
    (tmp_path / f"{name}_beside.py").write_text("S = 2.0\n")
    assert counted(*argv, **environment) != before
    settings = counted("--function", "brevity", "--reward", "x=function:rich_vocabulary")  # of the pack: by its version
    assert settings == {"command": "swift rlhf", "function": "brevity", "reward": "x=function:rich_vocabulary"}


def test_a_plugin_setting_of_the_shell_reaches_no_stage(tmp_path, monkeypatch):
    """It would change what is trained and stands in no signature; what the stage itself sets does reach it."""
    for name in ("MODPO_MARGIN_BETA", "modpo_margin_weight", "MODPO_W", "BT_TAU", "JUDGE_LOG_PAIRS"):
        monkeypatch.setenv(name, "9")
    monkeypatch.setenv("OF_THE_USER", "kept")
    script = "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ)))"
    out = tmp_path / "seen.json"
    command = Command(["python", "-c", script, str(out)], {"MODPO_W": "0.5"})
    assert StageRunner(tmp_path, [Stage("a", "a", [command], [out])], {}).run() == 0
    seen = {name: value for name, value in json.loads(out.read_text()).items() if value == "9" or name == "MODPO_W"}
    assert seen == {"MODPO_W": "0.5"} and json.loads(out.read_text())["OF_THE_USER"] == "kept"


@pytest.mark.parametrize(
    "name", ["tokenizer.model", "vocab.txt", "merges.txt", "special_tokens_map.json", "chat_template.json"]
)
def test_a_model_counts_by_every_file_of_its_tokenizer(tmp_path, name):
    """Older models have no tokenizer.json: with other pieces the same weights give other answers."""
    (tmp_path / "model.safetensors").write_bytes(b"weights" * 40)
    (tmp_path / name).write_text('{"one": 1}')
    before = path_digest(tmp_path)
    (tmp_path / name).write_text('{"two": 2}')
    assert path_digest(tmp_path) != before


def test_printed_command_can_be_typed():
    command = Command(["swift", "rlhf", "--system", "two words"], {"MODPO_W": "0.5"})
    assert command.printable() == "MODPO_W=0.5 swift rlhf --system 'two words'"
