"""Pairs of any format are written in ms-swift's, with what the rows hold beside; faults are named with their place."""

import datetime
import json

import pytest

from launch.__main__ import main as launch
from tests.datasets_builders.test_readers import NO_PAIR, SHAPES
from tests.tiny import write_rows


@pytest.fixture
def check(tmp_path, capsys):
    """check(source, *flags) -> (exit code, rows of the output or None, standard error)"""

    def run(source, *flags):
        out = tmp_path / "out.jsonl"
        code = launch(["check-pairs", "--pairs", str(source), "--out", str(out), *flags])
        rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else None
        return code, rows, capsys.readouterr().err

    return run


@pytest.mark.parametrize("shape", SHAPES)
def test_every_format_is_written_in_that_of_ms_swift(check, tmp_path, shape):
    row = SHAPES[shape] | {"tools": "[]", "images": ["a.png"]}
    code, rows, _ = check(write_rows(tmp_path / "pairs.jsonl", [row, row]))
    assert code == 0 and rows == [SHAPES["rejected_response"] | {"tools": "[]", "images": ["a.png"]}] * 2
    code, rows, _ = check(tmp_path / "pairs.jsonl", "--sft")
    assert code == 0 and rows == [
        {"messages": SHAPES["rejected_response"]["messages"], "tools": "[]", "images": ["a.png"]}
    ]


@pytest.mark.parametrize(("row", "reason", "message"), NO_PAIR)
def test_a_row_that_is_no_pair_is_named_and_nothing_is_written(check, tmp_path, row, reason, message):
    pairs = write_rows(tmp_path / "pairs.jsonl", [SHAPES["question"], row])
    code, rows, error = check(pairs)
    assert (code, rows) == (2, None) and f"error: {pairs}:2: " in error


def test_maps_and_times_of_a_table_are_written_as_json(check, tmp_path):
    import pyarrow
    import pyarrow.parquet

    row = SHAPES["rejected_response"] | {"when": datetime.datetime(2024, 5, 1), "about": [("a", 1)]}
    kinds = {"about": pyarrow.map_(pyarrow.string(), pyarrow.int64())}
    columns = {name: pyarrow.array([value], kinds.get(name)) for name, value in row.items()}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "pairs.parquet")
    code, rows, error = check(tmp_path / "pairs.parquet")
    assert code == 0, error
    assert rows == [SHAPES["rejected_response"] | {"when": "2024-05-01T00:00:00", "about": {"a": 1}}]


def test_bytes_that_json_cannot_hold_are_named(check, tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([SHAPES["rejected_response"] | {"picture": b"\xff"}])
    pyarrow.parquet.write_table(table, tmp_path / "pairs.parquet")
    code, rows, error = check(tmp_path / "pairs.parquet")
    assert (code, rows) == (2, None) and "out.jsonl:1: cannot be written as JSON, field 'picture'" in error
