"""Temporary tables on disk, for work whose memory must not grow with the data."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

CACHE_KIB = 2048


@contextmanager
def scratch_database() -> Iterator[sqlite3.Connection]:
    """An SQLite database in a temporary folder (``TMPDIR`` decides where), removed at the end whatever happens.

    Raises:
        OSError: the disk of the temporary folder is full, or SQLite failed otherwise.
    """
    with TemporaryDirectory(prefix="datasets_builders-") as folder:
        connection = sqlite3.connect(Path(folder) / "scratch.sqlite3", isolation_level=None)
        try:
            # Nothing has to survive a crash, so neither journal nor sync is wanted; the page cache bounds the memory.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("BEGIN")
            yield connection
        except sqlite3.OperationalError as error:
            raise OSError(f"temporary database in {folder}: {error}") from error
        finally:
            connection.close()


def digest(*texts: str) -> bytes:
    """A 32-byte key of a sequence of texts; the length before each keeps ("ab", "c") apart from ("a", "bc")."""
    state = sha256()
    for text in texts:
        data = text.encode("utf-8")
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.digest()


class SeenOnDisk:
    """A set of text tuples kept in a scratch database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, *texts: str) -> bool:
        """Add the texts as one entry; True when the entry is new."""
        return self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest(*texts),)).rowcount == 1
