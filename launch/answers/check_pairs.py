"""Checks a file of preference pairs row by row and writes it in ms-swift's format, where a pipeline reads it.

Every row is read; the rows that are no pairs are counted by reason, and then nothing is written (exit code 2).
"""

from collections.abc import Iterator
from pathlib import Path

from datasets_builders.command_line import Parser
from datasets_builders.fields import RowError
from datasets_builders.io import BadLine, read_located_rows, write_jsonl
from datasets_builders.pair_rows import read_sides
from datasets_builders.scratch import SeenOnDisk, scratch_database
from launch.cli.verbs import verb_parser

SHOWN = 3  # places of one reason that are named


class BadRows:
    """The rows that are no pairs: their number by reason, and the places of the first few of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.message: dict[str, str] = {}  # of the first row of each reason, with its place
        self.places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str, message: str) -> None:
        """Counts one row; `message` begins with its `place`."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.message.setdefault(reason, message)
        places = self.places.setdefault(reason, [])
        if len(places) < SHOWN:
            places.append(place)

    def refuse(self, total: int) -> None:
        """Raises ValueError when a row was counted: a single one by itself, several by reason, out of `total` rows."""
        bad = sum(self.counts.values())
        if bad == 1:
            raise ValueError(next(iter(self.message.values())))
        if bad:
            reasons = (f"{count} x {reason} ({self._shown(reason)})" for reason, count in self.counts.items())
            raise ValueError(f"{bad} of {total} rows are no pairs: {'; '.join(reasons)}")

    def _shown(self, reason: str) -> str:
        others = ", ".join(self.places[reason][1:])
        more = ", ..." if self.counts[reason] > SHOWN else ""
        return self.message[reason] + (f"; also {others}{more}" if others else "")


def checked_pairs(source: str) -> Iterator[dict]:
    """Rows with `messages` (ending with the chosen answer) and `rejected_response` or `rejected_messages`, and what the
    rows hold beside them; which formats are read, see `datasets_builders.pair_rows`. After a row that is no pair the others
    are still read, and no more are given.

    Raises:
        ValueError: at the end of the rows, for those that are no pairs, see `BadRows.refuse`. Or there is no row at all.
    """
    bad, total = BadRows(), 0

    def count_line(line: BadLine) -> None:
        nonlocal total
        total += 1
        bad.add(line.reason, str(line).split(": ", 1)[0], str(line))

    for where, row in read_located_rows(source, count_line):
        total += 1
        try:
            found = read_sides(row).swift_row()
        except RowError as error:
            bad.add(error.reason, str(where), f"{where}: {error}")
            continue
        if not bad.counts:
            yield found
    bad.refuse(total)
    if not total:  # said before the end of the rows, so that the file that was there is not replaced
        raise ValueError(f"{source} holds no pair")


def sft_rows(rows: Iterator[dict]) -> Iterator[dict]:
    """Each distinct prompt with its chosen answer once, with its tools and pictures."""
    with scratch_database() as connection:
        seen = SeenOnDisk(connection)
        for row in rows:
            if seen.add(repr(row["messages"])):
                yield {
                    name: value for name, value in row.items() if not name.startswith("rejected_") and name != "margin"
                }


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
