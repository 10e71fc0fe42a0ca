"""Rows of Parquet and Arrow files, as the values that JSON has: maps as objects, times as texts."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets_builders.files.location import Location

Rows = Iterator[tuple[Location, dict[str, Any]]]
BATCH_ROWS = 256
START_OF_FILE = b"ARROW1"


def read_parquet(file: Path) -> Rows:
    """The rows of a Parquet file. Raises: ValueError, ``FILE:ROW: ...`` for damaged data."""
    import pyarrow.parquet

    with _damage_named(file) as count, pyarrow.parquet.ParquetFile(file) as table:
        yield from _rows(file, table.schema_arrow, table.iter_batches(batch_size=BATCH_ROWS), count)


def read_arrow(file: Path) -> Rows:
    """The rows of an Arrow file, or of the stream that ``save_to_disk`` writes. Errors: as ``read_parquet``."""
    import pyarrow
    import pyarrow.ipc

    with _damage_named(file) as count, pyarrow.memory_map(str(file)) as source:
        if source.read(len(START_OF_FILE)) == START_OF_FILE:
            table = pyarrow.ipc.open_file(source)
            batches: Iterable[Any] = (table.get_batch(number) for number in range(table.num_record_batches))
        else:
            source.seek(0)
            table = pyarrow.ipc.open_stream(source)
            batches = table
        parts = (batch.slice(start, BATCH_ROWS) for batch in batches for start in range(0, batch.num_rows, BATCH_ROWS))
        yield from _rows(file, table.schema, parts, count)


@contextmanager
def _damage_named(file: Path) -> Iterator[list[int]]:
    """Turns what pyarrow raises into a ValueError with the place; yields the number of rows so far, in a list of one."""
    import pyarrow

    count = [0]
    try:
        yield count
    except (pyarrow.ArrowException, ValueError, OverflowError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        kind = "Parquet" if file.suffix == ".parquet" else "Arrow"
        raise ValueError(f"{file}:{count[0] + 1}: damaged {kind} data: {error}") from error


def _rows(file: Path, schema: Any, batches: Iterable[Any], count: list[int]) -> Rows:
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"two columns have one name, found {schema.names}")
    plain = {field.name: converter(field.type) for field in schema}
    for batch in batches:
        for row in batch.to_pylist():
            yield Location(str(file), count[0] + 1), {name: plain[name](value) for name, value in row.items()}
            count[0] += 1


def converter(kind: Any) -> Callable[[Any], Any]:
    """What makes a JSON value of a Python value of this ``pyarrow.DataType``; bytes stay bytes, which JSON has not."""
    from pyarrow import BaseExtensionType, types

    if isinstance(kind, BaseExtensionType):
        return converter(kind.storage_type)
    if types.is_map(kind):
        inner = converter(kind.item_type)
        return _unless_none(lambda value: {str(key): inner(item) for key, item in value})
    if types.is_struct(kind):
        fields = {field.name: converter(field.type) for field in kind}
        return _unless_none(lambda value: {name: fields[name](item) for name, item in value.items()})
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = converter(kind.value_type)
        return _unless_none(lambda value: [inner(item) for item in value])
    if types.is_duration(kind) or types.is_interval(kind):
        return _unless_none(str)
    if types.is_temporal(kind):
        return _unless_none(lambda value: value.isoformat())
    if types.is_decimal(kind):
        return _unless_none(float)
    if types.is_dictionary(kind):
        return converter(kind.value_type)
    return _same


def _same(value: Any) -> Any:
    return value


def _unless_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)
