"""Rows for supervised training from what a teacher wrote: the prompt, and an answer in the prompt's own style.

The teacher's text is never copied whole: its score and its reason are taken apart and put together again as the prompt
asks for them, so a teacher that reasons first serves a prompt that wants the score first, and there is one score tag.
"""

import argparse
import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from datasets_builders.choices import gap, share
from datasets_builders.command_line import Parser
from datasets_builders.fields import RowError, require, require_rating, require_text
from datasets_builders.io import Location, SkipCounter, read_located_rows, write_jsonl, write_report
from datasets_builders.pairs import assistant, user
from datasets_builders.scoring.parsers import SCALES, Scale
from datasets_builders.scoring.prompt import PointwisePrompt
from datasets_builders.scoring.prompts import get_prompt
from datasets_builders.scratch import digest

RESULTS = "results.jsonl"
PREFERRED_ONLY = (
    "only the preferred replies are written, so the scores are higher than those of all replies and a model learns to "
    "score high; --include_both_sides writes the others too"
)

_NUMBER = r"[0-9]{1,3}(?:\.[0-9]+)?"
_TAG = re.compile(r"[*_`]*<\s*s\s*>[^<>\n]{0,20}<\s*/\s*s\s*>[*_`]*", re.IGNORECASE)
_LONE_TAG = re.compile(r"<\s*/?\s*s\s*>", re.IGNORECASE)
_HEADER = re.compile(
    r"[*_#]*={3,}[ \t*_#]*(?:EVAL[ \t]+[0-9]{1,4}|RESPONSE[ \t]+[AB])[ \t*_#]*={3,}[*_]*", re.IGNORECASE
)
# "Score: 75", "**Score** - 75/100", on either end of the reason and with nothing else behind it in the same clause.
_LABELLED = rf"[*_]*(?:final |overall )?(?:score|rating|grade)[*_]*\s*[:=–—-][\s*_]*{_NUMBER}(?:\s*/\s*[0-9]+)?[*_]*"
_LEADING_LABEL = re.compile(rf"\A{_LABELLED}(?![0-9])(?:\s*[.,;:–—-]+(?=\s|\Z))?\s*", re.IGNORECASE)
_TRAILING_LABEL = re.compile(rf"(?:\A|(?<=[.!?\n]))\s*{_LABELLED}\s*\.?\Z", re.IGNORECASE)
# The empty label is what a tag leaves: "Score: <s>75</s>".
_EMPTY_LABEL = r"[*_]*(?:final |overall )?(?:score|rating|grade)[*_]*\s*[:=][*_]*"
_LEADING_EMPTY_LABEL = re.compile(rf"\A{_EMPTY_LABEL}\s*(?=\n|\Z)", re.IGNORECASE)
_TRAILING_EMPTY_LABEL = re.compile(rf"(?:\A|(?<=[.!?\n]))\s*{_EMPTY_LABEL}\s*\Z", re.IGNORECASE)
# A number followed by punctuation is a score that was written once more; "2 reasons" is the reason itself.
_LEADING_NUMBER = re.compile(rf"\A{_NUMBER}(?:\s*/\s*[0-9]+)?\s*(?:[:;,.)–—-]+(?=\s|\Z)|(?=\n|\Z))\s*")
_LEADING_RULE = re.compile(r"\A(?:[–—:;,.]|-(?![0-9]))+\s+")


def add_arguments(parser: Parser) -> None:
    """Declare the options of this builder."""
    add = parser.add_argument
    add("--input", required=True, nargs="+", help=f"folders of the teacher builder, their {RESULTS}, or globs of them")
    add("--out", required=True, help="JSONL file to write; a report goes to __reports__ beside it")
    parser.rename("--input_dirs", "--input")  # both: the reference's script
    parser.rename("--output", "--out")
    add("--prompt", required=True, help="name of the pointwise prompt to train for")
    add("--split", default="train", help="the split that all records must come from (default %(default)s)")
    add("--filter_correct", action="store_true", help="keep pairs where the teacher scored the preferred reply higher")
    add("--include_both_sides", action="store_true", help="write both replies of a pair (default: the preferred one)")
    add("--min_margin", type=gap, default=0.0, help="least difference of the two scores (default 0)")
    add(
        "--max_skipped_share",
        type=share,
        default=0.2,
        help="fail when more than this share of the pairs is unusable or unscored (default %(default)s)",
    )


