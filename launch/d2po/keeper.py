"""A served discriminator and its states on disk: one folder per update, so that a killed server goes on where it was."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from datasets_builders.beside import replaced_folder
from datasets_builders.io import read_object, write_json
from trl_ext.d2po.discriminator import Discriminator, LabelledPair

_NAME = re.compile(r"update-(\d{6,})")
_SAVED = "saved"  # a file of this name marks a state that a client asked to keep


class Conflict(Exception):
    """A request that does not fit the number of updates done; its text says what would."""


def pairs_digest(pairs: Sequence[LabelledPair]) -> str:
    """Tells whether a repeated update is the same one."""
    return hashlib.sha256(json.dumps([list(pair) for pair in pairs]).encode()).hexdigest()


class Keeper:
    """One update or scoring at a time, each update on disk before it is answered.

    Args:
        discriminator: as it starts; the newest state in `folder` replaces its own.
        folder: the states, `update-000012` after the twelfth update.
        keep: how many of the newest states stay, and how many of the newest that were saved.

    Raises:
        ValueError: another server uses the folder, or its states are of another discriminator.
    """

    def __init__(self, discriminator: Discriminator, folder: Path, keep: int = 20):
        from filelock import FileLock, Timeout

        self.discriminator, self.folder, self.keep = discriminator, folder, keep
        folder.mkdir(parents=True, exist_ok=True)
        self._file_lock = FileLock(folder / ".lock")
        try:
            self._file_lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"{folder} is used by another server: give each its own --state") from None
        self._lock = threading.Lock()
        self.done = (0, "")  # updates and the digest after them; replaced as one, so that no lock is needed to read it
        if self.kept():
            self._load(self.kept()[-1])
        else:
            self._write(0, {}, [])

    @property
    def updates(self) -> int:
        return self.done[0]

    def path(self, updates: int) -> Path:
        return self.folder / f"update-{updates:06d}"

    def kept(self) -> list[int]:
        """Numbers of updates whose states are on disk, ascending."""
        return sorted(int(match[1]) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name)))

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        with self._lock:
            return self.discriminator.score(prompts, responses)

    def update(self, pairs: Sequence[LabelledPair], number: int) -> dict[str, float]:
        """Metrics of update `number`, which is done now unless it was done before.

        Raises:
            Conflict: `number` is too high, was done with other pairs, or is so old that its metrics are gone.
            ValueError: pairs that cannot be trained on; nothing has changed then.
        """
        with self._lock:
            if number > self.updates:
                raise Conflict(f"update number {number}: {self.updates} updates are done, so {self.updates} is next")
            if number < self.updates:
                return self._metrics(number, pairs)
            try:
                metrics = self.discriminator.update(pairs, number)
                self._write(number + 1, metrics, pairs)
            except Exception:
                self._load(self.updates)  # a half-trained model must not score
                raise
            self._prune()
            return metrics

    def restore(self, updates: int) -> None:
        """Goes back to the state after `updates` updates; later ones are deleted.

        Raises:
            Conflict: that state is not there; the text names those that are.
        """
        with self._lock:
            kept = self.kept()
            if updates not in kept:
                raise Conflict(f"no state after {updates} updates is kept, only those after {kept}")
            # The newest first: killed half way, the newest that is left is still no older than the one asked for.
            for later in sorted((number for number in kept if number > updates), reverse=True):
                self._delete(later)
            self._load(updates)

    def save(self) -> int:
        """Marks the present state as one to keep; returns its number of updates."""
        with self._lock:
            (self.path(self.updates) / _SAVED).touch()
            return self.updates

    def _metrics(self, number: int, pairs: Sequence[LabelledPair]) -> dict[str, float]:
        done = self.path(number + 1) / "update.json"
        if not done.is_file():
            raise Conflict(f"update number {number} is done long since, its metrics are kept no more")
        record = read_object(done)
        if record["pairs"] != pairs_digest(pairs):
            raise Conflict(
                f"update number {number} was done with other pairs ({self.updates} updates are done); a run that "
                "goes on from an earlier checkpoint restores that state first"
            )
        return record["metrics"]

    def _write(self, updates: int, metrics: dict[str, float], pairs: Sequence[LabelledPair]) -> None:
        record = {"updates": updates, "metrics": metrics, "pairs": pairs_digest(pairs)}
        with replaced_folder(self.path(updates)) as beside:
            self.discriminator.save(beside / "discriminator")
            write_json(beside / "update.json", record)
        self.done = (updates, self.discriminator.digest())

    def _load(self, updates: int) -> None:
        self.discriminator.load(self.path(updates) / "discriminator")
        self.done = (updates, self.discriminator.digest())

    def _prune(self) -> None:
        kept = self.kept()
        saved = [number for number in kept if (self.path(number) / _SAVED).exists()]
        for number in set(kept) - set(kept[-self.keep :]) - set(saved[-self.keep :]):
            self._delete(number)

    def _delete(self, updates: int) -> None:
        """Out of sight first, so that a state is never half there."""
        gone = self.folder / ".deleted"
        shutil.rmtree(gone, ignore_errors=True)
        self.path(updates).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
