"""Rows for a judge that compares two replies: each judgement of HelpSteer2 becomes two prompts, one for each order.

The two rows of a pair follow each other, side 0 (A is ``response_1``) first, and share ``pair_id``; label and strength
hold in the order that the row shows. Both rows of a pair, and all pairs of a prompt, are on one side of the split.
"""

import argparse
from collections import Counter
from pathlib import PurePath
from typing import Any

from datasets_builders.io import SkipCounter, list_files, write_report
from datasets_builders.judging import filters
from datasets_builders.judging.files import names_of
from datasets_builders.judging.filters import Found
from datasets_builders.judging.helpsteer2 import (
    HUB_FOLDER,
    HUB_NAME,
    TEST,
    TRAIN,
    hub_label,
    hub_rows,
    local_rows,
    published_side,
    read_pair,
    require_side,
)
from datasets_builders.judging.outputs import Output, check_outputs, place, write_outputs
from datasets_builders.judging.prompt import LABELS, PairwisePrompt
from datasets_builders.judging.prompt_files import read_examples, read_rubric
from datasets_builders.judging.rows import PairToJudge
from datasets_builders.judging.settings import Settings, add_arguments, read_settings
from datasets_builders.judging.split import split_by_ratio
from datasets_builders.readers.base import Filtered
from datasets_builders.source import parse_rows

__all__ = ["add_arguments", "build", "run"]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Build the files that flags and YAML ask for and return the report. Errors: see ``build``."""
    return build(read_settings(options))


def build(settings: Settings) -> dict[str, Any]:
    """Build the files that the settings ask for and return the report, which is written beside them.

    Raises:
        ValueError: settings without a meaning here, too many unusable rows, nothing left to train on, an output that
            would overwrite an input; no file appears then.
        OSError: the disk is full, or the hub cannot be reached.
    """
    prompt = make_prompt(settings)
    inputs = list_files(settings.path) if settings.path is not None else []
    merged = None if settings.preserve_structure else settings.name
    names = names_of(inputs, merged) if inputs else {hub_label(settings.hub_split): PurePath(merged or HUB_FOLDER)}

    skips, filtered = SkipCounter(), Counter(identical_responses=0)
    found = find_pairs(settings, skips, filtered)
    kept = filter_pairs(found, settings, prompt, filtered)
    report = {
        "dataset": HUB_NAME,
        "source": settings.path or hub_label(settings.hub_split),
        "prompt": prompt.as_dict() | {"max_chars": settings.max_prompt_chars},
        "rows": skips.total,
        **skips.as_dict(),
        "filtered": dict(filtered),
        "pairs": len(kept),
    }
    outputs = place(kept, sides_of(kept, settings, report), names)
    check_outputs(outputs, settings, inputs)
    report |= {side: summary([one for one in outputs if one.side == side]) for side in (TRAIN, TEST)}
    report["files"] = write_outputs(outputs, prompt, settings)
    write_report(PurePath(settings.output_dir, settings.name), report)
    return report


def make_prompt(settings: Settings) -> PairwisePrompt:
    """The prompt of the settings. Errors: those of ``prompt_files`` and of ``PairwisePrompt``."""
    return PairwisePrompt(
        rubric=() if settings.rubric is None else read_rubric(settings.rubric),
        examples=() if settings.examples is None else read_examples(settings.examples),
        thinking=settings.thinking,
        ties=settings.ties == "keep",
    )


def find_pairs(settings: Settings, skips: SkipCounter, filtered: Counter[str]) -> list[Found]:
    """All pairs of the source, in its order. With ``--split_ratio`` a row needs no field ``split``.

    Raises:
        ValueError: a damaged file, or too many unusable rows (at ``max_skipped_share`` 0 the first one).
        OSError: the hub cannot be reached.
    """
    side_of = published_side if settings.split_ratio else require_side
    share = settings.max_skipped_share
    if settings.path is not None:
        rows = local_rows(settings.path, skips, share)
    else:
        rows = hub_rows(settings.hub_split, settings.streaming is not False)
    found = []
    for where, (side, pair) in parse_rows(rows, lambda row: (side_of(row), read_pair(row)), skips, share):
        if isinstance(pair, Filtered):
            filtered[pair.reason] += 1
        else:
            found.append(Found(pair, where.file, side))
    skips.check(share)
    return found


def filter_pairs(found: list[Found], settings: Settings, prompt: PairwisePrompt, filtered: Counter[str]) -> list[Found]:
    """The pairs that the rules leave, in their order.

    Copies are compared before ties are dropped, so that a tie beside a preference still counts as a contradiction.
    """
    kept = found
    if settings.split_ratio is None:
        kept = filters.without_prompts_of_test(kept, filtered)
    kept = filters.without_repeats(kept, filtered)
    if settings.ties == "drop":
        kept = filters.without_ties(kept, filtered)
    if settings.max_prompt_chars is not None:

        def length(pair: PairToJudge) -> int:
            return len(prompt(pair.conversation, *pair.responses))

        kept = filters.without_long_prompts(kept, length, settings.max_prompt_chars, filtered)
    if settings.limit is not None:
        kept = filters.first_of(kept, settings.limit, filtered)
    return kept


def sides_of(kept: list[Found], settings: Settings, report: dict[str, Any]) -> list[str]:
    """The side of each pair; how it was found, and what is odd about it, goes into the report.

    Raises:
        ValueError: nothing to train on; the message has the counts.
    """
    removed = ", ".join(f"{count} {reason}" for reason, count in report["filtered"].items() if count) or "none"
    skipped = ", ".join(f"{one['count']} {reason}" for reason, one in report["skipped"].items()) or "none"
    because = f"{report['rows']} rows of {report['source']}; removed by filters: {removed}; unusable rows: {skipped}"
    if not kept:
        raise ValueError(f"no pair is left of {because}")
    if settings.split_ratio is None:
        report["split"] = "published"
        sides: list[str] = [one.side for one in kept]  # type: ignore[misc]  # `require_side` has seen each
        if TRAIN not in sides:
            raise ValueError(
                f"all {len(kept)} pairs are on the published test side, which leaves nothing to train on; --split_ratio "
                f"1 0 takes them all; {because}"
            )
        return sides
    train, test = settings.split_ratio
    report["split"] = {"train": train, "test": test, "seed": settings.seed}
    sides = split_by_ratio(kept, train, settings.seed)
    moved = sum(one.side == TEST and side == TRAIN for one, side in zip(kept, sides, strict=True))
    if moved:
        report["note"] = f"{moved} pairs of the train side are published for validation; without --split_ratio none is"
    return sides


def summary(outputs: list[Output]) -> dict[str, Any]:
    """Counts of one side of the split; labels are those of side 0, the order of the source."""
    pairs = [pair for output in outputs for pair in output.pairs]
    labels = Counter(pair.label for pair in pairs)
    return {
        "pairs": len(pairs),
        "rows": 2 * len(pairs),
        "prompts": len({pair.prompt_id for pair in pairs}),
        "multi_turn": sum(pair.subset == "multi_turn" for pair in pairs),
        "labels": {label: labels[label] for label in LABELS},
    }