@dataclass(frozen=True)
class Scored:
    """One pair with both scores, as the teacher builder wrote it."""

    dataset: str
    split: str
    scale: str
    index: int
    context: str
    responses: list[str]
    preferred: int
    scores: list[float]
    reasons: list[str]


class Example(NamedTuple):
    """One row to write, before it is known to be the only one of its prompt and reply."""

    key: bytes
    score: float
    row: dict[str, Any]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Build the file that the options describe and return the report.

    Raises:
        ValueError: nothing to read, records of another split or scale, too many unusable pairs, or nothing left.
        OSError: the disk is full.
    """
    prompt = get_prompt(options.prompt)
    skips, filtered = SkipCounter(), Counter[str]()
    pairs = _parsed(chain.from_iterable(map(read_located_rows, find_results(options.input))), skips)
    matching = list(_same_source(pairs, options.split, prompt.scale))
    skips.check(options.max_skipped_share)
    kept = [pair for pair in matching if _wanted(pair, options, filtered)]
    rows, scores = _distinct((one for pair in kept for one in _examples(pair, prompt, options)), filtered)
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in (filtered + Counter(skips.skipped)).items())
        raise ValueError(f"no row is left of {skips.total} pairs: {reasons or 'the input is empty'}")
    report = {
        "prompt": prompt.name,
        "split": options.split,
        "pairs": skips.total,
        "pairs_kept": len(kept),
        "filtered": dict(filtered),
        **skips.as_dict(),
        "written": write_jsonl(options.out, rows),
        "score": {"mean": fmean(scores), "min": min(scores), "max": max(scores)},
        "histogram": _histogram(scores, prompt.scale),
        "warning": None if options.include_both_sides else PREFERRED_ONLY,
    }
    write_report(options.out, report)
    return report


def find_results(inputs: Iterable[str]) -> list[Path]:
    """The results files that files, folders and globs name, each once, in the order given.

    Raises:
        ValueError: one of them names none.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        paths = [Path(text)] if Path(text).exists() else [Path(match) for match in sorted(glob.glob(text))]
        files = [path / RESULTS if path.is_dir() else path for path in paths]
        files = [file for file in files if file.is_file()]
        if not files:
            raise ValueError(f"--input {text}: no {RESULTS} there; a collection writes it when it has finished")
        found |= dict.fromkeys(file.resolve() for file in files)
    return list(found)


def _parsed(rows: Iterable[tuple[Location, dict[str, Any]]], skips: SkipCounter) -> Iterator[tuple[Location, Scored]]:
    for where, row in rows:
        try:
            pair = _parse(row)
        except RowError as error:
            skips.skip(error.reason, f"{where}: {error}")
        else:
            skips.keep()
            yield where, pair


def _parse(row: dict[str, Any]) -> Scored:
    scores, reasons, responses = (_two(row, name) for name in ("scores", "reasons", "responses"))
    if None in scores:
        raise RowError("unscored", f"a score is missing: {row.get('error')}")
    if not all(isinstance(score, int | float) and not isinstance(score, bool) for score in scores):
        raise RowError("wrong_type", f"field 'scores' must hold two numbers, found {scores!r}")
    if not all(isinstance(text, str) for text in (*reasons, *responses)):
        raise RowError("wrong_type", "fields 'reasons' and 'responses' must hold texts")
    dataset, split, scale_name = (require_text(row, name) for name in ("dataset", "split", "scale"))
    scale = SCALES.get(scale_name)
    if scale is not None and not all(scale.low <= score <= scale.high for score in scores):
        raise RowError("off_scale", f"field 'scores' holds {scores!r}, which is off the scale {scale.name}")
    index = require(row, "index")
    if not isinstance(index, int):
        raise RowError("wrong_type", f"field 'index' must be a whole number, found {index!r:.60}")
    preferred = require_rating(row, "preferred", 0, 1)
    context = require_text(row, "context")
    return Scored(dataset, split, scale_name, index, context, responses, preferred, scores, reasons)


