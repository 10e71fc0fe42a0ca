"""Preference pairs by a function of the text: from sampled completions (best against worst within a prompt), or from
existing pairs, whose sides are swapped where the function says so."""

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from datasets_builders.command_line import Parser
from datasets_builders.io import read_rows, write_jsonl
from datasets_builders.pairs import PreferencePair, to_swift
from launch.answers.records import read_generations, token_counts
from launch.cli.verbs import verb_parser
from trl_ext.objectives.text import call_text_function


def read_samples(source: Path) -> list[dict]:
    """The generation records of a folder that `generate` wrote or of a file; no answer counts twice.

    Raises:
        ValueError: see `read_generations`; for a file, one answer that stands there twice.
    """
    if source.is_dir():
        return read_generations(source)
    records, seen = [], set()
    for line, record in read_rows(source):
        if lost := [name for name in ("prompt_id", "messages", "prompt", "response") if name not in record]:
            raise ValueError(f"{source}:{line}: no field {', '.join(lost)}: records of `generate` are needed")
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


def relabel_pairs(rows: Iterator[dict], function: str) -> Iterator[PreferencePair]:
    """Pairs in ms-swift's format with the higher-scored answer as chosen; ties make no pair.

    `response_tokens` is the number of words here: no tokenizer is at hand.
    """
    for row in rows:
        prompt, texts = row["messages"][:-1], [row["messages"][-1]["content"], row["rejected_response"]]
        words = [len(text.split()) for text in texts]
        first, second = call_text_function(function, [prompt[-1]["content"]] * 2, texts, words)
        if first != second:
            pair = PreferencePair(prompt, texts[0], texts[1], {"margin": first - second})
            yield pair if first > second else pair.swap()


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("label", __doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--samples", type=Path, help="folder or file of generation records")
    source.add_argument("--pairs", type=Path, help="pairs in ms-swift's format to label anew")
    parser.add_argument("--function", required=True, help="registered function or dotted path; higher is chosen")
    parser.add_argument("--out", type=Path, required=True, help="pairs in ms-swift's format")
    parser.add_argument("--val_out", type=Path, help="held-out pairs, split by prompt")
    parser.add_argument("--val_prompts", type=int, default=0, help="number of prompts held out")
    parser.add_argument("--pairs_per_prompt", type=int, default=2, help="at most so many pairs of each prompt's answers")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of held-out prompts")
    return parser


def main(argv: list[str]) -> int:
    options = make_parser().parse_args(argv)
    if options.pairs is not None:
        pairs = list(relabel_pairs((row for _, row in read_rows(options.pairs)), options.function))
    else:
        records = read_samples(options.samples)
        pairs = list(label_pairs(records, options.function, options.pairs_per_prompt))
    if not pairs:
        raise ValueError(f"{options.pairs or options.samples}: no pair with different {options.function} scores")
    prompts = sorted({str(pair.prompt) for pair in pairs})
    held = set(random.Random(options.seed).sample(prompts, min(options.val_prompts, len(prompts) - 1)))
    kept = write_jsonl(options.out, (to_swift(pair) for pair in pairs if str(pair.prompt) not in held))
    validation = 0
    if options.val_out is not None:
        validation = write_jsonl(options.val_out, (to_swift(pair) for pair in pairs if str(pair.prompt) in held))
    print(f"{kept} pairs by {options.function} in {options.out}, {validation} held out")
    return 0
