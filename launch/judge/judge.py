"""`python -m launch judge`: which of two replies is better, asked of a model or a server, in both orders."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_builders.command_line import Parser
from datasets_builders.io import write_jsonl
from datasets_builders.scoring.tags import EXAMPLES
from launch.answers.checkpoint_options import backend_maker, draw_answers
from launch.answers.prompts import Prompt
from launch.answers.records import prompt_id, read_answers
from launch.cli.flags import add_limit
from launch.cli.verbs import verb_parser
from launch.common.table import number
from launch.judge.inputs import read_pairs
from launch.judge.options import Asking, add_judge_options, asking_of, settings_of
from launch.judge.report import cut_lines
from launch.judge.summary import pair_records, summarise
from launch.judge.verdicts import JudgedRow
from trl_ext.objectives.verdicts import parse_verdict

ANSWERS, VERDICTS, PAIRS = "answers.jsonl", "verdicts.jsonl", "pairs.jsonl"


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("judge", __doc__)
    parser.add_argument("--pairs", required=True, metavar="FILE", help="rows of the builder, or pairs of replies")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of verdicts.jsonl and the summary")
    add_limit(parser, "so many pairs, the first ones, in the orders that are asked")
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
    return "\n".join([*lines, *cut_lines(summary["capped"], shortened)])


def draw_verdicts(
    rows: Sequence[dict[str, Any]], args: argparse.Namespace, asking: Asking, folder: Path, **settings: Any
) -> list[JudgedRow]:
    """Verdicts on all `rows`, written to `folder` as `verdicts.jsonl`; the answers lie beside it in `answers.jsonl`.

    Finished answers are on the disk before the next batch begins; a rerun goes on where the last one stopped, and
    does not load a model at all when every answer is there. Rows with the same messages share their answers.

    Args:
        rows: one order of a pair each: `messages`, `pair_id`, `side`, and where known `ground_truth`,
            `preference_strength` and `subset`.
        settings: stored with a digest of the rows, and compared upon a rerun, beside those of the flags.

    Raises:
        ValueError: see `draw_answers`.
    """
    keys = [prompt_id(row["messages"]) for row in rows]
    answers = draw_answers(
        [Prompt(key, row["messages"]) for key, row in dict(zip(keys, rows, strict=True)).items()],
        backend_maker(args, asking.checkpoint, asking.decoding, EXAMPLES["preference"]),
        folder / ANSWERS,
        args,
        asking.decoding,
        label=asking.label,
        settings={**settings_of(args, asking), **settings, "rows": len(rows), "rows_sha256": digest_rows(rows)},
    )
    judged = [
        _judged(row, [answers[key, sample] for sample in range(asking.decoding.num_samples)])
        for key, row in zip(keys, rows, strict=True)
    ]
    write_jsonl(folder / VERDICTS, (row.to_json() for row in judged))
    return judged


def digest_rows(rows: Sequence[dict[str, Any]]) -> str:
    """16 hexadecimal digits of what is asked, for which pair and side, in order."""
    asked = [[row["pair_id"], row["side"], prompt_id(row["messages"])] for row in rows]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def count_shortened(folder: Path) -> int:
    """How many prompts lost their beginning because the model's limit is shorter."""
    answers = read_answers(folder / ANSWERS)
    return len({key for (key, _), answer in answers.items() if answer["prompt_truncated"]})


def _judged(row: dict[str, Any], answers: list[dict[str, Any]]) -> JudgedRow:
    return JudgedRow(
        row["pair_id"],
        row["side"],
        row.get("ground_truth"),
        row.get("preference_strength"),
        row.get("subset") or "",
        tuple(parse_verdict(answer["response"]) for answer in answers),
        sum(answer["capped"] for answer in answers),
    )


def main(argv: list[str]) -> int:
    """Exit status 0 when all files are written."""
    args = make_parser().parse_args(argv)
    asking, folder = asking_of(args), Path(args.out)
    rows, counts = read_pairs(args.pairs, asking.prompt, args.orders, args.limit)
    judged = draw_verdicts(rows, args, asking, folder)
    write_jsonl(folder / PAIRS, pair_records(judged))
    for reason, count in counts.skipped.items():
        print(f"{args.pairs}: {count} rows skipped, {reason}")
    print(describe(summarise(judged), asking.label, count_shortened(folder)))
    print(f"written: {folder / VERDICTS}")
    return 0
