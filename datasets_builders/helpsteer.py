"""Preference pairs from the attribute ratings of HelpSteer (https://huggingface.co/datasets/nvidia/HelpSteer).

Each source row is one response with five ratings from 0 to 4. All responses to the same prompt are compared, wherever
in the split they stand: grouping neighbours only would lose the pairs of a prompt that returns later.
"""

import argparse
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from datasets_builders.choices import one_of, positive_integer
from datasets_builders.fields import require_rating, require_text
from datasets_builders.io import SkipCounter
from datasets_builders.messages import Messages
from datasets_builders.output import add_output_arguments, write_pairs
from datasets_builders.pairs import PreferencePair
from datasets_builders.prompt_rows import as_messages, prompt_of
from datasets_builders.scratch import digest, scratch_database
from datasets_builders.source import parse_rows, rows_from

HUB_NAME = "nvidia/HelpSteer"
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
OVERALL = "overall"
LOWEST_RATING, HIGHEST_RATING = 0, 4
FILTERS = ("ties", "below_gap", "identical_responses")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this builder."""
    parser.add_argument(
        "--attribute",
        required=True,
        type=one_of((*ATTRIBUTES, OVERALL)),
        help=f"the rating that decides, one of {', '.join(ATTRIBUTES)}, or {OVERALL}: the sum of all five",
    )
    parser.add_argument("--split", required=True, type=one_of(("train", "validation")), help="train or validation")
    parser.add_argument(
        "--min_gap", type=positive_integer, default=1, help="least rating difference of a pair (default %(default)s)"
    )
    add_output_arguments(parser, max_skipped_share=0.0)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Build the file that the options describe and return the report. Errors: see ``output.write_pairs``."""
    skips = SkipCounter()
    report = new_report(options.attribute, options.split, options.min_gap)
    with scratch_database() as database:
        rows = rows_from(options.source, HUB_NAME, options.split)
        parsed = (rated for _, rated in parse_rows(rows, parse_row, skips, options.max_skipped_share))
        pairs = rated_pairs(parsed, options.attribute, options.min_gap, database, report)
        return write_pairs(pairs, options, skips, report, database)


def new_report(attribute: str, split: str, min_gap: int) -> dict[str, Any]:
    """A report with all its counts at zero."""
    return {
        "dataset": HUB_NAME,
        "attribute": attribute,
        "split": split,
        "min_gap": min_gap,
        "rows": 0,
        "prompts": 0,
        "pairs": 0,
        "filtered": dict.fromkeys(FILTERS, 0),
    }


def parse_row(row: dict[str, Any]) -> tuple[str, str, tuple[int, ...]]:
    """Prompt, response and the five ratings in the order of ``ATTRIBUTES``.

    Raises:
        RowError: a missing or empty field, a conversation with a turn too many or too few (HelpSteer2 marks the turns of
            its prompts), or a rating that is not a whole number from 0 to 4.
    """
    ratings = tuple(require_rating(row, name, LOWEST_RATING, HIGHEST_RATING) for name in ATTRIBUTES)
    prompt, response = require_text(row, "prompt"), require_text(row, "response")
    conversation_of(prompt)
    return prompt, response, ratings


def conversation_of(prompt: str) -> Messages:
    """The messages of the text of a prompt. Errors: see ``prompt_rows.prompt_of``."""
    return as_messages(prompt_of(prompt, "prompt"))


def rated_pairs(
    rows: Iterable[tuple[str, str, tuple[int, ...]]],
    attribute: str,
    min_gap: int,
    database: sqlite3.Connection,
    report: dict[str, Any],
) -> Iterator[PreferencePair]:
    """All unordered pairs of responses to the same prompt whose ratings differ by at least ``min_gap`` points.

    The order is that of the first appearance of the prompt, then (j, k) with j < k in the order of the rows. Memory use
    depends on neither the number of rows nor the size of a group: rows wait in ``database`` and SQLite joins them.

    Args:
        rows: results of ``parse_row``.
        attribute: one of ``ATTRIBUTES``, or ``overall`` for the sum of all five.
        report: its counts ``prompts``, ``pairs`` and ``filtered`` are increased.
    """
    database.execute("CREATE TABLE prompts (first_row INTEGER PRIMARY KEY, digest BLOB UNIQUE, prompt TEXT)")
    database.execute(
        "CREATE TABLE responses (first_row INTEGER, row INTEGER, response TEXT, rating INTEGER, "
        "PRIMARY KEY (first_row, row)) WITHOUT ROWID"
    )
    for row_number, (prompt, response, ratings) in enumerate(rows, start=1):
        rating = sum(ratings) if attribute == OVERALL else ratings[ATTRIBUTES.index(attribute)]
        key = digest(prompt)
        database.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?, ?)", (row_number, key, prompt))
        (first_row,) = database.execute("SELECT first_row FROM prompts WHERE digest = ?", (key,)).fetchone()
        database.execute("INSERT INTO responses VALUES (?, ?, ?, ?)", (first_row, row_number, response, rating))
        report["prompts"] += first_row == row_number

    # CROSS JOIN fixes the loop order, so the primary keys deliver the rows in order and nothing is sorted in memory.
    joined = database.execute(
        "SELECT p.prompt, j.response, k.response, j.rating, k.rating FROM prompts AS p "
        "CROSS JOIN responses AS j ON j.first_row = p.first_row "
        "CROSS JOIN responses AS k ON k.first_row = p.first_row AND k.row > j.row "
        "ORDER BY p.first_row, j.row, k.row"
    )
    for prompt, response_j, response_k, rating_j, rating_k in joined:
        margin = rating_j - rating_k
        if response_j == response_k:
            report["filtered"]["identical_responses"] += 1
        elif margin == 0:
            report["filtered"]["ties"] += 1
        elif abs(margin) < min_gap:
            report["filtered"]["below_gap"] += 1
        else:
            report["pairs"] += 1
            pair = PreferencePair(conversation_of(prompt), response_j, response_k, {"margin": margin})
            yield pair if margin > 0 else pair.swap()
