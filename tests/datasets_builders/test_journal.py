"""The file of entries: whole after a cut at any byte, a kill and a full disk; each entry on the disk before it is used."""

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager

import pytest

from datasets_builders.journal import Journal, read_lines

TEXTS = ["plain", "a line end \u2028 and é", "half a pair \ud83d", '"}\n{"number": 9}', ""]
WRITER = """
import sys
from pathlib import Path
from datasets_builders.journal import Journal
with Journal(Path(sys.argv[1]), dict, "a number") as journal:
    for number in range(len(journal.entries), 10**9):
        journal.append({"number": number, "text": "x" * (number % 700)})
        print(number, flush=True)
"""


def entry(row):
    return row["number"], row["text"]


def rows(*numbers):
    return [{"number": number, "text": TEXTS[number % len(TEXTS)]} for number in numbers]


def opened(path):
    return Journal(path, entry, "a numbered text")


def filled(path, count=5):
    with opened(path) as journal:
        journal.append(*rows(*range(count)))
        assert [number for number, _ in journal.entries] == list(range(count))
    return path.read_bytes()


@contextmanager
def full_disk(size):
    """No file of this process can grow above `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_cut_at_any_byte_keeps_every_whole_entry(tmp_path):
    path = tmp_path / "new" / "numbers.jsonl"
    whole = filled(path)
    assert whole.isascii() and whole.count(b"\n") == 5
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        # The last byte of an entry is that before its line end.
        kept = (whole[:end] + (b"\n" if whole[end : end + 1] == b"\n" else b"")).count(b"\n")
        with opened(path) as journal:
            assert journal.entries == [entry(row) for row in rows(*range(kept))]
            assert bool(journal.torn) == (not whole[:end].endswith(b"\n") and whole[end : end + 1] != b"\n" and end > 0)
            journal.append(*rows(7))
        assert read_lines(path, entry, "") == ([entry(row) for row in rows(*range(kept), 7)], b"", False)


def test_what_was_cut_off_is_kept_aside(tmp_path):
    path = tmp_path / "numbers.jsonl"
    whole = filled(path, 2)
    path.write_bytes(whole + b'{"number": 3')
    assert read_lines(path, entry, "").torn == b'{"number": 3' and path.read_bytes() != whole  # looking changes nothing
    with opened(path):
        assert path.read_bytes() == whole
    assert (tmp_path / "numbers.cut_off.txt").read_bytes() == b'{"number": 3\n'


@pytest.mark.parametrize("room", [0, 1, 30, 90])
def test_a_full_disk_leaves_the_entries_before(tmp_path, room):
    path = tmp_path / "numbers.jsonl"
    whole = filled(path)
    with opened(path) as journal:
        with full_disk(len(whole) + room), pytest.raises(OSError):
            journal.append(*rows(5), {"number": 6, "text": "long " * 20})
        assert path.read_bytes() == whole and len(journal.entries) == 5
        journal.append(*rows(5))
    with opened(path) as journal:
        assert [number for number, _ in journal.entries] == [0, 1, 2, 3, 4, 5]


def test_a_write_that_could_not_be_taken_back_is_taken_back_by_the_next_one(tmp_path, monkeypatch):
    path = tmp_path / "numbers.jsonl"
    whole = filled(path)
    with opened(path) as journal:
        real = os.ftruncate
        with full_disk(len(whole) + 20), monkeypatch.context() as broken, pytest.raises(OSError):
            broken.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            journal.append(*rows(5))
        assert os.ftruncate is real and len(path.read_bytes()) == len(whole) + 20
        journal.append(*rows(6))
    assert [number for number, _ in read_lines(path, entry, "").entries] == [0, 1, 2, 3, 4, 6]


def test_a_killed_writer_has_kept_what_it_used(tmp_path):
    path, used = tmp_path / "numbers.jsonl", -1
    for entries in (1, 40, 9):  # after so many the writer is killed
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        for _ in range(entries):
            used = int(process.stdout.readline())
        process.kill()
        used = int(([str(used), *process.communicate()[0].split()])[-1])
        kept = [row["number"] for row in read_lines(path, dict, "").entries]
        assert kept == list(range(len(kept))) and kept[-1] in (used, used + 1)


def test_each_entry_is_synced_before_append_returns(tmp_path, monkeypatch):
    path, synced, real = tmp_path / "numbers.jsonl", [], os.fsync
    with opened(path) as journal:
        monkeypatch.setattr(os, "fsync", lambda fd: (real(fd), synced.append(os.fstat(fd).st_size)))
        for number in range(3):
            journal.append(*rows(number))
            assert synced[-1] == path.stat().st_size
    assert len(synced) == 3


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"7", b"", b"{}", b"\xff", b'{"number": 1}', b"\0\0", b"[" * 100000, b'{"number": NaN, "text": ""}'],
)
def test_a_damaged_line_before_the_last_is_named(tmp_path, line):
    path = tmp_path / "numbers.jsonl"
    first, second = filled(path, 2).splitlines()
    damaged = first + b"\n" + line + b"\n" + second + b"\n"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"numbers\.jsonl:2: not a numbered text .*fix or remove"):
        opened(path)
    assert path.read_bytes() == damaged
    path.write_bytes(first + b"\n")
    opened(path).close()  # the refused one has let the lock go


@pytest.mark.parametrize(
    "row", [{"number": 1}, {"number": float("nan"), "text": ""}, {"number": 1, "text": float("inf")}]
)
def test_nothing_is_written_that_could_not_be_read(tmp_path, row):
    path = tmp_path / "numbers.jsonl"
    whole = filled(path)
    with opened(path) as journal, pytest.raises((ValueError, KeyError)):
        journal.append(*rows(5), row)
    assert path.read_bytes() == whole


def test_a_file_has_one_writer(tmp_path):
    path = tmp_path / "numbers.jsonl"
    with opened(path), pytest.raises(ValueError, match=r"numbers\.jsonl: another run is writing there"):
        opened(path)
    with opened(path) as journal:
        journal.append({"text": "", "number": 1})
    assert json.loads(path.read_text()) == {"number": 1, "text": ""}
