"""`python -m launch eval-judge`: how often a pairwise judge is right, the same in both orders, and without a side."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import one_of, share
from datasets_builders.command_line import Parser
from datasets_builders.io import SkipCounter, read_object, write_bytes, write_json, write_jsonl
from datasets_builders.judging.rows import PairToJudge
from launch.answers.checkpoint_options import SETTINGS
from launch.cli.flags import add_limit
from launch.cli.verbs import verb_parser
from launch.common.picture import can_draw
from launch.judge.benchmarks.base import ITEM, distinct
from launch.judge.benchmarks.registry import BENCHMARKS
from launch.judge.inputs import read_pairs
from launch.judge.judge import PAIRS, VERDICTS, count_shortened, draw_verdicts
from launch.judge.metrics import evaluate_rows
from launch.judge.options import Asking, add_judge_options, asking_of
from launch.judge.pictures import draw
from launch.judge.report import describe
from launch.judge.summary import pair_records
from launch.judge.verdicts import JudgedRow, read_verdicts

RESULT = "result.json"
PICTURE = "confusion.png"
JUDGE = ("run_dir", "checkpoint", "model", "adapter", "base_url", "api_model")
OF_BENCHMARK = ("source", "split")


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("eval-judge", __doc__)
    group = parser.add_argument_group("what is evaluated")
    group.add_argument("--verdicts", metavar="FILE", help="verdicts of `judge`, or their folder: ask nobody")
    group.add_argument("--data", metavar="FILE", help="pairs to ask about: what `judge --pairs` reads")
    group.add_argument("--benchmark", type=one_of(BENCHMARKS), help="pairs of a published benchmark, and its scoring")
    group.add_argument("--source", metavar="PATH", help="local rows of the benchmark instead of the hub")
    group.add_argument("--split", help="split of the benchmark on the hub (default: its first)")
    add_limit(group, "the first so many pairs of --data, or so many rows of the benchmark, chosen by --seed")
    group.add_argument(
        "--max_skipped_share", type=share, default=0.05, help="largest share of its rows that cannot be used"
    )
    group.add_argument("--out", metavar="DIR", help="default with --verdicts: beside the file")
    add_judge_options(parser)
    return parser


def check_inputs(args: argparse.Namespace) -> None:
    """Refuses flags that do not go together.

    Raises:
        ValueError: naming them.
    """
    if args.verdicts:
        if given := [f"--{name}" for name in (*JUDGE, "data") if getattr(args, name)]:
            raise ValueError(f"{', '.join(given)}: with --verdicts nobody is asked; leave one side out")
    elif bool(args.data) == bool(args.benchmark):
        raise ValueError("say what to evaluate: --verdicts, or a judge with either --data or --benchmark")
    elif not args.out:
        raise ValueError("--out is where the answers are kept; it is needed when a judge is asked")
    if not args.benchmark and (given := [f"--{name}" for name in OF_BENCHMARK if getattr(args, name)]):
        raise ValueError(f"{', '.join(given)}: only with --benchmark")
    if args.limit and not (args.data or args.benchmark):
        raise ValueError("--limit: only with --data or --benchmark; verdicts are scored as they are")
    if args.source and args.split:
        raise ValueError("--split: a local --source is read whole; leave one of the two out")
    if args.benchmark and args.orders != "both":
        raise ValueError(f"--orders {args.orders}: a benchmark is judged in both orders")


def split_of(args: argparse.Namespace) -> str | None:
    """The split on the hub that is evaluated; None where nothing comes from the hub."""
    return None if not args.benchmark or args.source else args.split or BENCHMARKS[args.benchmark].splits[0]


def load_pairs(args: argparse.Namespace) -> tuple[list[PairToJudge], SkipCounter]:
    """The pairs of the benchmark and the count of its rows; nothing without one. Errors: see `Benchmark.load`."""
    skips = SkipCounter()
    if not args.benchmark:
        return [], skips
    pairs = BENCHMARKS[args.benchmark].load(
        split=args.split, source=args.source, seed=args.seed, n_items=args.limit,
        skips=skips, max_skipped_share=args.max_skipped_share,
    )  # fmt: skip
    return pairs, skips


def verdicts_drawn(
    args: argparse.Namespace, asking: Asking, pairs: Sequence[PairToJudge]
) -> tuple[list[JudgedRow], SkipCounter | None]:
    """Verdicts on `pairs`, each asked about once; without any on --data, whose rows are counted too.

    Raises:
        ValueError: see `inputs.read_pairs` and `draw_verdicts`.
    """
    skips, more = None, {"benchmark": args.benchmark, "split": split_of(args), "n_items": args.limit}
    rows = [row for pair in distinct(pairs) for row in pair.rows(asking.prompt)]
    if args.data:
        rows, skips = read_pairs(args.data, asking.prompt, args.orders, args.limit)
    return draw_verdicts(rows, args, asking, Path(args.out), **more), skips


def main(argv: list[str]) -> int:
    """Exit status 0 when result.json is written."""
    args = make_parser().parse_args(argv)
    check_inputs(args)
    asking = None if args.verdicts else asking_of(args)
    pairs, skips = load_pairs(args)
    if asking is None:
        file = verdict_file(args.verdicts)
        folder, label, shortened = Path(args.out or file.parent), file.resolve().parent.name, 0
        rows = read_verdicts(file)
    else:
        folder, label = Path(args.out), asking.label
        file = folder / VERDICTS
        rows, of_data = verdicts_drawn(args, asking, pairs)
        skips, shortened = of_data or skips, count_shortened(folder)
    if args.benchmark:
        rows = of_pairs(rows, pairs)
    result = {
        "label": label,
        "verdicts": str(file),
        "judge": settings_beside(file),
        "data": skips.as_dict(),
        "seed": args.seed,
        "metrics": evaluate_rows(rows, args.seed),
        "benchmark": score_benchmark(args, pairs, rows) if args.benchmark else None,
    }
    write_jsonl(folder / PAIRS, pair_records(rows))
    write_json(folder / RESULT, result)
    for reason, count in skips.skipped.items():
        print(f"{count} rows skipped, {reason}")
    print(describe(result, shortened))
    if can_draw():
        write_bytes(folder / PICTURE, draw(result["metrics"], label))
    else:
        print("no picture: matplotlib is not installed (extra eval)")
    print(f"written: {folder / RESULT}")
    return 0


def verdict_file(path: str) -> Path:
    """The file itself, or that of the folder which `judge` wrote."""
    return Path(path) / VERDICTS if Path(path).is_dir() else Path(path)


def of_pairs(rows: Sequence[JudgedRow], pairs: Sequence[PairToJudge]) -> list[JudgedRow]:
    """The rows on `pairs`; prints how many others there are."""
    known = {pair.pair_id for pair in pairs}
    found = [row for row in rows if row.pair_id in known]
    if len(found) < len(rows):
        print(f"{len(rows) - len(found)} verdicts are on pairs outside of the benchmark's choice and left out")
    return found


def score_benchmark(
    args: argparse.Namespace, pairs: Sequence[PairToJudge], rows: Sequence[JudgedRow]
) -> dict[str, Any]:
    """The benchmark's own numbers, with what it was scored on. Errors: see `Benchmark.evaluate`."""
    return {
        "name": args.benchmark,
        "source": args.source,
        "split": split_of(args),
        "n_items": args.limit,
        "items": len({pair.meta[ITEM] for pair in pairs}),
        "pairs": len(pairs),
        **BENCHMARKS[args.benchmark].evaluate(pairs, rows, args.seed),
    }


def settings_beside(verdicts: Path) -> dict[str, Any] | None:
    """What the judge was asked with, where `judge` left it beside the verdicts."""
    file = verdicts.with_name(SETTINGS)
    return read_object(file) if file.is_file() else None
