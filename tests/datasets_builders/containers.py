"""One set of rows in every kind of file that the pack reads."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

KINDS = (
    "jsonl", "jsonl.gz", "jsonl.zst", "json", "json.gz", "array.json", "bom.jsonl", "csv", "csv.gz", "bom.csv", "tsv",
    "parquet", "arrow", "stream.arrow", "folder", "glob", "link", "saved", "saved splits", "hub",
)  # fmt: skip


def write(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    """The rows in a file (or folder) of that kind; its path."""
    path = folder / f"rows.{kind}"
    if kind in ("folder", "glob", "link"):
        (folder / "rows").mkdir()
        file = write(folder / "rows", "jsonl", rows)
        write(folder / "rows", "jsonl.report.json", [{"rows": 1}])
        if kind == "link":
            path.with_suffix(".jsonl").symlink_to(file)
        return {"folder": file.parent, "glob": file.parent / "*.jsonl", "link": path.with_suffix(".jsonl")}[kind]
    if kind.startswith("saved"):
        import datasets

        made = datasets.Dataset.from_list(rows)
        if kind == "saved splits":
            made = datasets.DatasetDict({"train": made})
        made.save_to_disk(str(folder / "saved"))
        return folder / "saved"
    if kind == "hub":
        (folder / "hub" / "data").mkdir(parents=True)
        (folder / "hub" / "README.md").write_text("---\n---\n")
        write(folder / "hub" / "data", "parquet", rows).rename(folder / "hub/data/train-00000-of-00001.parquet")
        return folder / "hub"
    if kind.endswith(("parquet", "arrow")):
        _write_table(path, kind, rows)
        return path
    if "sv" in kind.split(".")[-1] or "sv" in kind.split(".")[0]:
        data = _delimited(rows, "\t" if "tsv" in kind else ",")
    elif kind == "array.json":
        data = json.dumps(rows)
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows)
    content = data.encode("utf-8-sig" if kind.startswith("bom") else "utf-8")
    if kind.endswith(".gz"):
        content = gzip.compress(content, 1)
    if kind.endswith(".zst"):
        import pyarrow

        content = pyarrow.Codec("zstd").compress(content, asbytes=True)
    path.write_bytes(content)
    return path


def _write_table(path: Path, kind: str, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(rows)
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
        return
    new = pyarrow.ipc.new_stream if kind.startswith("stream") else pyarrow.ipc.new_file
    with new(str(path), table.schema) as writer:
        writer.write_table(table)


def _delimited(rows: list[dict[str, Any]], delimiter: str) -> str:
    import io

    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(names)
    for row in rows:
        cells = (row.get(name) for name in names)
        writer.writerow(
            [json.dumps(cell) if isinstance(cell, list) else "" if cell is None else cell for cell in cells]
        )
    return text.getvalue()
