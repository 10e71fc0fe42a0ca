"""How far the policies of a `pareto` are from its untouched model: `python -m launch.reproduce.steered_divergence`.

For every point, KL(policy asked as `pareto` asked it || untouched model asked without weights) in nats an answer, exact over
the vocabulary at each place of answers that the policy draws.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json
from datasets_builders.mistakes import exit_code, run_program
from launch.cli.flags import add_limit
from launch.moodpo.pareto import place_of
from launch.moodpo.points import asked_weights, read_points
from launch.moodpo.steered import load_form
from launch.reproduce.continuations import Drawn, divergence, draw, load, read_texts

PROGRAM = "python -m launch.reproduce.steered_divergence"


def asked_plainly(tokenizer: Any, prompts: Sequence[str], drawn: Drawn) -> Drawn:
    """The same answers (N, T) behind these prompts, one a row; what drew them stays."""
    tokens = drawn.logits.shape[1]
    batch = tokenizer(list(prompts), return_tensors="pt", padding=True)
    mask = torch.cat([batch["attention_mask"], drawn.mask[:, -tokens:]], 1)
    return drawn._replace(ids=torch.cat([batch["input_ids"], drawn.ids[:, -tokens:]], 1), mask=mask)


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--model", required=True, help="the untouched model")
    parser.add_argument("--pareto", type=Path, required=True, metavar="DIR", help="--out of `pareto`")
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="with `prompt`")
    add_limit(parser, "the first so many prompts")
    parser.add_argument("--tokens", type=positive_integer, default=20, help="of an answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="JSON: label of the point -> nats")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the file is written."""
    args = make_parser().parse_args(argv)
    names, _, points = read_points(args.pareto)
    base, _ = load(Path(args.model))
    form, texts = load_form(args.model), read_texts(args.prompts)[: args.limit]
    plain = [[{"role": "user", "content": text}] for text in texts]

    def written(prompts: Sequence[Any]) -> list[str]:
        return form.tokenizer.apply_chat_template(list(prompts), tokenize=False, add_generation_prompt=True)

    found = {}
    for point in points:
        folder, adapter = place_of(point, args.model)
        model, tokenizer = load(Path(folder), Path(adapter) if adapter else None)
        asked = [form.asked(p, point.names, asked_weights(point, names)) for p in plain] if point.names else plain
        nats: list[float] = []
        for drawn in draw(model, tokenizer, written(asked), 1, args.tokens, args.seed):
            rows = plain[len(nats) : len(nats) + len(drawn.texts)]
            nats += divergence(base, asked_plainly(tokenizer, written(rows), drawn)).tolist()
        found[point.label] = sum(nats) / len(nats)
        print(f"{point.label:24s} {found[point.label]:.2f} nats", flush=True)
    write_json(args.out, found)
    return 0


if __name__ == "__main__":
    run_program(lambda argv: exit_code(PROGRAM, lambda: main(argv)))
