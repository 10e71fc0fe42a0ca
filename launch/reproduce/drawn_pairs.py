"""Preference pairs of two objectives, each labelled by Bradley and Terry's draw: `python -m launch.reproduce.drawn_pairs`.

A pair is two continuations of one prompt by the model itself; the first is chosen with probability sigma(SCALE x the
difference of its score). Pairs of equal score stay, their label is a coin's. Beside one file for each objective there is one
of rows of both, shares w and 1 - w, for every w of `--mixtures`: what DPO on weighted losses trains on.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path

from datasets_builders.beside import new_folder
from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_jsonl
from datasets_builders.mistakes import exit_code, run_program
from launch.cli.flags import parse_pairs

PROGRAM = "python -m launch.reproduce.drawn_pairs"


def labelled(
    prompts: Sequence[str],
    sides: Sequence[tuple[str, str]],
    scores: Sequence[tuple[float, float]],
    scale: float,
    draw: random.Random,
) -> list[dict]:
    """One row a pair, the side that was drawn as the better one first."""
    rows = []
    for prompt, (one, two), (first, second) in zip(prompts, sides, scores, strict=True):
        if draw.random() >= 1 / (1 + math.exp(-scale * (first - second))):
            one, two = two, one
        rows.append(
            {
                "prompt": [{"role": "user", "content": prompt}],
                "chosen": [{"role": "assistant", "content": one}],
                "rejected": [{"role": "assistant", "content": two}],
            }
        )
    return rows


def mixture(one: Sequence[dict], two: Sequence[dict], w: float, draw: random.Random) -> list[dict]:
    """As many rows as one of the two has, the share w of them from `one`, shuffled."""
    cut = round(w * len(one))
    rows = [*one[:cut], *two[cut:]]
    draw.shuffle(rows)
    return rows


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="language model that continues the prompts")
    parser.add_argument("--prompts", type=Path, required=True, help="rows with `prompt`")
    parser.add_argument(
        "--objectives",
        nargs=2,
        required=True,
        metavar="NAME=FUNCTION",
        help="two functions, dotted paths; higher is better",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="logits of a point of the score")
    parser.add_argument(
        "--pairs", type=positive_integer, required=True, help="for each objective, of continuations of its own"
    )
    parser.add_argument("--tokens", type=positive_integer, default=20, help="of a continuation")
    parser.add_argument(
        "--mixtures", nargs="*", type=float, default=[], metavar="W", help="weights of the first objective"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when all files are written."""
    args = make_parser().parse_args(argv)
    objectives = parse_pairs(args.objectives, "--objectives")
    from launch.reproduce.continuations import draw, load, read_texts
    from trl_ext.objectives.text import call_text_function

    generator, texts = random.Random(args.seed), read_texts(args.prompts)
    model, tokenizer = load(args.model)
    files: dict[str, list[dict]] = {}
    for number, (name, function) in enumerate(objectives.items()):
        order = generator.sample(texts, len(texts))
        prompts = [order[place % len(order)] for place in range(args.pairs)]
        batches = draw(model, tokenizer, prompts, 2, args.tokens, 2 * args.seed + number)
        replies = [text for batch in batches for text in batch.texts]
        scores = call_text_function(
            function, [p for p in prompts for _ in range(2)], replies, [args.tokens] * len(replies)
        )
        pairs, numbers = (list(zip(both[::2], both[1::2], strict=True)) for both in (replies, scores))
        files[name] = labelled(prompts, pairs, numbers, args.scale, generator)
    one, two = files.values()
    for w in args.mixtures:
        files[f"mixed{w:g}"] = mixture(one, two, w, generator)
    with new_folder(args.out) as folder:
        for name, rows in files.items():
            write_jsonl(folder / f"{name}.jsonl", rows)
    print(f"{args.out}: {args.pairs} pairs in each of {', '.join(files)}")
    return 0


if __name__ == "__main__":
    run_program(lambda argv: exit_code(PROGRAM, lambda: main(argv)))
