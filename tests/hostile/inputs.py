"""Malformed files from sound rows, as a function of a seed: values, lines, bytes and containers go wrong."""

import copy
import gzip
import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.datasets_builders.containers import KINDS, write
from tests.hostile.rows import FAMILIES, Row

ODD_VALUES: list[Any] = [
    None, True, 0, -1, 7, 1.5, float("nan"), float("inf"), 10**400, "", " ", "\n", "text", "\ud800", "a\x00b", "\u2028", "\ufeff",
    "7", "null", "[]", '[{"role": "user", "content": "x"}]', [], {}, [None], [[]], ["a"], [1, "a"], {"a": None}, {"role": "user"},
    [{"role": "user"}], [{"role": "user", "content": None}], [{"role": None, "content": "x"}], [{"role": "user", "content": []}],
    [{"role": "user", "content": [{"type": "image", "image": "x"}]}], [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
    [{"role": "assistant", "content": "x"}], [{"role": "user", "content": "x"}] * 2, [{"role": "system", "content": "x"}],
    [{"role": "user", "content": "x"}, *[{"role": "assistant", "content": "y"}] * 2], {"type": {"a": [{}]}}, "x" * 140_000,
    [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
    "Hello\n<extra_id_1>Assistant\nHi", "<extra_id_1>Nobody\nx", "\n\nHuman: a\n\nHuman: b", "\n\nAssistant: a",
]  # fmt: skip
TEXT_KINDS = ("jsonl", "jsonl.gz", "json", "array.json", "csv", "tsv", "bom.csv", "bom.jsonl")


def hostile_file(seed: int, folder: Path, family: str | None = None) -> tuple[Path, str, bool]:
    """A file (or folder) of malformed input.

    Args:
        family: one of `rows.FAMILIES`; None draws one.

    Returns:
        Its path, what was done, and whether no reader may take it.
    """
    draw = random.Random(seed)
    family = family or draw.choice(sorted(FAMILIES))
    rows = copy.deepcopy(FAMILIES[family])
    how = draw.choices((_values, _lines, _bytes, _container), (6, 2, 3, 2))[0]
    path, what, refused = how(draw, rows, folder)
    return path, f"{family}: {how.__name__.strip('_')}: {what}", refused


def _values(draw: random.Random, rows: list[Row], folder: Path) -> tuple[Path, str, bool]:
    """Fields that hold what they should not, in any kind of file."""
    done = []
    for _ in range(draw.randint(1, 3)):
        row = draw.choice(rows)
        done.append(odd_field(draw, row))
    kind = draw.choice(KINDS)
    try:
        return write(folder, kind, rows), f"{', '.join(done)} in {kind}", False
    except Exception:  # a table does not take every value; JSON lines take all of them
        return write(folder / "lines", "jsonl", rows), f"{', '.join(done)} in jsonl", False


def odd_field(draw: random.Random, row: Row, more: Sequence[Any] = ()) -> str:
    """Changes one field, which may lie deep inside, to one of `ODD_VALUES` or of `more`; what was done."""
    place: Any = row
    names: list[Any] = []
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return "nothing"
        key = draw.choice(keys)
        names.append(key)
        inner = place[key]
        if isinstance(inner, dict | list) and inner and draw.random() < 0.6:
            place = inner
            continue
        change = draw.choice(("value", "value", "value", "gone", "twin"))
        if change == "gone":
            del place[key]
        elif change == "twin" and isinstance(place, dict):
            place[draw.choice(("prompt", "messages", "chosen", "rejected_response", "extra", ""))] = copy.deepcopy(
                draw.choice([*ODD_VALUES, *more])
            )
        else:
            place[key] = copy.deepcopy(draw.choice([*ODD_VALUES, *more]))
        return f"{change} at {'.'.join(map(str, names))}"


LINES: dict[str, tuple[Callable[[random.Random], bytes], bool]] = {
    "no JSON": (lambda draw: b'{"prompt": "a"', True),
    "another type": (lambda draw: draw.choice((b"[1]", b'"a"', b"1", b"null", b"true")), True),
    "not UTF-8": (lambda draw: b'{"prompt": "\xe4\xff"}', True),
    "UTF-16": (lambda draw: '{"prompt": "a"}'.encode("utf-16"), True),
    "deep": (lambda draw: b'{"prompt": ' + b"[" * (n := draw.choice((100, 900, 5000))) + b"]" * n + b"}", True),
    "deep objects": (lambda draw: b'{"a": ' * (n := draw.choice((100, 2000))) + b"1" + b"}" * n, True),
    "many digits": (lambda draw: b'{"prompt": ' + b"9" * 5000 + b"}", True),
    "two rows": (lambda draw: b'{"prompt": "a"} {"prompt": "b"}', True),
    "same field twice": (lambda draw: b'{"prompt": "a", "prompt": 3}', False),
    "NUL bytes": (lambda draw: bytes(draw.choice((1, 1000))), True),
    "white space": (lambda draw: draw.choice((b" ", b"\t", b"\r", b"\x0c")), False),
    "no object field": (lambda draw: b"{}", False),
}


def _lines(draw: random.Random, rows: list[Row], folder: Path) -> tuple[Path, str, bool]:
    """One line of JSON lines that holds no row."""
    name = draw.choice(sorted(LINES))
    make, refused = LINES[name]
    lines = [json.dumps(row).encode() for row in rows]
    lines.insert(draw.randint(0, len(lines)), make(draw))
    data = draw.choice((b"\n", b"\n", b"\r\n")).join(lines)
    path = folder / draw.choice(("rows.jsonl", "rows.json", "rows.jsonl.gz"))
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    # A .json file that begins with a bracket is one array.
    return path, f"{name} in {path.name}", refused


def _bytes(draw: random.Random, rows: list[Row], folder: Path) -> tuple[Path, str, bool]:
    """A sound file of any kind with bytes changed, lost or added."""
    made = write(folder, draw.choice(("jsonl", "json", "array.json", *KINDS)), rows)
    files = [made] if made.is_file() else sorted(file for file in folder.rglob("*") if file.is_file())
    path = draw.choice(files)
    data = bytearray(path.read_bytes())
    what = draw.choice(("cut", "flip", "flip many", "insert", "doubled", "nothing left"))
    if what == "cut":
        del data[draw.randrange(len(data)) :]
    elif what.startswith("flip"):
        for _ in range(1 if what == "flip" else 20):
            data[draw.randrange(len(data))] = draw.randrange(256)
    elif what == "insert":
        at = draw.randrange(len(data))
        data[at:at] = draw.choice(
            (b"\xff", b"\x00", b'"', b"\n", b"\r", b",", b"}", b"\xef\xbb\xbf", b"\\ud800", b"\t")
        )
    elif what == "doubled":
        data += bytes(data)
    else:
        data.clear()
    path.write_bytes(data)
    if made.is_dir() and "hub" not in made.name and draw.random() < 0.3:
        path.unlink()
        what = "file gone"
    return made, f"{what} in {path.name}", False


def _container(draw: random.Random, rows: list[Row], folder: Path) -> tuple[Path, str, bool]:
    """A name, a link, a pipe, a folder or a compression that is not what it says."""
    name = draw.choice(sorted(CONTAINERS))
    make, refused = CONTAINERS[name]
    return make(folder, rows), name, refused


def _renamed(kind: str, name: str) -> Callable[[Path, list[Row]], Path]:
    return lambda folder, rows: write(folder, kind, rows).rename(folder / name)


def _pipe(folder: Path, rows: list[Row]) -> Path:
    os.mkfifo(folder / "rows.jsonl")
    return folder / "rows.jsonl"


def _link(target: str) -> Callable[[Path, list[Row]], Path]:
    def make(folder: Path, rows: list[Row]) -> Path:
        (folder / "rows.jsonl").symlink_to(target)
        return folder / "rows.jsonl"

    return make


def _loop(folder: Path, rows: list[Row]) -> Path:
    (folder / "below").mkdir()
    for name in ("one", "two"):
        (folder / "below" / name).symlink_to(folder)
    write(folder, "jsonl", rows)
    return folder / "**" / "*.jsonl"


def _zeros(name: str) -> Callable[[Path, list[Row]], Path]:
    """A small file of a line that no memory should hold; a tenth of a gigabyte more than the limit."""

    def make(folder: Path, rows: list[Row]) -> Path:
        (folder / name).write_bytes(_ZEROS)
        return folder / name

    return make


def _folder(*names: str) -> Callable[[Path, list[Row]], Path]:
    def make(folder: Path, rows: list[Row]) -> Path:
        for name in names:
            (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "set" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder / "set"

    return make


def _state(content: str) -> Callable[[Path, list[Row]], Path]:
    def make(folder: Path, rows: list[Row]) -> Path:
        (write(folder, "saved", [{"prompt": "a"}]) / "state.json").write_text(content)
        return folder / "saved"

    return make


_ZEROS = gzip.compress(bytes(2**27 + 2), 1)
CONTAINERS: dict[str, tuple[Callable[[Path, list[Row]], Path], bool]] = {
    "nothing there": (lambda folder, rows: folder / "absent.jsonl", True),
    "a folder without files": (lambda folder, rows: folder, True),
    "a name that is too long": (lambda folder, rows: folder / ("x" * 3000 + ".jsonl"), True),
    "another ending": (_renamed("jsonl", "rows.txt"), True),
    "a pipe": (_pipe, True),
    "a link to nothing": (_link("absent.jsonl"), True),
    "a link to itself": (_link("rows.jsonl"), True),
    "a device": (_link("/dev/zero"), True),
    "a folder in itself": (_loop, False),
    "Parquet called JSON lines": (_renamed("parquet", "x.jsonl"), True),
    "JSON lines called Parquet": (_renamed("jsonl", "x.parquet"), True),
    "JSON lines called Arrow": (_renamed("jsonl", "x.arrow"), True),
    "plain called gzip": (_renamed("jsonl", "x.jsonl.gz"), True),
    "plain called zstd": (_renamed("jsonl", "x.jsonl.zst"), True),
    "gzip called zstd": (_renamed("jsonl.gz", "x.jsonl.zst"), True),
    "an endless line": (_zeros("rows.jsonl.gz"), True),
    "an endless cell": (_zeros("rows.csv.gz"), True),
    "several splits": (_folder("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl"), False),
    "a part of a split": (_folder("data/train-00000-of-00003.jsonl"), True),
    "reports alone": (_folder("rows.jsonl.report.json"), True),
    "a folder called a file": (_folder("rows.jsonl/rows.jsonl"), True),
    **{f"state {content}": (_state(content), True) for content in (
        "", "[]", "{}", "null", '{"_data_files": 3}', '{"_data_files": [{"filename": 3}]}',
        '{"_data_files": [{"filename": "../rows.jsonl"}]}', '{"_data_files": [{"filename": "absent.arrow"}]}',
    )},
}  # fmt: skip
