"""Checks a file of preference pairs row by row and writes it in ms-swift's format, where a pipeline reads it."""

from collections.abc import Iterator
from pathlib import Path

from datasets_builders.command_line import Parser
from datasets_builders.io import write_jsonl
from datasets_builders.pair_rows import read_sides
from datasets_builders.source import each_row
from launch.cli.verbs import verb_parser


def checked_pairs(source: str) -> Iterator[dict]:
    """Rows with `messages` (ending with the chosen answer) and `rejected_response` or `rejected_messages`, and what the
    rows hold beside them; which formats are read, see `datasets_builders.pair_rows`.

    Raises:
        ValueError: `FILE:LINE: ...` for the first row that is no pair. Or there is no row at all.
    """
    empty = True
    for _, sides in each_row(source, read_sides):
        empty = False
        yield sides.swift_row()
    if empty:  # said before the end of the rows, so that the file that was there is not replaced
        raise ValueError(f"{source} holds no pair")


def sft_rows(rows: Iterator[dict]) -> Iterator[dict]:
    """Each distinct prompt with its chosen answer once, with its tools and pictures."""
    seen = set()
    for row in rows:
        if (text := str(row["messages"])) not in seen:
            seen.add(text)
            yield {name: value for name, value in row.items() if not name.startswith("rejected_") and name != "margin"}


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("check-pairs", __doc__)
    parser.add_argument("--pairs", required=True, help="file, folder or glob")
    parser.add_argument("--out", type=Path, required=True, help="the checked rows")
    parser.add_argument("--sft", action="store_true", help="write each distinct prompt with its chosen answer once")
    return parser


def main(argv: list[str]) -> int:
    options = make_parser().parse_args(argv)
    rows = checked_pairs(options.pairs)
    if options.sft:
        rows = sft_rows(rows)
    count = write_jsonl(options.out, rows)
    print(f"{count} rows in {options.out}")
    return 0
