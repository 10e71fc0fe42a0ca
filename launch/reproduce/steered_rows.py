"""Supervised rows of the made language that follow MOODPO's weight instruction: `python -m launch.reproduce.steered_rows`.

A prompt is the beginning of a sentence as any other. In what follows, the nouns keep to the topic of one of two objectives:
for a sentence it is drawn with the weights that the instruction asks for.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer, share
from datasets_builders.command_line import Parser
from datasets_builders.io import write_jsonl
from datasets_builders.mistakes import exit_code, run_program
from launch.cli.flags import parse_pairs
from launch.moodpo.steered import SteeredForm, load_form
from launch.moodpo.weights import lattice
from launch.reproduce.grammar import STOP, fill, language, skeleton
from launch.reproduce.sentences import PROMPT_WORDS
from launch.reproduce.words import TOPICS

PROGRAM = "python -m launch.reproduce.steered_rows"
KEEP = 0.9  # of the nouns of an answer that belong to a topic: in plain text half, from which little is learnt


def continued(
    generator: random.Random, topics: Sequence[str], weights: Sequence[float], length: int
) -> tuple[list[str], list[str]]:
    """The words of a prompt and the `length` words that go on from it."""
    kinds = skeleton(generator)
    prompt = fill(generator, kinds[:PROMPT_WORDS], language().choice.draw(generator))
    answer: list[str] = []
    kinds = kinds[PROMPT_WORDS:]
    while len(answer) < length:
        topic = topics[0] if generator.random() < weights[0] else topics[1]
        answer += [*fill(generator, kinds, topic, KEEP), STOP]
        kinds = skeleton(generator)
    return prompt, answer[:length]


def make_rows(
    form: SteeredForm, topics: dict[str, str], rows: int, steps: int, vertex: float, length: int, seed: int
) -> list[dict]:
    """Rows of `prompt` and `completion`: the share `vertex` asks for one objective alone, the others for any weights alike."""
    generator, vectors = random.Random(f"{seed} steered"), lattice(2, steps)
    found: list[dict[str, Any]] = []
    for _ in range(rows):
        asked_for = lattice(2, 1) if generator.random() < vertex else vectors
        vector = asked_for[int(generator.random() * len(asked_for))]
        prompt, answer = (" ".join(words) for words in continued(generator, list(topics.values()), vector, length))
        asked = form.asked([{"role": "user", "content": prompt}], list(topics), vector)
        found.append({"prompt": asked, "completion": [{"role": "assistant", "content": answer}]})
    return found


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--model", required=True, help="of `small-language`: where its instruction goes")
    parser.add_argument(
        "--objectives", nargs=2, required=True, metavar="NAME=TOPIC", help=f"topics are {', '.join(TOPICS)}"
    )
    parser.add_argument("--rows", type=positive_integer, required=True)
    parser.add_argument("--steps", type=positive_integer, default=10, help="weights are multiples of 1/STEPS")
    parser.add_argument("--vertex", type=share, default=0.5, help="of the rows that ask for one objective alone")
    parser.add_argument("--tokens", type=positive_integer, default=20, help="of an answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="rows for TRL's sft script")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the file is written."""
    args = make_parser().parse_args(argv)
    topics = parse_pairs(args.objectives, "--objectives")
    for topic in topics.values():
        if topic not in TOPICS:
            raise ValueError(f"--objectives: {topic!r} is no topic; valid are {', '.join(TOPICS)}")
    rows = make_rows(load_form(args.model), topics, args.rows, args.steps, args.vertex, args.tokens, args.seed)
    print(f"{write_jsonl(args.out, rows)} rows in {args.out}")
    return 0


if __name__ == "__main__":
    run_program(lambda argv: exit_code(PROGRAM, lambda: main(argv)))
