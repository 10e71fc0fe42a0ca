"""A file of a model that was cut off, or never fetched, is named by every verb that loads it; nothing is written."""

import shutil

import pytest

from launch.__main__ import main as launch
from tests.tiny import build_adapter, write_rows

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


@pytest.fixture
def here(tiny, tmp_path):
    """A folder with a base model, an adapter that names it, and pairs; a test may damage all of it."""
    base = shutil.copytree(tiny, tmp_path / "base")
    build_adapter(base, tmp_path / "adapter", seed=1)
    row = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}
    write_rows(tmp_path / "pairs.jsonl", [{**row, "rejected_response": "No."}])
    return tmp_path


VERBS = {
    "merge-lora": "merge-lora --adapter {0}/adapter --out {0}/out",
    "soup": "soup --base {0}/base --adapters a={0}/adapter b={0}/adapter --weights a=1 --out {0}/out",
    "soup of checkpoints": "soup --adapters a={0}/base b={0}/base --weights a=1 --out {0}/out",
    "steer": "steer --model {0}/base --adapter {0}/adapter --objectives a b --weights a=1 Why?",
    "check-margin": "check-margin --model {0}/base --adapter {0}/adapter --pairs {0}/pairs.jsonl --out {0}/out",
}
DAMAGES = {  # file -> what is left of it
    "base/model.safetensors": lambda whole: whole[: len(whole) // 2],
    "base/config.json": lambda whole: whole[:40],
    "base/tokenizer.json": lambda whole: whole[: len(whole) // 2],
    "adapter/adapter_model.safetensors": lambda whole: whole[:-1],
    "adapter/adapter_config.json": lambda whole: whole[:40],
}
CASES = [(verb, file) for verb in VERBS for file in DAMAGES if file.startswith("base") or verb != "soup of checkpoints"]


@pytest.mark.parametrize(("verb", "file"), CASES)
def test_a_file_that_is_cut_off_is_named(here, verb, file, capsys):
    whole = (here / file).read_bytes()
    (here / file).write_bytes(DAMAGES[file](whole))
    assert launch(VERBS[verb].format(here).split()) == 2
    told = capsys.readouterr().err
    assert f"{here / file}: not " in told and "Traceback" not in told
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("model.safetensors", POINTER, "not a whole safetensors file"),
        ("model.safetensors", b"", "not a whole safetensors file"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', "not there"),
        ("model.safetensors.index.json", b"[]", "a list instead of an object"),
        ("config.json", b"\xff\xfe", "not JSON"),
        ("pytorch_model.bin", b"PK\x03\x04" + b"0" * 500, "not a whole file of weights"),
    ],
)
def test_files_that_are_something_else_are_named_too(here, file, content, words, capsys):
    if file.endswith(".index.json"):  # which is followed where there is no single file of weights
        (here / "base" / "model.safetensors").unlink()
    (here / "base" / file).write_bytes(content)
    assert launch(VERBS["steer"].format(here).split()) == 2
    told = capsys.readouterr().err
    assert str(here / "base" / file) in told and words in told


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_an_index_that_no_loader_follows_may_name_files_that_are_gone(here, index):
    (here / "base" / index).write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    assert launch(VERBS["steer"].format(here).split()) == 0
