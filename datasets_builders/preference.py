"""Preference pairs from published sets, one reader a set (see ``datasets_builders.readers``).

Sets without a validation split give 90 % of their train split as ``train`` and 10 % as ``validation``. Which side a row
falls on is decided by a hash of its prompt, where the reference implementation draws a seeded permutation of the rows:
a permutation needs the number of rows before the first is written, a hash can be applied to a stream. It also keeps all
pairs of one prompt on one side, so no prompt is both trained on and validated on, and a row keeps its side when the set
grows. The shares are therefore 90/10 in expectation, and the rows are not those of the reference.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from datasets_builders.choices import gap, nearest, one_of
from datasets_builders.io import SkipCounter
from datasets_builders.output import add_output_arguments, write_pairs
from datasets_builders.pairs import Message, PreferencePair
from datasets_builders.readers import MODULES, Filtered, Part, Rules, SetReader, get_reader
from datasets_builders.scratch import digest
from datasets_builders.source import parse_rows, rows_from

BUCKETS = 100
ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this builder."""
    parser.add_argument("--dataset", required=True, type=one_of(MODULES), help=f"one of {', '.join(MODULES)}")
    parser.add_argument(
        "--dimension", help="the judgement that decides, where the set has several (default: its first)"
    )
    parser.add_argument("--split", required=True, help=f"a split of the set, or {ALL}: every row of --source")
    parser.add_argument("--hub_name", help="another hub data set with the same fields, such as a smaller edition")
    parser.add_argument("--min_gap", type=gap, help="least rating difference of a pair (ultrafeedback: default 1.0)")
    parser.add_argument("--anchor_dimension", help="a second rating that must also tell the two replies apart")
    parser.add_argument("--min_anchor_gap", type=gap, help="least difference of the second rating (default 0)")
    parser.add_argument(
        "--agreement",
        type=one_of(("require", "forbid")),
        help="require or forbid that the second rating prefers the same reply (default: either)",
    )
    add_output_arguments(parser, max_skipped_share=0.05)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Build the file that the options describe and return the report. Errors: see ``output.write_pairs``."""
    reader = get_reader(options.dataset)
    rules = resolve_rules(reader, options)
    part = resolve_split(reader, options)
    skips = SkipCounter()
    hub_name = options.hub_name or reader.hub_name
    report = {
        "dataset": hub_name,
        "dimension": rules.dimension,
        "split": options.split,
        "min_gap": rules.min_gap,
        "anchor_dimension": rules.anchor_dimension,
        "min_anchor_gap": rules.min_anchor_gap,
        "agreement": rules.agreement,
        "rows": 0,
        "pairs": 0,
        "filtered": Counter(),
    }
    hub_options: dict[str, str | None] = dict(reader.hub_options)
    if reader.dimension_is_folder:
        hub_options["data_dir"] = rules.dimension
    rows = rows_from(options.source, hub_name, part.published_split, **hub_options)
    parsed = parse_rows(rows, lambda row: list(reader.read(row, rules)), skips, options.max_skipped_share)
    pairs = kept_pairs((outcomes for _, outcomes in parsed), part, report)
    return write_pairs(pairs, options, skips, report)


def content_bucket(prompt: list[Message]) -> int:
    """A number from 0 to 99 that depends on the text of the prompt only."""
    texts = [text for message in prompt for text in (message["role"], message["content"])]
    return int.from_bytes(digest(*texts)[:8], "big") % BUCKETS


def kept_pairs(
    outcomes_of_rows: Iterable[list[PreferencePair | Filtered]], part: Part, report: dict[str, Any]
) -> Iterator[PreferencePair]:
    """The pairs of the wanted part; counts ``pairs`` and, by reason, ``filtered`` in the report."""
    for outcomes in outcomes_of_rows:
        for outcome in outcomes:
            if isinstance(outcome, Filtered):
                report["filtered"][outcome.reason] += 1
            elif part.low <= content_bucket(outcome.prompt) < part.high:
                report["pairs"] += 1
                yield outcome
            else:
                report["filtered"]["other_split"] += 1


def resolve_rules(reader: SetReader, options: argparse.Namespace) -> Rules:
    """The rules that the options ask for, checked against what the set offers.

    Raises:
        ValueError: an unknown dimension (the nearest is offered), or an option that has no meaning for this set.
    """
    if reader.dimension_is_folder and options.source is not None and options.dimension is not None:
        raise ValueError(
            f"--dimension names a folder of {reader.hub_name} on the hub; with --source give the file of that folder"
        )
    dimension = _dimension(reader, "--dimension", options.dimension)
    if dimension is None and reader.dimensions and not (reader.dimension_is_folder and options.source is not None):
        dimension = reader.dimensions[0]
    anchor = _dimension(reader, "--anchor_dimension", options.anchor_dimension)
    if not reader.rated:
        for name in ("min_gap", "anchor_dimension", "min_anchor_gap", "agreement"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name} needs ratings, and dataset {options.dataset} has none")
    if anchor is None and (options.min_anchor_gap is not None or options.agreement is not None):
        raise ValueError("--min_anchor_gap and --agreement need --anchor_dimension")
    if anchor is not None and anchor == dimension:
        raise ValueError(f"--anchor_dimension {anchor} is the same as --dimension; choose another")
    return Rules(
        dimension=dimension,
        min_gap=reader.default_min_gap if options.min_gap is None else options.min_gap,
        anchor_dimension=anchor,
        min_anchor_gap=options.min_anchor_gap or 0.0,
        agreement=options.agreement,
    )


def resolve_split(reader: SetReader, options: argparse.Namespace) -> Part:
    """The part of a published split that ``--split`` names.

    Raises:
        ValueError: an unknown split (the nearest is offered), or ``all`` without ``--source``.
    """
    if options.split == ALL and options.source is not None:
        return Part(ALL)
    if options.split not in reader.splits:
        valid = [*reader.splits, ALL] if options.source is not None else list(reader.splits)
        raise ValueError(f"unknown --split {options.split!r} of {options.dataset}; {nearest(options.split, valid)}")
    return reader.splits[options.split]


def _dimension(reader: SetReader, option: str, value: str | None) -> str | None:
    if value is not None and value not in reader.dimensions:
        hint = (
            nearest(value, reader.dimensions)
            if reader.dimensions
            else "it has one judgement only; leave the option out"
        )
        raise ValueError(f"unknown {option} {value!r} of {reader.hub_name}; {hint}")
    return value
