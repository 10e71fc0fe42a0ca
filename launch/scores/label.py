"""Preference pairs by a function of the text or a gold function of D2PO: from sampled completions (best against worst
within a prompt), or from existing pairs, whose sides are swapped where the function says so."""

import argparse
import math
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets_builders.command_line import Parser
from datasets_builders.fields import RowError
from datasets_builders.files.find import paid_folder
from datasets_builders.io import Location, SkipCounter, read_located_rows, read_rows, write_jsonl
from datasets_builders.pair_rows import TwoSides, read_sides
from datasets_builders.pairs import PreferencePair, to_swift
from launch.answers.records import check_record, read_generations, token_counts
from launch.cli.verbs import verb_parser
from launch.scores.gold_arguments import Scorer, add_gold_arguments, gold_of, gold_scorer
from trl_ext.objectives.text import call_text_function

# What a sound file of pairs may hold and a label cannot be given to; any other fault ends the command.
LEFT_OUT = ("empty_reply", "identical_replies", "different_prompts", "no_text")
SAMPLE_KEYS = ("prompt_id", "messages", "prompt", "response", "response_tokens")


def read_samples(source: Path) -> list[dict]:
    """The generation records of a folder that `generate` wrote or of a file; no answer counts twice.

    Raises:
        ValueError: see `read_generations`; for a file, no record of an answer, or one answer that stands there twice.
    """
    if os.path.isdir(source):
        return read_generations(source)
    records, seen = [], set()
    for line, record in read_rows(source):
        check_record(record, f"{source}:{line}", SAMPLE_KEYS)
        key = record["prompt_id"], record.get("sample")
        if key in seen and "sample" in record:
            raise ValueError(f"{source}:{line}: prompt {key[0]} sample {key[1]} appears twice")
        seen.add(key)
        records.append(record)
    return records


def text_scorer(function: str) -> Scorer:
    """The scores of a function that `trl_ext.objectives.text.get_text_function` knows."""

    def score(records: list[dict[str, Any]]) -> list[float]:
        prompts, responses = ([record[name] for record in records] for name in ("prompt", "response"))
        return call_text_function(function, prompts, responses, token_counts(records, function))

    return score


