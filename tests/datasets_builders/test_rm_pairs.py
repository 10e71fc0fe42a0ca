"""``pairs``: rows of question, response_j, response_k[, magnitude] as either upstream's preference rows.

What the upstreams do with the column ``margin`` (read in their installed sources):
- TRL 0.29.1 and 1.16.0, ``trainer/reward_trainer.py``: the collator makes a float tensor of ``margin`` where the first
  example of a batch has one, so all rows must have it; the loss is -logsigmoid(chosen - rejected - margin).
- ms-swift 4.6.0, ``rlhf_trainers/reward_trainer.py``: the same loss; ``margin`` is a standard column of its rows
  (``dataset/preprocessor/core.py``) and a row without one has margin 0.
The last tests below ask the installed trainers, not this comment.
"""

import csv
import json
import math

import pytest

from datasets_builders.choices import nearest
from datasets_builders.io import read_located_rows

from .helpers import build, dump, load


def row(question="Why?", better="Because.", worse="No.", **more):
    return {"question": question, "response_j": better, "response_k": worse} | more


def assistant(text):
    return [{"role": "assistant", "content": text}]


@pytest.fixture
def pairs(tmp_path, capsys):
    """pairs(rows or source, *flags) -> (written rows, report); the exit code must be 0."""

    def run(rows, *flags, format="trl"):
        source = dump(tmp_path / "rows.jsonl", rows) if isinstance(rows, list) else rows
        out = tmp_path / "out.jsonl"
        code, printed, error = build(capsys, "pairs", "--format", format, "--source", source, "--out", out, *flags)
        assert code == 0, error
        assert json.loads((tmp_path / "__reports__" / "out.jsonl.report.json").read_text()) == json.loads(printed)
        return load(out), json.loads(printed)

    return run


def test_the_two_formats(pairs):
    user = {"role": "user", "content": "Why?"}
    assert pairs([row()])[0] == [{"prompt": [user], "chosen": assistant("Because."), "rejected": assistant("No.")}]
    assert pairs([row()], format="swift")[0] == [
        {"messages": [user, *assistant("Because.")], "rejected_response": "No."}
    ]


def test_texts_for_a_tokenizer_without_a_chat_template(pairs):
    """As a D2PO discriminator reads them; a conversation is more than a question."""
    turns = [
        {"role": "user", "content": "A?"},
        {"role": "assistant", "content": "B."},
        {"role": "user", "content": "C?"},
    ]
    longer = {"prompt": turns, "chosen": assistant("D."), "rejected": assistant("E.")}
    rows, report = pairs(
        [row(magnitude=2), {**longer, "magnitude": 1}], "--text_form", "question_answer", "--magnitude"
    )
    assert rows == [{"prompt": "Question: Why?\n\nAnswer: ", "chosen": "Because.", "rejected": "No.", "margin": 2.0}]
    assert report["filtered"] == {"several_messages": 1}
    assert pairs([row()], "--text_form", "plain")[0] == [{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}]


@pytest.mark.parametrize("format", ["trl", "swift"])
def test_the_magnitude_becomes_the_margin_only_when_asked_for(pairs, format):
    rows = [row(magnitude=2), row("How?", magnitude=0.5)]
    assert [r["margin"] for r in pairs(rows, "--magnitude", format=format)[0]] == [2.0, 0.5]
    assert all("margin" not in r for r in pairs(rows, format=format)[0])


def test_dropped_rows_are_counted_by_reason(pairs):
    rows = [
        row(),
        row(),
        row(worse="Other."),  # the second is a repeat, the third another pair
        row(better=" Because. ", worse="Because.\n"),
        row(question=" "),
        row(better=""),
        row(worse=""),
    ]
    written, report = pairs(rows)
    assert len(written) == report["written"] == report["pairs"] == 2
    assert report["filtered"] == {
        "duplicates": 1,
        "identical_responses": 1,
        "empty_question": 1,
        "empty_response_j": 1,
        "empty_response_k": 1,
    }
    assert report["rows"] == 7 and report["skipped"] == {}


def test_a_swapped_pair_is_no_repeat(pairs):
    assert len(pairs([row(), row(better="No.", worse="Because.")])[0]) == 2


def test_magnitudes_that_order_nothing_or_are_no_finite_single(pairs):
    values = [1, 0, -1, math.nan, math.inf, 1e39, 10**400, 3.4e38, "2.5"]
    written, report = pairs([row(str(n), magnitude=value) for n, value in enumerate(values)], "--magnitude")
    assert [r["margin"] for r in written] == [1.0, 3.4e38, 2.5]
    assert report["filtered"] == {"magnitude_not_positive": 2, "magnitude_not_finite": 4}
    assert len(pairs([row(str(n), magnitude=value) for n, value in enumerate(values)])[0]) == len(values)


def test_magnitudes_that_are_asked_for_and_not_there_name_the_flag_to_leave_out(tmp_path, capsys):
    source = dump(tmp_path / "rows.jsonl", [row()])
    flags = ["--format", "trl", "--source", source, "--out", tmp_path / "o.jsonl", "--magnitude"]
    code, _, error = build(capsys, "pairs", *flags)
    assert (
        code == 2 and "no 'magnitude', which --magnitude asks for (leave that flag out where rows have none)" in error
    )


