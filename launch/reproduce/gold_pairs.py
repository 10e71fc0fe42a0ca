"""`python -m launch.reproduce.gold_pairs`: the pairs that a first reward model is trained on, for so many gold labels.

Reads two answers to each prompt, as `generate --num_samples 2` wrote them, and buys a label for each of the first prompts. A
pair that gold calls a tie is paid for and says nothing, as in D2PO's windows: it is left out. Writes TRL's preference format.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_jsonl
from datasets_builders.mistakes import exit_code, run_program

PROGRAM = "python -m launch.reproduce.gold_pairs"


def order_pairs(records: list[dict[str, Any]], gold: Any, labels: int) -> list[dict[str, Any]]:
    """Rows `prompt`, `chosen`, `rejected` (messages) of the first `labels` prompts whose two answers differ in gold.

    Args:
        records: generation records, the two of a prompt side by side.
        gold: (prompts, responses, metadata) -> one number per response, higher is better.

    Raises:
        ValueError: fewer prompts than labels, or another number of answers to a prompt than two.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(record["prompt_id"], []).append(record)
    if len(groups) < labels:
        raise ValueError(f"--labels {labels}: there are answers to {len(groups)} prompts")
    rows = []
    for group in list(groups.values())[:labels]:
        if len(group) != 2:
            raise ValueError(f"prompt {group[0]['prompt_id']}: {len(group)} answers, 2 are valid")
        first, second = gold([record["prompt"] for record in group], [record["response"] for record in group])
        if first != second:
            best, worst = group if first > second else group[::-1]
            sides = {"chosen": best["response"], "rejected": worst["response"]}
            answers = {side: [{"role": "assistant", "content": text}] for side, text in sides.items()}
            rows.append({"prompt": group[0]["messages"], **answers})
    return rows


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROGRAM, description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--answers", type=Path, required=True, metavar="DIR", help="generation records")
    parser.add_argument("--gold", required=True, metavar="NAME", help="gold function, or package.module:function")
    parser.add_argument("--labels", type=positive_integer, required=True, help="gold labels that are bought")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="pairs in TRL's format")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the pairs are written."""
    args = make_parser().parse_args(argv)
    return exit_code(PROGRAM, lambda: write_pairs(args))


def write_pairs(args: Namespace) -> int:
    """The file, and a line that says what the labels gave."""
    from launch.answers.records import read_generations
    from trl_ext.d2po.gold import get_gold

    kept = write_jsonl(args.out, order_pairs(read_generations(args.answers), get_gold(args.gold), args.labels))
    print(f"{args.out}: {args.labels} labels, {args.labels - kept} of them ties, {kept} pairs")
    return 0


if __name__ == "__main__":
    run_program(main)