def _two(row: dict[str, Any], name: str) -> list[Any]:
    value = require(row, name)
    if not isinstance(value, list) or len(value) != 2:
        raise RowError("wrong_type", f"field {name!r} must be a list of two, found {value!r:.60}")
    return value


def _same_source(pairs: Iterable[tuple[Location, Scored]], split: str, scale: Scale) -> Iterator[Scored]:
    """Passes on the pairs; refuses all of them when any comes from another split or scale.

    Replies of another split could be those that the model is evaluated on, and 3 of 5 is no 3 of 100.
    """
    others: Counter[str] = Counter()
    first: dict[str, Location] = {}
    for where, pair in pairs:
        kind = f"split {pair.split!r}" if pair.split != split else f"scale {pair.scale!r}"
        if pair.split == split and pair.scale == scale.name:
            yield pair
        else:
            others[kind] += 1
            first.setdefault(kind, where)
    if others:
        found = "; ".join(f"{count} of {kind} (first: {first[kind]})" for kind, count in others.items())
        raise ValueError(f"records that are not of --split {split} with scores of {scale.name}: {found}")


def _wanted(pair: Scored, options: argparse.Namespace, filtered: Counter[str]) -> bool:
    margin = pair.scores[pair.preferred] - pair.scores[1 - pair.preferred]
    if options.filter_correct and margin <= 0:
        filtered["tie" if margin == 0 else "wrong"] += 1
        return False
    if abs(margin) < options.min_margin:
        filtered["small_margin"] += 1
        return False
    return True


def _examples(pair: Scored, prompt: PointwisePrompt, options: argparse.Namespace) -> Iterator[Example]:
    for side in (0, 1) if options.include_both_sides else (pair.preferred,):
        question = prompt(pair.context, pair.responses[side])
        answer = compose_answer(prompt, pair.scores[side], pair.reasons[side])
        row = {"messages": [user(question), assistant(answer)], "pair_id": pair.index, "side": side}
        row |= {"preferred_side": pair.preferred, "prompt_name": prompt.name}
        row |= {"dataset": pair.dataset, "split": pair.split, "score": pair.scores[side]}
        yield Example(digest(question), pair.scores[side], row)


def _distinct(examples: Iterable[Example], filtered: Counter[str]) -> tuple[list[dict[str, Any]], list[float]]:
    """The first row of each prompt and reply; later ones are counted, apart when they give another score."""
    kept: dict[bytes, Example] = {}
    for one in examples:
        earlier = kept.setdefault(one.key, one)
        if earlier is not one:
            filtered["duplicate" if earlier.score == one.score else "conflicting_duplicate"] += 1
    return [one.row for one in kept.values()], [one.score for one in kept.values()]


def _histogram(scores: Iterable[float], scale: Scale) -> dict[str, int]:
    """Counts by ten equal bands of the scale, the lower end of each as its name."""
    width = (scale.high - scale.low) / 10
    counts = Counter(min(int((score - scale.low) / width), 9) for score in scores)
    return {f"{scale.low + band * width:g}": counts[band] for band in range(10)}


def compose_answer(prompt: PointwisePrompt, score: float, reason: str) -> str:
    """The answer that the prompt asks for, with the teacher's score and the reason without its score.

    Raises:
        ValueError: the score is off the scale of the prompt.
    """
    return prompt.compose(score, clean_reason(reason))


def clean_reason(text: str) -> str:
    """The reason of a teacher's section: without tags, headers, and repetitions of the score on either end.

    A number that belongs to the sentence stays: "2 reasons speak for it".
    """
    text = _LONE_TAG.sub("", _TAG.sub("", _HEADER.sub("", text))).strip()
    while True:
        shorter = text
        for pattern in (
            _LEADING_LABEL,
            _LEADING_EMPTY_LABEL,
            _LEADING_NUMBER,
            _LEADING_RULE,
            _TRAILING_LABEL,
            _TRAILING_EMPTY_LABEL,
        ):
            shorter = pattern.sub("", shorter).strip()
        if shorter == text:
            return text
        text = shorter
