"""The options and the ending that all builders of preference data share."""

import argparse
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from typing import Any

from datasets_builders.choices import one_of, positive_integer, share
from datasets_builders.io import SkipCounter, write_jsonl, write_report
from datasets_builders.pairs import PREFERENCE_WRITERS, SFT_WRITERS, PreferencePair
from datasets_builders.scratch import SeenOnDisk, scratch_database


def add_output_arguments(parser: argparse.ArgumentParser, max_skipped_share: float) -> None:
    """Declare --format, --out, --sft, --limit, --source and --max_skipped_share (with the given default)."""
    parser.add_argument("--format", required=True, type=one_of(PREFERENCE_WRITERS), help="swift or trl")
    parser.add_argument("--out", required=True, help="JSONL file to write; a report goes to __reports__ beside it")
    parser.add_argument(
        "--source", help="file, folder or glob to read instead of the hub: JSONL, JSON, CSV, TSV, Parquet, Arrow"
    )
    parser.add_argument("--sft", action="store_true", help="write each distinct prompt and chosen reply once, no pairs")
    parser.add_argument("--limit", type=positive_integer, help="stop after this many written rows")
    parser.add_argument(
        "--max_skipped_share",
        type=share,
        default=max_skipped_share,
        help="fail when more than this share of the rows is unusable (0: fail at the first; default %(default)s)",
    )


def write_pairs(
    pairs: Iterable[PreferencePair],
    options: argparse.Namespace,
    skips: SkipCounter,
    report: dict[str, Any],
    connection: sqlite3.Connection | None = None,
    writers: Mapping[str, Callable[[PreferencePair], dict[str, Any]]] = PREFERENCE_WRITERS,
) -> dict[str, Any]:
    """Write pairs (or, with ``options.sft``, their distinct chosen sides) and the report beside them.

    Args:
        pairs: consumed once; whatever it counts into ``skips`` and ``report`` is read after it has ended.
        options: the parsed options of ``add_output_arguments``.
        report: counts filled while ``pairs`` runs; under ``"filtered"`` those of the pairs that a rule removed.
        connection: a scratch database to keep the distinct replies in; None opens one where it is needed.
        writers: format -> what makes a row of a pair.

    Returns:
        The finished report.

    Raises:
        ValueError: too many unusable rows, or nothing left to write; no output file appears then.
        OSError: the disk is full.
    """
    if options.out.endswith((".gz", ".parquet")):
        raise ValueError(f"--out {options.out}: the output is plain JSONL, give it a name that ends in .jsonl")
    with nullcontext(connection) if connection or not options.sft else scratch_database() as database:
        if options.sft:
            assert database is not None
            rows = _sft_rows(pairs, options.format, database)
        else:
            rows = map(writers[options.format], pairs)
        written = write_jsonl(options.out, _checked(islice(rows, options.limit), options, skips, report))
    report["rows"] = skips.total
    report |= skips.as_dict() | {"written": written, "limit_reached": written == options.limit}
    write_report(options.out, report)
    return report


def _sft_rows(
    pairs: Iterable[PreferencePair], format_name: str, database: sqlite3.Connection
) -> Iterator[dict[str, Any]]:
    seen = SeenOnDisk(database)
    for pair in pairs:
        texts = [text for message in pair.prompt for text in (message["role"], message["content"])]
        if seen.add(*texts, pair.chosen):
            yield SFT_WRITERS[format_name](pair)


def _checked(
    rows: Iterable[dict[str, Any]], options: argparse.Namespace, skips: SkipCounter, report: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Pass rows on; judge the counts after the last, inside the atomic write, so that a bad run leaves no file."""
    empty = True
    for row in rows:
        empty = False
        yield row
    skips.check(options.max_skipped_share)
    if empty:
        filtered = ", ".join(f"{count} {reason}" for reason, count in report["filtered"].items() if count) or "none"
        skipped = ", ".join(f"{count} {reason}" for reason, count in skips.skipped.items()) or "none"
        raise ValueError(
            f"no pair is left of {skips.total} rows of {options.source or 'the hub data set'}; "
            f"removed by filters: {filtered}; unusable rows: {skipped}"
        )