def label_pairs(records: list[dict], score: Scorer, pairs_per_prompt: int = 2) -> Iterator[PreferencePair]:
    """Pairs of one prompt's completions: highest against lowest score, second highest against second lowest, ...

    Args:
        records: generation records with `prompt_id`, `messages`, `prompt`, `response`, `response_tokens`.
        score: higher is chosen; what has no number makes no pair.
        pairs_per_prompt: at most this many pairs per prompt. Ties, and equal or empty responses, make no pair.
    """
    records = [{**record, "response": record["response"].strip()} for record in records]
    groups = defaultdict(list)
    for record, value in zip(records, score(records), strict=True):
        if not math.isnan(value):
            groups[record["prompt_id"]].append((record, value))
    for scored in groups.values():
        group, scores = [record for record, _ in scored], [value for _, value in scored]
        texts = [record["response"] for record in group]
        order = sorted(range(len(group)), key=lambda index: (-scores[index], index))
        for position in range(min(pairs_per_prompt, len(group) // 2)):
            best, worst = order[position], order[-1 - position]
            if scores[best] > scores[worst] and texts[best] != texts[worst] and texts[best] and texts[worst]:
                meta = {"score_chosen": scores[best], "score_rejected": scores[worst]}
                yield PreferencePair(group[0]["messages"], texts[best], texts[worst], meta)


def relabel_pairs(rows: Iterable[tuple[Location, dict]], score: Scorer, counts: SkipCounter) -> Iterator[TwoSides]:
    """Pairs with the higher-scored answer as chosen; ties make no pair. What a row holds beside its sides stays there.

    `response_tokens` is the number of words here: no tokenizer is at hand.

    Args:
        rows: in any format of `datasets_builders.pair_rows` with one prompt.
        score: called once, for all answers; NaN is what a paid function could not rate.
        counts: the pairs kept, and by reason those left out: a tie, a blank answer, two equal answers, no rating.

    Raises:
        ValueError: a row that is no pair for another reason.
    """
    found, answers = [], []
    for where, row in rows:
        try:
            sides = read_sides(row)
            pair = sides.pair()
        except RowError as error:
            if error.reason not in LEFT_OUT:
                raise ValueError(f"{where}: {error}") from error
            counts.skip(error.reason, f"{where}: {error}")
            continue
        found.append((where, sides))
        for text in (pair.chosen, pair.rejected):
            answer = {"prompt": pair.prompt[-1]["content"], "response": text, "response_tokens": len(text.split())}
            answers.append({**answer, "metadata": sides.beside})
    scores = score(answers)
    for (where, sides), first, second in zip(found, scores[::2], scores[1::2], strict=True):
        if math.isnan(first) or math.isnan(second):
            counts.skip(
                "not_rated", f"{where}: the gold function rated {math.isfinite(first) + math.isfinite(second)} of 2"
            )
        elif first == second:
            counts.skip("tie", f"{where}: both answers have the score {first}")
        else:
            counts.keep()
            yield sides if first > second else sides.swap()


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("label", __doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--samples", type=Path, help="folder or file of generation records")
    source.add_argument(
        "--pairs", type=Path, help="preference pairs, in any format that check-pairs reads, to label anew"
    )
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("--function", help="registered function or dotted path; higher is chosen")
    add_gold_arguments(parser, by)
    parser.add_argument("--out", type=Path, required=True, help="pairs in ms-swift's format")
    parser.add_argument("--val_out", type=Path, help="held-out pairs, split by prompt")
    parser.add_argument("--val_prompts", type=int, default=0, help="number of prompts held out")
    parser.add_argument(
        "--pairs_per_prompt", type=int, default=2, help="at most so many pairs of each prompt's answers"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of held-out prompts")
    return parser


def main(argv: list[str]) -> int:
    options = make_parser().parse_args(argv)
    check_places(options)
    counts = SkipCounter()
    gold = gold_of(options, paid_folder(options.out)) if options.gold else None
    score = text_scorer(options.function) if gold is None else gold_scorer(gold)
    try:
        rows = labelled_rows(options, score, counts)
    except OSError as problem:
        if gold is None or not gold.costs_money:  # the disk
            raise
        print(f"label: {problem}; the answers so far are kept, the same command goes on", file=sys.stderr)
        return 1
    finally:
        if gold is not None:
            gold.close()
    for reason, count in counts.skipped.items():
        print(f"{options.pairs}: {count} row{'s' * (count > 1)} left out: {reason} (first: {counts.first[reason]})")
    if not rows:
        raise ValueError(
            f"{options.pairs or options.samples}: no pair with different {options.function or options.gold} scores"
        )
    prompts = sorted({prompt for prompt, _ in rows})
    held = set(random.Random(options.seed).sample(prompts, min(options.val_prompts, len(prompts) - 1)))
    kept = write_jsonl(options.out, (row for prompt, row in rows if prompt not in held))
    validation = 0
    if options.val_out is not None:
        validation = write_jsonl(options.val_out, (row for prompt, row in rows if prompt in held))
    print(f"{kept} pairs by {options.function or options.gold} in {options.out}, {validation} held out")
    return 0


def labelled_rows(options: argparse.Namespace, score: Scorer, counts: SkipCounter) -> list[tuple[str, dict]]:
    """(prompt, row in ms-swift's format) of every pair. Errors: see `relabel_pairs` and `read_samples`."""
    if options.pairs is not None:
        found = relabel_pairs(read_located_rows(options.pairs), score, counts)
        return [(str(sides.chosen[:-1]), sides.swift_row()) for sides in found]
    made = label_pairs(read_samples(options.samples), score, options.pairs_per_prompt)
    return [(str(pair.prompt), to_swift(pair)) for pair in made]


def check_places(options: argparse.Namespace) -> None:
    """Refuses outputs of which one would replace the other, or held-out pairs that nobody writes."""
    if options.val_prompts < 0:
        raise ValueError(f"--val_prompts is {options.val_prompts}: a number of at least 0 is valid")
    if options.val_prompts and options.val_out is None:
        raise ValueError(f"--val_prompts {options.val_prompts} needs --val_out, the file of the pairs held out")
    if options.val_out is not None and os.path.realpath(options.val_out) == os.path.realpath(options.out):
        raise ValueError(
            f"--val_out {options.val_out} is the file of --out: the held-out pairs would replace the others"
        )
