"""Work that survives an interruption: an append-only file of finished records, and the settings they were made with."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets_builders.io import write_json

Key = tuple[str, int]


class PartialFile:
    """Finished records, one JSON object a line, each batch on the disk before `append` returns.

    Args:
        path: the file; a last line that was cut off by an interruption is removed upon opening.

    Raises:
        ValueError: any other line that is not a record.
    """

    def __init__(self, path: Path):
        self.path = path
        self.records: dict[Key, dict[str, Any]] = {}
        if path.exists():
            self._load()

    def _load(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with open(self.path, "r+b") as handle:
                handle.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                self._keep(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path}:{number}: not a generation record; delete the file to start over"
                ) from error

    def _keep(self, record: dict[str, Any]) -> None:
        self.records[record["prompt_id"], record["sample"]] = record

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Adds records and waits until the disk has them."""
        records = list(records)
        with open(self.path, "a", encoding="utf-8", newline="\n") as handle:
            handle.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            handle.flush()
            os.fsync(handle.fileno())
        for record in records:
            self._keep(record)


def check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Stores `settings` at `path`, or compares them with the ones stored there by an earlier run.

    Raises:
        ValueError: they differ; the first setting that does is named, with both values.
    """
    if not path.exists():
        write_json(path, settings)
        return
    stored = json.loads(path.read_text("utf-8"))
    for name in sorted(stored.keys() | settings.keys()):
        old, new = stored.get(name), settings.get(name)
        if old != new:
            raise ValueError(
                f"{path}: this directory was made with {name} = {old!r}, now it is {new!r}; "
                "use another --label or --out, or delete the directory"
            )
