"""Work that survives an interruption: an append-only file of finished records, and the settings they were made with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets_builders.io import read_object, write_json
from datasets_builders.journal import Journal
from datasets_builders.secrets import hide_passwords

Key = tuple[str, int]


class PartialFile:
    """Finished records, one JSON object per line, on the disk before `append` returns. A context manager.

    A record that was written again replaces the earlier one. Errors: see `datasets_builders.journal.Journal`.
    """

    def __init__(self, path: Path):
        self.path = path
        self._journal = Journal(path, _record, "a generation record")
        self.records: dict[Key, dict[str, Any]] = {key_of(record): record for record in self._journal.entries}

    def __enter__(self) -> "PartialFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Adds records and waits until the disk has them."""
        known = len(self._journal.entries)
        self._journal.append(*records)
        self.records |= {key_of(record): record for record in self._journal.entries[known:]}

    def remove(self) -> None:
        """Takes the file away; its records are in another one."""
        self._journal.remove()


def key_of(record: dict[str, Any]) -> Key:
    """What a record answers: (prompt_id, sample)."""
    return record["prompt_id"], record["sample"]


def _record(row: dict[str, Any]) -> dict[str, Any]:
    if [type(part) for part in key_of(row)] != [str, int]:
        raise TypeError("'prompt_id' is a text and 'sample' a whole number")
    return row


def check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Stores `settings` at `path`, or compares them with the ones stored there by an earlier run.

    Raises:
        ValueError: they differ; the first setting that does is named, with both values.
    """
    if not path.exists():
        write_json(path, settings)
        return
    stored = read_object(path)
    for name in sorted(stored.keys() | settings.keys()):
        old, new = stored.get(name), settings.get(name)
        if old != new:
            raise ValueError(
                f"{path}: this directory was made with {name} = {_shown(old)}, now it is {_shown(new)}; "
                "use another --label or --out, or delete the directory"
            )


def _shown(value: Any) -> str:
    """Without the password of an address, which earlier versions stored."""
    return hide_passwords(repr(value))
