"""`python -m launch conflicts`: how often do objectives disagree, in a data set before training or between models?"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from datasets_builders.choices import one_of, positive_integer, share
from datasets_builders.command_line import Parser
from datasets_builders.io import SkipCounter, read_located_rows, write_json, write_text
from launch.cli.flags import add_limit
from launch.cli.verbs import verb_parser
from launch.common.statistics import share as wilson_share
from launch.common.table import aligned, markdown, number, write_csv
from launch.compare.styles import STYLES, objectives_of
from launch.scores.head_summary import shown_heads
from launch.scores.score_files import read_score_files, score_table

KIND = "conflicts"
ESTIMATES = ("conflict_ratio", "pearson", "spearman", "kendall")
HEAD = ("compared", "objectives", "decided", "conflict ratio", "Pearson", "Spearman", "Kendall", "ties")
COLUMNS = (
    "compared", "first", "second", "comparisons", "agree", "conflict", "tie_first", "tie_second", "tie_both", "missing",
    *(f"{name}{end}" for name in ESTIMATES for end in ("", "_low", "_high")),
)  # fmt: skip


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("conflicts", __doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="FILE", help="file, folder or glob of rows with ratings; needs --style")
    source.add_argument("--scores", nargs="+", metavar="FILE", help="score files of one folder, one per model")
    parser.add_argument("--style", type=one_of(STYLES), help=f"kind of rows in --data: {', '.join(STYLES)}")
    parser.add_argument("--objectives", nargs="+", default=[], metavar="NAME", help="default: those of the style")
    parser.add_argument(
        "--reference", metavar="LABEL", help="with --scores: also count, in each third, who is above this label"
    )
    add_limit(parser, "with --data: take the first so many prompts", dest="max_prompts")
    parser.add_argument("--max_skipped_share", type=share, default=0.05, help="unusable rows (default %(default)s)")
    parser.add_argument("--resamples", type=positive_integer, default=1000, help="resamples of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the tables, the picture and the summary")
    return parser


def of_data(args: argparse.Namespace) -> dict[str, Any]:
    """The result for a data set: every pair of different replies to a prompt, each in both directions."""
    from launch.compare.conflict import compare_objectives, prompt_conflicts, tertiles
    from launch.compare.ratings import best_differs, differences, group_by_prompt

    objectives, skips = objectives_of(args.style, args.objectives), SkipCounter()
    rows = read_located_rows(args.data)
    prompts = group_by_prompt(rows, args.style, objectives, skips, args.max_skipped_share, args.max_prompts)
    deltas, numbers, identical = differences(prompts)
    if not len(deltas):
        raise ValueError(f"{args.data}: no prompt has two different replies to compare ({len(prompts)} prompts)")
    found, bins = [], []
    for i, j in combinations(range(len(objectives)), 2):
        names = {"first": objectives[i], "second": objectives[j]}
        pair = deltas[:, i], deltas[:, j], numbers
        differ, tell, mute = best_differs(prompts, i, j)
        best = {"best_reply_differs": wilson_share(differ, tell).as_json(), "prompts_without_a_best": mute}
        compared = compare_objectives(*pair, directed=False, resamples=args.resamples, seed=args.seed)
        found.append({"compared": "replies", **names, **compared, **best})
        bins.append({**names, "tertiles": tertiles(prompt_conflicts(*pair, len(prompts)), {})})
    return {
        "source": str(args.data),
        "style": args.style,
        "prompts": len(prompts),
        "rows": skips.as_dict(),
        "identical_replies": identical,
        "objectives": list(objectives),
        "pairs": found,
        "tertiles": bins,
    }


def of_scores(args: argparse.Namespace) -> dict[str, Any]:
    """The result for score files: the later model of each two minus the earlier one, prompt by prompt."""
    import numpy as np

    from launch.compare.conflict import compare_objectives, prompt_conflicts, tertiles

    tables = read_score_files(args.scores)
    labels = list(tables)
    if args.reference is not None and args.reference not in labels:
        raise ValueError(f"--reference {args.reference} is not among the labels {labels}")
    first_row = next(iter(next(iter(tables.values())).values()))
    objectives = args.objectives or shown_heads(list(first_row["scores"]))
    scores = score_table(tables, objectives)  # (labels, P, K)
    numbers, found, bins = np.arange(scores.shape[1]), [], []
    for i, j in combinations(range(len(objectives)), 2):
        names = {"first": objectives[i], "second": objectives[j]}
        moved = [(new, old, scores[new] - scores[old]) for old, new in combinations(range(len(labels)), 2)]
        for new, old, delta in moved:
            compared = compare_objectives(
                delta[:, i], delta[:, j], numbers, directed=True, resamples=args.resamples, seed=args.seed
            )
            found.append({"compared": f"{labels[new]} - {labels[old]}", **names, **compared})
        flat = np.concatenate([delta for _, _, delta in moved])
        conflicts = prompt_conflicts(flat[:, i], flat[:, j], np.tile(numbers, len(moved)), len(numbers))
        means = {label: (scores[place][:, i], scores[place][:, j]) for place, label in enumerate(labels)}
        bins.append({**names, "tertiles": tertiles(conflicts, means, args.reference)})
    return {
        "source": [str(file) for file in args.scores],
        "labels": labels,
        "reference": args.reference,
        "prompts": scores.shape[1],
        "objectives": list(objectives),
        "pairs": found,
        "tertiles": bins,
    }


def csv_rows(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `conflicts.csv`, keys `COLUMNS`."""
    rows = []
    for pair in pairs:
        ties = {f"tie_{name}": count for name, count in pair["ties"].items()}
        cells = {f"{name}{'' if end == 'value' else '_' + end}": pair[name][end]
                 for name in ESTIMATES for end in ("value", "low", "high")}  # fmt: skip
        rows.append({**pair, **ties, **cells})
    return rows


def text_rows(pairs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The table for the screen, under `HEAD`."""
    rows = [HEAD]
    for pair in pairs:
        cells = []
        for name in ESTIMATES:
            cell = pair[name]
            ends = f" [{number(cell['low'], 3)}, {number(cell['high'], 3)}]" if cell["low"] is not None else ""
            cells.append(number(cell["value"], 3) + ends)
        decided, ties = pair["agree"] + pair["conflict"], sum(pair["ties"].values())
        rows.append((pair["compared"], f"{pair['first']}, {pair['second']}", str(decided), *cells, str(ties)))
    return rows


def main(argv: list[str]) -> int:
    """Exit status 0 when the result is written."""
    args = make_parser().parse_args(argv)
    if (args.data is None) == (args.style is not None):
        raise ValueError("--data and --style are needed together")
    if args.scores and args.max_prompts:
        raise ValueError("--limit belongs to --data")
    result = of_data(args) if args.data else of_scores(args)
    bootstrap = {"resamples": args.resamples, "seed": args.seed, "alpha": 0.05}
    out = Path(args.out)
    write_json(out / "conflicts.json", {"kind": KIND, **result, "bootstrap": bootstrap})
    write_csv(out / "conflicts.csv", COLUMNS, csv_rows(result["pairs"]))
    write_text(out / "conflicts.md", markdown(text_rows(result["pairs"])))
    for reason, skipped in result.get("rows", {}).get("skipped", {}).items():
        print(f"{skipped['count']} rows skipped, {reason} (first: {skipped['first']})")
    print(f"{result['prompts']} prompts; conflict ratio: share of opposite signs where both objectives differ")
    print(aligned(text_rows(result["pairs"])))
    print(f"written: {out / 'conflicts.json'}")
    return 0
