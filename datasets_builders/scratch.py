"""Temporary tables on disk, for work whose memory must not grow with the data."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

CACHE_KIB = 2048


@contextmanager
def scratch_database() -> Iterator[sqlite3.Connection]:
    """A temporary SQLite database on disk (``TMPDIR`` decides where), which has no name, so that a kill leaves nothing.

    Raises:
        OSError: the disk of the temporary folder is full, or SQLite failed otherwise.
    """
    connection = sqlite3.connect("", isolation_level=None)
    try:
        # Nothing has to survive a crash, so neither journal nor sync is wanted; the page cache bounds the memory.
        connection.execute("PRAGMA temp_store = FILE")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("BEGIN")
        yield connection
    except sqlite3.OperationalError as error:
        raise OSError(f"temporary database (TMPDIR names its folder): {error}") from error
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