@pytest.mark.parametrize("value", [None, True, "much", [1]])
def test_a_magnitude_that_is_no_number_is_an_unusable_row(tmp_path, capsys, value):
    source = dump(tmp_path / "rows.jsonl", [row(), row("How?", magnitude=value)])
    flags = [
        "--format",
        "trl",
        "--source",
        source,
        "--out",
        tmp_path / "o.jsonl",
        "--magnitude",
        "--max_skipped_share",
        "0",
    ]
    code, _, error = build(capsys, "pairs", *flags)
    assert code == 2 and "magnitude" in error and not (tmp_path / "o.jsonl").exists()


def test_validation_and_train_share_no_question_and_lose_none(pairs):
    rows = [row(f"question {n // 2}", f"better {n}", f"worse {n}") for n in range(400)]
    train, _ = pairs(rows, "--split", "train")
    held, report = pairs(rows, "--split", "validation")
    questions = [{r["prompt"][0]["content"] for r in part} for part in (train, held)]
    assert not questions[0] & questions[1] and len(train) + len(held) == 400
    assert 0.05 < len(held) / 400 < 0.15 and report["filtered"] == {"other_split": len(train)}


def test_sft_rows_hold_each_preferred_answer_once(pairs):
    written, _ = pairs([row(), row(worse="Other.")], "--sft")
    assert written == [{"messages": [{"role": "user", "content": "Why?"}, *assistant("Because.")]}]


# --- sources ----------------------------------------------------------------------------------------------------------


ROWS = [row('a, "b"\nc', magnitude=1.5), row("x" * 200_000, "Äther", magnitude=2.0)]


def test_every_kind_of_source_gives_the_same_rows(pairs, tmp_path):
    import datasets
    import pyarrow
    import pyarrow.parquet

    expected = pairs(ROWS, "--magnitude")[0]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    with open(tmp_path / "rows.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    for name in ("rows.parquet", "rows.csv", "saved"):
        assert pairs(tmp_path / name, "--magnitude")[0] == expected, name
    assert csv.field_size_limit() == 131072, "the limit of others' tables is what it was"


def test_a_saved_data_set_of_several_splits_names_them(tmp_path):
    import datasets

    one = datasets.Dataset.from_list([row()])
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"name one: .*saved/test, .*saved/train"):
        next(read_located_rows(tmp_path / "saved"))
    assert next(read_located_rows(tmp_path / "saved" / "train"))[1] == row()


@pytest.mark.parametrize("text", ["question,response_j,response_k\na,b\n", "question,response_j,response_k\na,b,c,d\n"])
def test_a_csv_row_of_another_length_is_refused(tmp_path, text):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ValueError, match=r"rows.csv:2: not as many cells as the header has \(3\)"):
        list(read_located_rows(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "trl"], "--source is needed"),
        (["--format", "trll", "--source", "x.jsonl"], "did you mean 'trl'"),
        (["--format", "trl", "--source", "x.jsonl", "--split", "validate"], "did you mean 'validation'"),
        (["--format", "trl", "--source", "nothing.jsonl"], "no such file"),
        (["--format", "trl", "--source", "x.jsonl", "--sft", "--magnitude"], "no meaning with --sft"),
        (
            ["--format", "swift", "--source", "x.jsonl", "--text_form", "plain"],
            "use it with --format trl, without --sft",
        ),
        (
            ["--format", "trl", "--source", "x.jsonl", "--text_form", "question_answers"],
            "did you mean 'question_answer'",
        ),
    ],
)
def test_refusals(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    dump(tmp_path / "x.jsonl", [row()])
    code, _, error = build(capsys, "pairs", *flags, "--out", tmp_path / "o.jsonl")
    assert code == 2 and message in error, error


def test_a_file_that_leaves_no_pair_is_an_error_with_the_counts(tmp_path, capsys):
    source = dump(tmp_path / "rows.jsonl", [row(better="No."), row(question="")])
    code, _, error = build(capsys, "pairs", "--format", "swift", "--source", source, "--out", tmp_path / "o.jsonl")
    assert code == 2 and "1 identical_responses" in error and "1 empty_question" in error


def test_the_builder_is_listed():
    assert "pairs" in nearest("pair", ["pairs"])
    from datasets_builders.__main__ import BUILDERS

    assert BUILDERS["pairs"][0] == "datasets_builders.question_pairs"


# --- what the installed trainers do with margin -----------------------------------------------------------------------


def test_trl_collates_the_margin_of_these_rows():
    import torch

    DataCollatorForPreference = pytest.importorskip("trl.trainer.reward_trainer").DataCollatorForPreference
    examples = [{"chosen_ids": [1, 2], "rejected_ids": [3], "margin": margin} for margin in (2.0, 0.5)]
    batch = DataCollatorForPreference(pad_token_id=0)(examples)
    assert batch["margin"].dtype == torch.float32 and batch["margin"].tolist() == [2.0, 0.5]


def test_ms_swift_keeps_margin_as_a_column_of_its_own():
    pytest.importorskip("swift")
    from swift.dataset.preprocessor.core import RowPreprocessor

    assert "margin" in RowPreprocessor.standard_keys and "rejected_response" in RowPreprocessor.standard_keys
