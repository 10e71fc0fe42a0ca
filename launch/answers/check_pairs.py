"""Checks a file of preference pairs in ms-swift's format row by row and writes it where a pipeline reads it."""

from collections.abc import Iterator
from pathlib import Path

from datasets_builders.command_line import Parser
from datasets_builders.io import read_rows, write_jsonl
from launch.cli.verbs import verb_parser


def checked_pairs(source: str) -> Iterator[dict]:
    """Rows with `messages` (ending with the chosen answer) and `rejected_response`.

    Raises:
        ValueError: the first row that lacks a field, ends with another role, or has two equal or empty answers; the
            file and the line are named. Or there is no row at all.
    """
    line = 0
    for line, row in read_rows(source):
        for name in ("messages", "rejected_response"):
            if not row.get(name):
                raise ValueError(f"{source}:{line}: missing or empty field {name!r}")
        last = row["messages"][-1]
        if last.get("role") != "assistant":
            raise ValueError(f"{source}:{line}: messages must end with the chosen assistant answer, found {last.get('role')!r}")
        if not last["content"].strip() or last["content"] == row["rejected_response"]:
            raise ValueError(f"{source}:{line}: the chosen answer is empty or equals the rejected one")
        yield row
    if line == 0:  # said before the end of the rows, so that the file that was there is not replaced
        raise ValueError(f"{source} holds no pair")


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
        distinct = {str(row["messages"]): {"messages": row["messages"]} for row in rows}
        rows = iter(distinct.values())
    count = write_jsonl(options.out, rows)
    print(f"{count} rows in {options.out}")
    return 0
