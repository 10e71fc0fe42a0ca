"""`datasets.load_dataset(FOLDER)` finds the rows in every folder that a builder writes, and nothing else.

Seen before: `trl reward --dataset_name data/x` and `trl dpo` ended in a CastError, as the report beside the rows was read too.
"""

import json

import pytest

from datasets_builders.__main__ import BUILDERS
from datasets_builders.files.find import list_files, paid_folder, report_file, split_files
from tests.datasets_builders.helpers import build, dialogue, dump, load, rated
from tests.datasets_builders.teacher.test_teacher_sft import result
from tests.datasets_builders.test_helpsteer2_pairwise import judged

HH = [{"chosen": dialogue(f"q{n}", "good"), "rejected": dialogue(f"q{n}", "bad")} for n in range(4)]
RATED = [rated(f"p{n}", response, rating) for n in range(3) for response, rating in (("good", 4), ("bad", 1))]
ASKED = [{"question": f"q{n}", "response_j": "good", "response_k": "bad"} for n in range(5)]
TAUGHT = [result(n, (70, 30)) for n in range(3)]
JUDGED = [judged(f"q{n}", 1, split="validation" if n % 2 else "train") for n in range(5)]

# builder -> rows of a source, flags without the output
CASES = {
    "helpsteer": (RATED, "--attribute helpfulness --split train --format trl --source SOURCE"),
    "pairs": (ASKED, "--split all --format trl --source SOURCE"),
    "pointwise": (HH, "--dataset anthropic_hh --prompt hh_score100_v1 --split train --source SOURCE"),
    "preference": (HH, "--dataset anthropic_hh --split train --format swift --source SOURCE"),
    "teacher-sft": (TAUGHT, "--prompt hh_score100_v1 --input SOURCE"),
    "helpsteer2-pairwise": (JUDGED, "--path SOURCE --formats FORMATS"),
}
# What a teacher said, to be read by teacher-sft; no data to train on.
RECORDS = {"teacher"}


def loaded(folder, cache):
    """Split -> number of rows."""
    from datasets import load_dataset

    return {name: len(rows) for name, rows in load_dataset(str(folder), cache_dir=str(cache)).items()}


def test_every_builder_has_a_case():
    assert CASES.keys() | RECORDS == BUILDERS.keys()


@pytest.mark.parametrize("names", [("train", "test"), ("helpfulness",)], ids=["splits", "another name"])
@pytest.mark.parametrize("builder", [name for name in CASES if name != "helpsteer2-pairwise"])
def test_rows_and_no_report(builder, names, tmp_path, capsys):
    rows, flags = CASES[builder]
    source = str(dump(tmp_path / "in.jsonl", rows))
    for name in names:
        out = tmp_path / "data" / f"{name}.jsonl"
        code, printed, error = build(capsys, builder, *flags.replace("SOURCE", source).split(), "--out", out)
        assert code == 0, error
        report = json.loads(report_file(out).read_text(encoding="utf-8"))
        assert report == json.loads(printed) and report["written"] > 1
    splits = names if len(names) > 1 else ("train",)
    assert loaded(tmp_path / "data", tmp_path / "cache") == dict.fromkeys(splits, report["written"])
    assert [file.name for file in list_files(tmp_path / "data")] == sorted(f"{name}.jsonl" for name in names)


def test_the_same_rows_in_json_and_jsonl_alone_are_refused(tmp_path, capsys):
    """`load_dataset` took them for ten rows of five."""
    flags = (
        "--path",
        dump(tmp_path / "in.jsonl", JUDGED),
        "--output_dir",
        tmp_path / "out",
        "--formats",
        "jsonl",
        "json",
    )
    code, _, error = build(capsys, "helpsteer2-pairwise", *flags)
    assert code == 2 and "each row twice" in error and not (tmp_path / "out").exists()


@pytest.mark.parametrize("second", ["train.json", "train.parquet", "train.jsonl.gz"])
def test_our_readers_refuse_a_name_in_two_formats(second, tmp_path):
    """They took every file: each row twice, where `load_dataset` reads one format."""
    dump(tmp_path / "train.jsonl", RATED)
    (tmp_path / "test.json").write_text("[]")
    (tmp_path / second).write_bytes(b"")
    for read in (list_files, split_files):
        with pytest.raises(ValueError, match=rf"train.jsonl and {second}|{second} and train.jsonl"):
            read(tmp_path)
    assert list_files(tmp_path / "train.jsonl") == [tmp_path / "train.jsonl"]


@pytest.mark.parametrize("formats", ["jsonl", "parquet", "json", "parquet jsonl json"])
def test_rows_for_a_judge_and_no_report(formats, tmp_path, capsys):
    rows, flags = CASES["helpsteer2-pairwise"]
    flags = flags.replace("SOURCE", str(dump(tmp_path / "in.jsonl", rows))).replace("FORMATS", formats)
    assert build(capsys, "helpsteer2-pairwise", *flags.split(), "--output_dir", tmp_path / "data")[0] == 0
    assert loaded(tmp_path / "data", tmp_path / "cache") == {"train": 6, "test": 4}


def test_a_report_of_an_earlier_version_goes_when_its_rows_are_built_anew(tmp_path, capsys):
    rows, flags = CASES["pairs"]
    command = ["pairs", *flags.replace("SOURCE", str(dump(tmp_path / "in.jsonl", rows))).split()]
    (tmp_path / "data").mkdir()
    for name in ("train", "mine"):
        dump(tmp_path / "data" / f"{name}.jsonl.report.json", [{"rows": {"written": 5}}])
    assert build(capsys, *command, "--out", tmp_path / "data" / "train.jsonl")[0] == 0
    found = sorted(file.name for file in (tmp_path / "data").iterdir())
    assert found == ["__reports__", "mine.jsonl.report.json", "train.jsonl"]
    assert len(load(tmp_path / "data" / "train.jsonl")) == 5


def test_paid_answers_lie_where_no_rows_are_looked_for_and_old_ones_are_found(tmp_path):
    """`train.jsonl.gold_answers` was a folder of the split train: `datasets` took its files instead of train.jsonl."""
    out = dump(tmp_path / "data.jsonl", ASKED).rename(tmp_path / "train.jsonl")
    paid_folder(out).mkdir(parents=True)
    dump(paid_folder(out) / "answers.jsonl", [{"keys": ["a"], "answer": {"text": "4"}}])
    assert loaded(tmp_path, tmp_path / "cache") == {"train": 5}
    (tmp_path / "train.jsonl.gold_answers").mkdir()
    assert paid_folder(out) == tmp_path / "train.jsonl.gold_answers"
