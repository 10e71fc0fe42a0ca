"""Preference pairs by a function of the text: from sampled completions (best against worst within a prompt), or from
existing pairs, whose sides are swapped where the function says so."""

import argparse
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from datasets_builders.command_line import Parser
from datasets_builders.fields import RowError
from datasets_builders.io import Location, SkipCounter, read_located_rows, read_rows, write_jsonl
from datasets_builders.pair_rows import TwoSides, read_sides
from datasets_builders.pairs import PreferencePair, to_swift
from launch.answers.records import check_record, read_generations, token_counts
from launch.cli.verbs import verb_parser
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


def label_pairs(records: list[dict], function: str, pairs_per_prompt: int = 2) -> Iterator[PreferencePair]:
    """Pairs of one prompt's completions: highest against lowest score, second highest against second lowest, ...

    Args:
        records: generation records with `prompt_id`, `messages`, `prompt`, `response`, `response_tokens`.
        function: name for `trl_ext.objectives.text.get_text_function`; higher is chosen.
        pairs_per_prompt: at most this many pairs per prompt. Ties, and equal or empty responses, make no pair.
    """
    groups = defaultdict(list)
    for record in records:
        groups[record["prompt_id"]].append(record)
    for group in groups.values():
        texts = [record["response"].strip() for record in group]
        tokens = token_counts(group, function)
        scores = call_text_function(function, [record["prompt"] for record in group], texts, tokens)
        order = sorted(range(len(group)), key=lambda index: (-scores[index], index))
        for position in range(min(pairs_per_prompt, len(group) // 2)):
            best, worst = order[position], order[-1 - position]
            if scores[best] > scores[worst] and texts[best] != texts[worst] and texts[best] and texts[worst]:
                meta = {"score_chosen": scores[best], "score_rejected": scores[worst]}
                yield PreferencePair(group[0]["messages"], texts[best], texts[worst], meta)


def relabel_pairs(rows: Iterable[tuple[Location, dict]], function: str, counts: SkipCounter) -> Iterator[TwoSides]:
    """Pairs with the higher-scored answer as chosen; ties make no pair. What a row holds beside its sides stays there.

    `response_tokens` is the number of words here: no tokenizer is at hand.

    Args:
        rows: in any format of `datasets_builders.pair_rows` with one prompt.
        counts: the pairs kept, and by reason those left out: a tie, a blank answer, two equal answers.

    Raises:
        ValueError: a row that is no pair for another reason.
    """
    for where, row in rows:
        try:
            sides = read_sides(row)
            pair = sides.pair()
        except RowError as error:
            if error.reason not in LEFT_OUT:
                raise ValueError(f"{where}: {error}") from error
            counts.skip(error.reason, f"{where}: {error}")
            continue
        texts = [pair.chosen, pair.rejected]
        words = [len(text.split()) for text in texts]
        first, second = call_text_function(function, [pair.prompt[-1]["content"]] * 2, texts, words)
        if first == second:
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
    parser.add_argument("--function", required=True, help="registered function or dotted path; higher is chosen")
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
    if options.pairs is not None:
        found = list(relabel_pairs(read_located_rows(options.pairs), options.function, counts))
        rows = [(str(sides.chosen[:-1]), sides.swift_row()) for sides in found]
    else:
        records = read_samples(options.samples)
        made = label_pairs(records, options.function, options.pairs_per_prompt)
        rows = [(str(pair.prompt), to_swift(pair)) for pair in made]
    for reason, count in counts.skipped.items():
        print(f"{options.pairs}: {count} row{'s' * (count > 1)} left out: {reason} (first: {counts.first[reason]})")
    if not rows:
        raise ValueError(f"{options.pairs or options.samples}: no pair with different {options.function} scores")
    prompts = sorted({prompt for prompt, _ in rows})
    held = set(random.Random(options.seed).sample(prompts, min(options.val_prompts, len(prompts) - 1)))
    kept = write_jsonl(options.out, (row for prompt, row in rows if prompt not in held))
    validation = 0
    if options.val_out is not None:
        validation = write_jsonl(options.val_out, (row for prompt, row in rows if prompt in held))
    print(f"{kept} pairs by {options.function} in {options.out}, {validation} held out")
    return 0


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
