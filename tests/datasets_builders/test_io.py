"""Reading streams with the place of every error; writing whole files or none."""

import errno
import gzip
import json
import os
import resource
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from datasets_builders import io
from datasets_builders.files import text as text_files
from datasets_builders.io import SkipCounter, atomic_writer, nonfinite_as_text, read_rows, write_json, write_jsonl
from tests.datasets_builders.helpers import dump, load

ROWS = [{"a": 1}, {"a": "ü\u2028x\x85\u2029\x1c\v\n\r"}, {"a": None}]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ".parquet"])
def test_all_formats_give_the_same_rows(tmp_path, suffix):
    rows = [{"a": "one"}, {"a": "ü\u2028x"}, {"a": None}]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    assert list(read_rows(path)) == list(enumerate(rows, start=1))


def test_blank_lines_keep_the_numbering_and_a_byte_order_mark_is_no_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}')
    assert list(read_rows(path)) == [(1, {"a": 1}), (3, {"a": 2})]


def test_folders_and_globs_are_read_in_sorted_order(tmp_path):
    for name, value in (("b.jsonl", 2), ("a.jsonl", 1), ("c.json", 3)):
        dump(tmp_path / name, [{"v": value}])
    (tmp_path / "notes.txt").write_text("not data")
    write_json(tmp_path / "a.jsonl.report.json", {"rows": 1})
    assert [row["v"] for _, row in read_rows(tmp_path)] == [1, 2, 3]
    assert [row["v"] for _, row in read_rows(tmp_path / "*.jsonl")] == [1, 2]


def linked_to_itself(folder):
    """A folder with a file, a folder with a file, and two links back: followed blindly they make 2^40 paths."""
    (folder / "below").mkdir(parents=True)
    for link in ("one", "two"):
        (folder / "below" / link).symlink_to(folder)
    return dump(folder / "a.jsonl", [{"v": 1}]), dump(folder / "below" / "b.jsonl", [{"v": 2}])


def test_folders_that_hold_themselves_are_read_once(tmp_path):
    linked_to_itself(tmp_path / "data")
    (tmp_path / "other").symlink_to(tmp_path / "data")
    for pattern in ("data/**/*.jsonl", "data/**", "data/**/**/*.jsonl", "**/*.jsonl"):
        assert sorted(row["v"] for _, row in read_rows(tmp_path / pattern)) == [1, 2], pattern
    assert [row["v"] for _, row in read_rows(tmp_path / "data/**/below/*.jsonl")] == [2]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_line_without_an_end_is_not_read_to_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr(text_files, "LONGEST_LINE", 1000)
    text = b'{"a": 1}\n' + bytes(50_000_000)
    (tmp_path / name).write_bytes(gzip.compress(text, 1) if name.endswith("gz") else text)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"{name}:2: a line of more than 1,000 bytes"):
        list(read_rows(tmp_path / name))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    whole = dump(tmp_path / "whole.jsonl", [{"a": "x" * 990}])
    assert len(list(read_rows(whole))) == 1


def test_half_a_character_is_written_as_its_escape(tmp_path):
    row = {"a": "\ud83d and \ud83d\ude00 and é", "\udc00": 1}
    write_jsonl(tmp_path / "rows.jsonl", [row])
    write_json(tmp_path / "row.json", row)
    assert [found for _, found in read_rows(tmp_path / "rows.jsonl")] == [json.loads(json.dumps(row))]
    assert json.loads((tmp_path / "row.json").read_text(encoding="utf-8")) == json.loads(json.dumps(row))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": ', "not a JSON object"),
        (b"[1, 2]", "found a list"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not a JSON object"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 6 + line + b'\n{"a": 1}\n')
    with pytest.raises(ValueError, match=rf"rows\.jsonl:7: .*{message}"):
        list(read_rows(path))


def test_truncated_gzip_is_named(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(1000).hex().join(['{"a": "', '"}\n']).encode())[:-20])
    with pytest.raises(ValueError, match=r"rows\.jsonl\.gz:\d+: damaged gzip"):
        list(read_rows(path))


@pytest.mark.parametrize("content", [b"PAR1", b"nonsense, and long enough to look for a footer"])
def test_damaged_parquet_is_named(tmp_path, content):
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"rows\.parquet:1: damaged Parquet"):
        list(read_rows(path))


