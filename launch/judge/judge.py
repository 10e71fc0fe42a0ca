"""`python -m launch judge`: which of two replies is better, asked of a model or a server, in both orders."""

from pathlib import Path
from typing import Any

from datasets_builders.command_line import Parser
from datasets_builders.io import write_jsonl
from launch.cli.verbs import verb_parser
from launch.common.table import number
from launch.judge.ask import VERDICTS, count_shortened, draw_verdicts
from launch.judge.inputs import read_pairs
from launch.judge.options import add_judge_options, asking_of
from launch.judge.summary import pair_records, summarise

PAIRS = "pairs.jsonl"


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("judge", __doc__)
    parser.add_argument("--pairs", required=True, metavar="FILE", help="rows of the builder, or pairs of replies")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of verdicts.jsonl and the summary")
    add_judge_options(parser)
    return parser


def describe(summary: dict[str, Any], label: str, shortened: int) -> str:
    """The summary as text.

    Args:
        summary: see `summarise`.
        shortened: prompts that lost their beginning.
    """
    lines = [
        f"{label}: {summary['pairs']} pairs, {summary['rows']} rows, {summary['answers']} answers",
        f"answers with a verdict: {number(summary['parse_rate'])}, ties among them: {number(summary['ties'])}",
        f"first reply preferred: {number(summary['first_preferred'])} of the answers that say A or B",
        f"both orders agree: {number(summary['swap_agreement'])} of the pairs with a vote in each",
    ]
    if summary["capped"]:
        lines.append(f"{summary['capped']} answers were cut off: see --max_new_tokens")
    if shortened:
        lines.append(f"{shortened} prompts were longer than the model's limit and lost their beginning: --max_length")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Exit status 0 when all files are written."""
    args = make_parser().parse_args(argv)
    asking, folder = asking_of(args), Path(args.out)
    rows, counts = read_pairs(args.pairs, asking.prompt, args.orders)
    judged = draw_verdicts(rows, args, asking, folder)
    write_jsonl(folder / PAIRS, pair_records(judged))
    for reason, count in counts.skipped.items():
        print(f"{args.pairs}: {count} rows skipped, {reason}")
    print(describe(summarise(judged), asking.label, count_shortened(folder)))
    print(f"written: {folder / VERDICTS}")
    return 0
