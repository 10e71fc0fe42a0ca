"""Pairs of any format are written in ms-swift's, with what the rows hold beside; faults are named with their place."""

import datetime
import json
import tracemalloc

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


def test_all_bad_rows_are_counted_by_reason_with_their_places(check, tmp_path):
    good, equal = SHAPES["question"], {"question": "q", "response_j": "a", "response_k": "a "}
    rows = [good, equal, good, {"question": "q"}, equal, equal, equal, good, equal]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    with pairs.open("a") as file:
        file.write("{no json}\n[1]\n")
    (tmp_path / "out.jsonl").write_text('{"kept": 1}\n')
    for flags in ((), ("--sft",)):
        code, written, error = check(pairs, *flags)
        assert (code, written) == (2, [{"kept": 1}])
        assert "error: 8 of 11 rows are no pairs: " in error
        assert f"5 x identical_replies ({pairs}:2: the answers in 'response_j' and 'response_k' are equal" in error
        assert f"; also {pairs}:5, {pairs}:6, ...); 1 x no_pair ({pairs}:4: not a pair" in error
        assert f"1 x not_json ({pairs}:10: " in error and f"1 x not_an_object ({pairs}:11: " in error
    assert [path.name for path in tmp_path.iterdir() if path != pairs] == ["out.jsonl"]


def test_memory_does_not_grow_with_the_rows(check, tmp_path):
    """Seen before: --sft held the text of every prompt."""
    long = "w" * 100_000
    rows = ({"question": f"{i} {long}", "response_j": "a", "response_k": "b"} for i in range(80))
    pairs = tmp_path / "pairs.jsonl"
    with pairs.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    tracemalloc.start()
    code, count = launch(["check-pairs", "--pairs", str(pairs), "--sft", "--out", str(tmp_path / "sft.jsonl")]), 80
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 0 and sum(1 for _ in (tmp_path / "sft.jsonl").open()) == count
    assert peak < 4e6 < pairs.stat().st_size / 2


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
