"""Pairs of answers to a question, as reward models are trained on them: ``question, response_j, response_k``.

``response_j`` is the preferred answer. ``magnitude``, where a row has one, says by how much, in the unit of the scores
that the pairs were made from; both upstreams subtract it from the score difference as ``margin``:
-log sigmoid(r_j - r_k - magnitude). Rows in the formats of ms-swift and TRL are read too, see ``pair_rows``.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from datasets_builders.choices import one_of
from datasets_builders.fields import RowError
from datasets_builders.io import SkipCounter, read_located_rows
from datasets_builders.output import add_output_arguments, write_pairs
from datasets_builders.pair_rows import read_pair
from datasets_builders.pairs import MARGIN_WRITERS, PREFERENCE_WRITERS, PreferencePair
from datasets_builders.preference import ALL, kept_pairs
from datasets_builders.readers.base import Filtered, Part
from datasets_builders.scratch import SeenOnDisk, scratch_database
from datasets_builders.source import parse_rows
from datasets_builders.text_forms import BEFORE_ANSWER, to_texts

SPLITS = {ALL: Part(ALL), "train": Part(ALL, 0, 90), "validation": Part(ALL, 90, 100)}
# Both trainers hold margins in single precision, where a larger number is infinite.
LARGEST_MAGNITUDE = 3.4028234663852886e38


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this builder."""
    parser.add_argument("--magnitude", action="store_true", help="write the column magnitude as margin of the loss")
    parser.add_argument(
        "--split",
        type=one_of(SPLITS),
        default=ALL,
        help="all (default), or 90 %% of the questions as train and the others as validation, by a hash of their text",
    )
    parser.add_argument(
        "--text_form",
        type=one_of(("chat", *BEFORE_ANSWER)),
        default="chat",
        help="chat: messages (default); question_answer or plain: texts, for --format trl and a tokenizer without a "
        "chat template",
    )
    add_output_arguments(parser, max_skipped_share=0.05)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Build the file that the options describe and return the report. Errors: see ``output.write_pairs``."""
    if options.source is None:
        raise ValueError("--source is needed: a file (JSONL, JSON, CSV, TSV, Parquet, Arrow), a folder or a glob")
    if options.sft and options.magnitude:
        raise ValueError("--magnitude has no meaning with --sft: supervised rows hold no margin")
    texts = options.text_form != "chat"
    if texts and (options.format != "trl" or options.sft):
        raise ValueError(
            f"--text_form {options.text_form} is for pairs that TRL reads: use it with --format trl, without --sft"
        )
    skips = SkipCounter()
    report = {"split": options.split, "magnitude": options.magnitude, "rows": 0, "pairs": 0, "filtered": Counter()}
    rows = read_located_rows(options.source)
    parsed = parse_rows(rows, lambda row: read(row, options.magnitude, texts), skips, options.max_skipped_share)
    with scratch_database() as connection:
        outcomes = without_repeats((outcome for _, outcome in parsed), SeenOnDisk(connection))
        pairs = kept_pairs(([outcome] for outcome in outcomes), SPLITS[options.split], report)
        writers = MARGIN_WRITERS if options.magnitude else PREFERENCE_WRITERS
        writers = {"trl": to_texts(options.text_form)} if texts else writers
        # A database of its own for --sft: the two sets of seen texts are different ones.
        return write_pairs(pairs, options, skips, report, writers=writers)


def read(row: Mapping[str, Any], magnitude: bool, alone: bool = False) -> PreferencePair | Filtered:
    """The pair of one row, or why it is left out.

    Args:
        magnitude: the row's ``magnitude`` becomes ``meta["margin"]``.
        alone: leave out what is more than one question.

    Raises:
        RowError: a field is missing or holds what is no text (no number, for the magnitude).
    """
    try:
        pair = read_pair(row)
    except RowError as error:
        if error.reason.startswith("empty_"):
            return Filtered(error.reason)
        if error.reason == "identical_replies":
            return Filtered("identical_responses")
        raise
    if alone and len(pair.prompt) > 1:
        return Filtered("several_messages")
    meta = {}
    if magnitude:
        if row.get("magnitude") is None:
            raise RowError(
                "missing_field",
                "no 'magnitude', which --magnitude asks for (leave that flag out where rows have none); "
                f"the row has: {', '.join(sorted(row))}",
            )
        value = _number(row["magnitude"])
        if not abs(value) <= LARGEST_MAGNITUDE:
            return Filtered("magnitude_not_finite")
        if value <= 0:
            return Filtered("magnitude_not_positive")
        meta = {"margin": value}
    return replace(pair, meta=meta)


def without_repeats(
    outcomes: Iterable[PreferencePair | Filtered], seen: SeenOnDisk
) -> Iterator[PreferencePair | Filtered]:
    """The outcomes, with ``Filtered("duplicates")`` in place of a question whose two answers came before, so ordered."""
    for outcome in outcomes:
        if isinstance(outcome, PreferencePair) and not seen.add(
            *(message["content"] for message in outcome.prompt), outcome.chosen, outcome.rejected
        ):
            outcome = Filtered("duplicates")
        yield outcome


def _number(value: Any) -> float:
    """A number, which a CSV cell holds as text; not a number and infinities included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RowError("wrong_type", f"field 'magnitude' must be a number, found {value!r:.60}")
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError as error:
        raise RowError("wrong_type", f"field 'magnitude' must be a number, found {value!r:.60}") from error
