"""Source rows: from files given by the user, or streamed from the hub."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from datasets_builders.fields import RowError
from datasets_builders.io import Location, SkipCounter, read_located_rows

Row = TypeVar("Row")
Parsed = TypeVar("Parsed")


def rows_from(
    source: str | None, hub_name: str, split: str, **hub_options: Any
) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Stream the rows of ``source`` (file, folder or glob) or, when it is None, of one split of a hub data set.

    Args:
        hub_options: handed to ``datasets.load_dataset`` (``name``, ``data_dir``, ``revision``).

    Raises:
        ValueError: a malformed file.
        OSError: the hub cannot be reached or has no such data set.
    """
    if source is not None:
        yield from read_located_rows(source)
        return
    import datasets

    label = f"{hub_name}[{split}]"
    try:
        stream = datasets.load_dataset(hub_name, split=split, streaming=True, **hub_options)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{label}: {error}; a local copy can be given with --source") from error
    except OSError as error:
        raise OSError(f"{label}: {error}; a local copy can be given with --source") from error
    for number, row in enumerate(stream, start=1):
        yield Location(label, number), row


def each_row(
    source: str | os.PathLike[str], parse: Callable[[dict[str, Any]], Parsed]
) -> Iterator[tuple[Location, Parsed]]:
    """Parse each row of a file, folder or glob. Raises: ValueError, ``FILE:LINE: ...`` at the first unusable row."""
    yield from parse_rows(read_located_rows(source), parse, SkipCounter(), 0.0)


def parse_rows(
    rows: Iterable[tuple[Location, Row]],
    parse: Callable[[Row], Parsed],
    skips: SkipCounter,
    max_skipped_share: float,
) -> Iterator[tuple[Location, Parsed]]:
    """Parse each row, counting those that raise ``RowError``.

    Raises:
        ValueError: ``FILE:LINE: ...`` at the first unusable row when ``max_skipped_share`` is 0; above 0 the caller
            checks the share at the end, since it is not known before.
    """
    for where, row in rows:
        try:
            parsed = parse(row)
        except RowError as error:
            if max_skipped_share == 0:
                raise ValueError(f"{where}: {error}") from error
            skips.skip(error.reason, f"{where}: {error}")
        else:
            skips.keep()
            yield where, parsed