def test_a_missing_source_and_an_unknown_ending_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.jsonl: no such file"):
        list(read_rows(tmp_path / "absent.jsonl"))
    (tmp_path / "rows.txt").write_text("a,b")
    with pytest.raises(ValueError, match=r"rows\.txt: the name must end in"):
        list(read_rows(tmp_path / "rows.txt"))


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "new" / "folder" / "rows.jsonl"
    assert write_jsonl(path, iter(ROWS)) == 3
    assert [row for _, row in read_rows(path)] == ROWS
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3, "no character inside a row may end a line"
    write_json(path.with_name("one.json"), {"ü": 1})
    assert json.loads(path.with_name("one.json").read_text(encoding="utf-8")) == {"ü": 1}


def test_the_file_has_ordinary_permissions(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE((tmp_path / "rows.jsonl").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


class FullDisk:
    """A handle that accepts a few characters and then behaves like a full disk, also when it is closed."""

    def __init__(self, handle, room):
        self._handle, self._room = handle, room

    def write(self, text):
        self._room -= len(text)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._handle.write(text)

    def close(self):
        self._handle.close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("old", [None, "old content"])
def test_a_full_disk_leaves_the_old_file_or_none(tmp_path, monkeypatch, old):
    open_new = io._open_new
    monkeypatch.setattr(io, "_open_new", lambda path: FullDisk(open_new(path), room=20))
    path = tmp_path / "rows.jsonl"
    if old is not None:
        path.write_text(old)
    with pytest.raises(OSError, match="No space left"):
        write_jsonl(path, [{"number": number} for number in range(10)])
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if old is None else ["rows.jsonl"])
    assert old is None or path.read_text() == old


def test_a_refusal_of_the_file_system_is_exit_code_1_and_leaves_the_old_file(tmp_path):
    out = tmp_path / "out" / "pairs.jsonl"
    out.parent.mkdir()
    out.write_text("old")
    labels = [
        {"prompt": "p", "response_0": "x" * 500, "response_1": "y", "better_response_id": 0, "safer_response_id": 0}
    ]
    source = dump(tmp_path / "in.jsonl", labels * 1000)
    options = ["--dataset", "beavertails", "--split", "all", "--format", "trl", "--out", out, "--source", source]
    done = subprocess.run(
        [sys.executable, "-m", "datasets_builders", "preference", *map(str, options)],
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert {entry.name: entry.read_text() for entry in out.parent.iterdir()} == {"pairs.jsonl": "old"}


def test_an_interrupt_removes_the_new_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_writer(tmp_path / "rows.jsonl") as handle:
        handle.write("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed_and_a_device_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real" / "rows.jsonl")
    write_jsonl(tmp_path / "link.jsonl", ROWS)
    assert (tmp_path / "link.jsonl").is_symlink()
    assert load(tmp_path / "real" / "rows.jsonl")[0] == {"a": 1}
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(ValueError, match="not a regular file"):
            write_jsonl(path, ROWS)


def test_skip_counter_names_reasons_counts_and_the_first_place():
    skips = SkipCounter()
    for _ in range(7):
        skips.keep()
    skips.skip("empty", "f:3: empty")
    skips.skip("empty", "f:9: empty")
    skips.skip("odd", "f:4: odd")
    assert skips.as_dict() == {
        "kept": 7,
        "skipped": {"empty": {"count": 2, "first": "f:3: empty"}, "odd": {"count": 1, "first": "f:4: odd"}},
    }
    skips.check(0.3)
    with pytest.raises(ValueError, match=r"3 of 10 rows .*30.00%.*29.00%: empty 2 \(first: f:3: empty\); odd 1"):
        skips.check(0.29)


def test_no_rows_at_all_are_no_skipped_rows():
    SkipCounter().check(0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_does_not_have_is_never_written(tmp_path, value):
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"out\.json: cannot be written as JSON"):
        write_json(path, {"a": [value]})
    with pytest.raises(ValueError, match=r"out\.json:2: cannot be written as JSON"):
        write_jsonl(path, [{"a": 1}, {"a": value}])
    assert path.read_text() == "old"


def test_what_json_does_not_have_can_be_told_in_words(tmp_path):
    told = nonfinite_as_text({"a": [float("nan"), 1.5, (float("-inf"), "x")], "b": {"c": float("inf"), "d": None}})
    assert told == {"a": ["nan", 1.5, ["-inf", "x"]], "b": {"c": "inf", "d": None}}
    write_json(tmp_path / "told.json", told)
