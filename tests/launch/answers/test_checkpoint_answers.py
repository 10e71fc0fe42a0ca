"""Answers of a range of checkpoints: which there are, every prompt kept, seeds, resuming, and what a row holds."""

import json

import pytest

from launch.__main__ import main as launch
from launch.answers.checkpoint_answers import read_answers, read_questions
from launch.answers.checkpoints import Checkpoint, find_checkpoints
from tests.tiny import build_adapter, build_model, write_rows


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A base model and a run with adapters at steps 2, 4 and 10, one full model at step 6."""
    parent = tmp_path_factory.mktemp("run")
    base = build_model(parent / "base", end_gain=1.8)
    for step in (2, 4, 10):
        build_adapter(base, parent / "run" / f"checkpoint-{step}", seed=step)
    build_model(parent / "run" / "checkpoint-6", seed=6)
    (parent / "run" / "logs").mkdir()
    return parent


def find(folder, *patterns, model="base", **limits):
    return find_checkpoints([str(folder / "run" / p) for p in patterns] or [str(folder / "run")], model, **limits)


def test_checkpoints_by_step_from_runs_globs_and_folders(run_folder):
    steps = [c.step for c in find(run_folder)]
    assert steps == [2, 4, 6, 10] == [c.step for c in find(run_folder, "checkpoint-*")]
    assert [c.step for c in find(run_folder, "checkpoint-10", "checkpoint-2", "checkpoint-2")] == [2, 10]
    assert [c.step for c in find(run_folder, first=4, last=6)] == [4, 6]
    assert [c.step for c in find(run_folder, every=5)] == [10]
    whole = find(run_folder, base=True)
    assert whole[0] == Checkpoint("base", "base", None) and len(whole) == 5
    full = find(run_folder, "checkpoint-6", model=None)
    assert full == [Checkpoint("checkpoint-6", str(run_folder / "run" / "checkpoint-6"), None, run_folder / "run")]
    assert whole[1].model == "base" and whole[1].adapter.endswith("checkpoint-2")


def test_checkpoints_that_are_refused(run_folder, tmp_path):
    with pytest.raises(ValueError, match="no folder named checkpoint-STEP"):
        find(run_folder, "nothing*")
    with pytest.raises(ValueError, match=r"no step is left of \[2, 4, 6, 10\]"):
        find(run_folder, first=11)
    with pytest.raises(ValueError, match="name its base model with --model"):
        find(run_folder, "checkpoint-2", model=None)
    with pytest.raises(ValueError, match="--base needs --model"):
        find(run_folder, "checkpoint-6", model=None, base=True)
    (tmp_path / "checkpoint-2").mkdir()
    with pytest.raises(ValueError, match="this is not a checkpoint"):
        find_checkpoints([str(tmp_path)], None)
    with pytest.raises(ValueError, match="have one name: give each run an --out of its own"):
        find_checkpoints([str(tmp_path), str(run_folder / "run")], "base")


def test_questions_in_every_field_distinct_with_what_lies_beside(tmp_path):
    rows = [
        {"question": "a", "sol_rows": [1]},
        {"prompt": "b"},
        {"prompt": [{"role": "user", "content": "c"}]},
        {"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "x"}]},
        {"question": "a", "sol_rows": [2]},
    ]
    questions = read_questions(write_rows(tmp_path / "q.jsonl", rows))
    assert [q.prompt.messages[-1]["content"] for q in questions] == ["a", "b", "c", "d"]
    assert questions[0].metadata == {"sol_rows": [1]} and questions[1].metadata == {}
    assert len(read_questions(tmp_path / "q.jsonl", 2)) == 2
    (tmp_path / "q.csv").write_text("question,word\na,noun\n")
    assert read_questions(tmp_path / "q.csv")[0].metadata == {"word": "noun"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no prompts"),
        ([{"text": "a"}], "no field 'messages' or 'prompt' or 'question' with a value; the row has: text"),
        ([{"messages": [{"role": "assistant", "content": "a"}]}], "no message of the role 'user'"),
    ],
)
def test_questions_that_are_none(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        read_questions(write_rows(tmp_path / "q.jsonl", rows))


# --- generation -------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(run_folder, tmp_path):
    """command(out, *flags) -> (exit code, rows of answers.jsonl): 5 prompts in batches of 2, so the last is partial."""
    rows = [{"question": f"Tell me about the sea. ({n})", "number": n} for n in range(5)]
    prompts = write_rows(tmp_path / "prompts.jsonl", rows)

    def run(out, *flags, verb="generate-checkpoints"):
        argv = [verb, "--checkpoints", run_folder / "run", "--model", run_folder / "base", "--prompts", prompts]
        argv += ["--out", tmp_path / out, "--batch_size", 2, "--max_new_tokens", 8, *flags]
        code = launch([str(text) for text in argv])
        file = tmp_path / out / "answers.jsonl"
        return code, [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else None

    return run


def test_every_prompt_of_every_checkpoint_is_answered(command, tmp_path, capsys):
    code, rows = command("a", "--base", "--last", 4, "--num_samples", 2, "--temperature", 1.5)
    assert code == 0
    keys = [
        (row["checkpoint"], row["step"], row["question"][-2], row["sample"], row["metadata"]["number"]) for row in rows
    ]
    names = (("base", 0), ("checkpoint-2", 2), ("checkpoint-4", 4))
    assert keys == [(*name, str(n), sample, n) for name in names for n in range(5) for sample in range(2)]
    texts = [[row["response"] for row in rows if row["checkpoint"] == name] for name, _ in names]
    assert texts[0] != texts[1] != texts[2], "adapters are in use"
    assert len(set(texts[0])) > 5, "samples differ"
    read = read_answers([tmp_path / "a"])
    assert len(read) == 30 and read[0].metadata == {"number": 0} and read[29].checkpoint == "checkpoint-4"
    assert [a.response for a in read_answers([tmp_path / "a" / "checkpoint-2"])] == texts[1], (
        "the folder of one label reads too"
    )


def test_an_interrupted_run_continues_to_the_same_answers(command, tmp_path, capsys, monkeypatch):
    flags = ("--first", 4, "--last", 6)
    whole = command("whole", *flags)[1]
    from launch.answers.backends import TransformersBackend

    original, calls = TransformersBackend.generate, []

    def fail_at_the_fifth(self, items):
        calls.append(len(items))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, items)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TransformersBackend, "generate", fail_at_the_fifth)
        command("again", *flags)
    assert not (tmp_path / "again" / "answers.jsonl").exists()
    assert (tmp_path / "again" / "checkpoint-4" / "00001-of-00001.jsonl").exists()
    assert command("again", *flags) == (0, whole)
    assert calls[:4] == [2, 2, 1, 2]
    assert (
        command("again", *flags, verb="d2po-generate") == (0, whole) and "complete already" in capsys.readouterr().out
    )


def test_the_seed_decides_and_other_settings_are_refused_in_one_folder(command, capsys):
    flags = ("--first", 4, "--last", 4, "--temperature", 1.5)
    first = command("a", *flags)[1]
    assert command("b", *flags)[1] == first
    assert command("c", *flags, "--seed", 1)[1] != first
    assert (
        command("a", *flags, "--seed", 1)[0] == 2 and "was made with seed = 0, now it is 1" in capsys.readouterr().err
    )
    assert command("a", *flags, "--limit", 3)[0] == 2 and "prompts" in capsys.readouterr().err


def test_a_wrong_value_is_refused_before_a_model_is_loaded(command, capsys):
    assert command("a", "--temperature", 0)[0] == 2 and "--temperature must be positive" in capsys.readouterr().err
