"""Commands that write a folder or replace a file: nothing is lost that they did not make."""

import json
from pathlib import Path

import pytest

from datasets_builders.io import write_json
from launch.__main__ import main as launch
from launch.models.embedded_model import MARK, SYSTEM

PAIR = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected_response": "b"}


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["notes.txt", "config.json", "checkpoint-9/config.json", MARK])
def test_embedded_model_deletes_nothing_and_takes_no_other_model_for_its_own(tmp_path, capsys, name):
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("{}")
    assert launch(["embedded-model", "--out", str(tmp_path / "out")]) == 2
    assert "is there already and not an empty folder" in capsys.readouterr().err
    assert contents(tmp_path) == {f"out/{name}": "{}"}


def test_embedded_model_leaves_its_own_folder_alone(tmp_path, capsys):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    write_json(tmp_path / MARK, {"system": SYSTEM})
    before = contents(tmp_path)
    assert launch(["embedded-model", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}\n" and contents(tmp_path) == before


@pytest.mark.parametrize("more", [[], ["--sft"]])
def test_check_pairs_keeps_the_file_that_is_there_when_the_input_is_empty(tmp_path, capsys, more):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "out.jsonl").write_text("mine")
    argv = ["check-pairs", "--pairs", str(tmp_path / "empty.jsonl"), "--out", str(tmp_path / "out.jsonl"), *more]
    assert launch(argv) == 2
    assert "empty.jsonl holds no pair" in capsys.readouterr().err
    assert contents(tmp_path) == {"empty.jsonl": "\n", "out.jsonl": "mine"}


def test_check_pairs_replaces_its_file_by_a_whole_one(tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps(PAIR) + "\n")
    (tmp_path / "out.jsonl").write_text("old")
    assert launch(["check-pairs", "--pairs", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")]) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text()) == PAIR
