"""`python -m launch report`: what a weight buys and what it costs, as a table, a picture and one page."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_object, write_bytes, write_json, write_text
from launch.answers.records import check_label, read_generations
from launch.cli.flags import parse_number, parse_pairs
from launch.cli.verbs import verb_parser
from launch.common.page import number, signed
from launch.compare.directions import direct_scores, minus
from launch.compare.report_page import answers_ended, facts, happened, nothing_left, render_page
from launch.compare.tradeoff import Request, build_report
from launch.compare.tradeoff_picture import draw_tradeoff
from launch.scores.score_files import SETTINGS_FILE, read_scores

EXAMPLES = 10
LONGEST_UNIT = 200  # characters; it stands on an axis of the picture


def collect_examples(gens: str | Path, labels: Sequence[str], count: int = EXAMPLES) -> list[dict[str, Any]]:
    """The first answers to the first `count` prompts: `{"prompt", "responses": {label: text}}`.

    Args:
        gens: the directory that `generate --out` wrote, one folder per label.

    Raises:
        ValueError: a label without generations, or a prompt that one of them lacks.
    """
    records = {label: read_generations(Path(gens) / label) for label in labels}
    # Reversed, so that the first sample of a prompt is the one that stays.
    answers = {label: {record["prompt_id"]: record for record in reversed(records[label])} for label in labels}
    first = list(dict.fromkeys(record["prompt_id"] for record in records[labels[0]]))[:count]
    examples = []
    for key in first:
        if lacking := [label for label in labels if key not in answers[label]]:
            raise ValueError(f"{gens}: prompt {key} has no answer of {', '.join(lacking)}")
        prompt = answers[labels[0]][key]["prompt"]
        examples.append({"prompt": prompt, "responses": {label: answers[label][key]["response"] for label in labels}})
    return examples


def read_units(scores: str | Path) -> dict[str, str]:
    """Objective -> unit, as `score` left them; empty when it left none.

    Raises:
        ValueError: the file is there and holds something else.
    """
    file = Path(scores) / SETTINGS_FILE
    if not file.is_file():
        return {}
    try:
        units = {name: spec["unit"] for name, spec in read_object(file)["rewards"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: not what `score` writes: rewards by name, each with its unit") from error
    if odd := [unit for unit in units.values() if not isinstance(unit, str) or len(unit) > LONGEST_UNIT]:
        raise ValueError(f"{file}: a unit is a text of at most {LONGEST_UNIT} characters, found {odd[0]!r:.60}")
    return units


def print_table(report: Mapping[str, Any], units: Mapping[str, str]) -> None:
    """The table over all prompts, then over the uncapped ones, on the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A file or a pipe has no width: leave the columns room there.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(Text(" ".join(happened(report))), soft_wrap=True)
    console.print(Text(answers_ended(report)), soft_wrap=True)
    for key, caption in (("full", "all prompts"), ("uncapped", "prompts that no model cut off")):
        summary = report[key]
        if summary is None:
            console.print(Text(f"{caption}: none. {nothing_left(report)}"), soft_wrap=True)
            continue
        table = Table(title=Text(f"{caption} (n = {summary['n']})"), title_justify="left")
        table.add_column("model")
        names = list(next(iter(summary["labels"].values())))
        for name in names:
            table.add_column(Text(f"{name} [{units.get(name, 'score')}]"), justify="right")
            table.add_column(Text(f"difference to {report['reference']}"), justify="right")
        for label in report["labels"]:
            cells = []
            for name in names:
                cell = summary["labels"][label][name]
                cells.append(_with_ends(number, cell["mean"], cell["low"], cell["high"]))
                difference = _with_ends(signed, *(cell[f"difference{end}"] for end in ("", "_low", "_high")))
                cells.append("" if label == report["reference"] else difference)
            star = " *" if label in summary["pareto"] else ""
            table.add_row(*map(Text, [label + star, *cells]))
        console.print(table)
        console.print("* on the front")
        for line in facts(report, summary):
            console.print(Text(line), soft_wrap=True)


def _with_ends(show: Callable[[float], str], value: float, low: float | None, high: float | None) -> str:
    return show(value) if low is None or high is None else f"{show(value)} ({show(low)}, {show(high)})"


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("report", __doc__)
    parser.add_argument("--scores", required=True, metavar="DIR", help="what `score` wrote")
    parser.add_argument(
        "--labels", required=True, nargs="+", metavar="NAME", help="the models, by the names of their score files"
    )
    parser.add_argument("--reference", required=True, metavar="NAME", help="the label to take differences to")
    parser.add_argument("--x", required=True, metavar="REWARD", help="objective across")
    parser.add_argument("--y", required=True, metavar="REWARD", help="objective upwards")
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="NAME=W", help="the weight each label was trained with"
    )
    parser.add_argument(
        "--soups",
        nargs="+",
        default=[],
        metavar="NAME=W",
        help="mixtures of single-objective policies, and their weight",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the page, the picture and the tables")
    parser.add_argument("--show", nargs="+", default=[], metavar="REWARD", help="further columns (default: all scores)")
    parser.add_argument(
        "--minimise", nargs="+", default=[], metavar="REWARD", help="less is better: shown as `minus REWARD`"
    )
    parser.add_argument("--gens", metavar="DIR", help="what `generate --out` wrote: adds answers side by side")
    parser.add_argument("--title", default="What the weight buys", help="title of the page and the picture")
    parser.add_argument("--units", nargs="+", default=[], metavar="REWARD=UNIT", help="default: as `score` noted them")
    parser.add_argument(
        "--hv_reference",
        metavar="X,Y",
        help="reference point of the hypervolume (default: 10%% of the range below the worst means)",
    )
    parser.add_argument("--resamples", type=positive_integer, default=1000, help="resamples of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    return parser


def _request(args: argparse.Namespace) -> Request:
    corner = None
    if args.hv_reference is not None:
        parts = [parse_number(part, "--hv_reference") for part in args.hv_reference.split(",")]
        if len(parts) != 2:
            raise ValueError(f"--hv_reference {args.hv_reference!r}: write X,Y")
        corner = (parts[0], parts[1])
    x, y = (minus(name) if name in args.minimise else name for name in (args.x, args.y))
    weights, soups = (
        {label: parse_number(w, flag) for label, w in parse_pairs(given, flag).items()}
        for flag, given in (("--weights", args.weights), ("--soups", args.soups))
    )
    return Request(
        labels=tuple(map(check_label, args.labels)),
        reference=args.reference,
        x=x,
        y=y,
        weights=weights,
        hv_reference=corner,
        resamples=args.resamples,
        seed=args.seed,
        soups=soups,
    )


def main(argv: list[str]) -> int:
    """Exit status 0 when the report is written."""
    args = make_parser().parse_args(argv)
    request = _request(args)
    units = read_units(args.scores) | parse_pairs(args.units, "--units")
    units |= {minus(name): f"minus {units.get(name, 'score')}" for name in args.minimise}
    shown = [args.x, args.y, *args.show] if args.show else []
    table = direct_scores(read_scores(args.scores, request.labels), shown, args.minimise)
    report = build_report(table, request)
    examples = collect_examples(args.gens, request.labels) if args.gens else []
    out = Path(args.out)
    write_json(out / "report.json", {**report, "title": args.title, "units": units})
    write_bytes(out / "tradeoff.png", draw_tradeoff(report, units, args.title))
    wide, narrow = (draw_tradeoff(report, units, narrow=shape) for shape in (False, True))
    write_text(out / "report.html", render_page(report, wide, narrow, units, args.title, examples))
    print_table(report, units)
    print(f"written: {out / 'report.html'}")
    return 0
