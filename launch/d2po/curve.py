"""`python -m launch label-curve`: gold score against gold labels spent and steps, several runs and seeds in one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from datasets_builders.command_line import Parser
from datasets_builders.io import write_bytes, write_json, write_text
from launch.cli.verbs import verb_parser
from launch.common.picture import INK, SERIES, arms, head, new_figure, plain, plot_frame, to_bytes
from launch.common.table import write_csv
from launch.d2po.curve_data import Curves, Evaluation, Point, curves, read_run
from launch.d2po.curve_page import render_page

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
SUFFIXES = (".svg", ".png")


def draw(
    drawn: Curves, title: str, gold: str, picture_format: Literal["png", "svg"] = "png", narrow: bool = False
) -> bytes:
    """SVG or PNG of mean curves; bands (bars, where a run spent one number of labels only) are 95% intervals of seeds.

    A run of one number of labels is a mark with a dotted line, so that others can be read against it. Where evaluations
    share a number of labels, a second panel shows all of them by step: a plateau, or a score that falls again.
    """
    panels = {"gold labels spent": drawn.labels}
    if any(len(drawn.steps[name]) > len(points) for name, points in drawn.labels.items()):
        panels["training step"] = drawn.steps
    figure, all_axes = new_figure(len(panels), (7.6 if len(panels) == 1 else 13, 5.2), narrow=narrow, sharey=True)
    for axes, (across, found) in zip(all_axes, panels.items(), strict=True):
        for index, (name, points) in enumerate(found.items()):
            draw_run(axes, name, points, index)
        plot_frame(
            axes, across, "" if axes is not all_axes[0] and not narrow else f"{gold} on held-out prompts  better →", 10
        )
        axes.margins(0.06)
    several = any(point.seeds > 1 for points in drawn.labels.values() for point in points)
    head(all_axes[0], title, "means over seeds, bands: 95% intervals (Student)" if several else "")
    all_axes[0].legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")
    return to_bytes(figure, picture_format)


def look(index: int) -> tuple[str, str, str]:
    """Colour, mark and line of a run; where colours come again, other marks and dashes tell them apart."""
    turn, place = divmod(index, len(SERIES))
    return SERIES[place], MARKS[(place + turn) % len(MARKS)], "--" if turn else "-"


def draw_run(axes, name: str, points: Sequence[Point], index: int) -> None:
    """One mean curve with its band over seeds; of one point, a mark with a bar and a dotted line."""
    colour, mark, line = look(index)
    across, means = [point.at for point in points], [point.mean for point in points]
    seeds = points[0].seeds
    label = plain(f"{name} ({seeds} seeds)" if seeds > 1 else name)
    axes.plot(across, means, line, color=colour, marker=mark, markersize=6, linewidth=2, label=label, zorder=3)
    if len(points) == 1:
        axes.axhline(means[0], color=colour, linewidth=1, linestyle=":", zorder=1)
    if seeds == 1:
        return
    lows, highs = [point.low for point in points], [point.high for point in points]
    if len(points) == 1:
        bars = arms([(means[0], lows[0], highs[0])])
        axes.errorbar(across, means, yerr=bars, fmt="none", ecolor=colour, capsize=2.5, zorder=2)
    else:
        axes.fill_between(across, lows, highs, color=colour, alpha=0.15, linewidth=0, zorder=2)


def write_tables(out: Path, runs: Mapping[str, Sequence[Sequence[Evaluation]]], drawn: Curves) -> None:
    """Beside the picture: `out` with the ending .json (curves, every evaluation), .csv (by labels) and .steps.csv."""
    named = {"labels": drawn.labels, "step": drawn.steps}
    rows = {
        kind: {name: [{kind: point.at, **_measures(point)} for point in points] for name, points in found.items()}
        for kind, found in named.items()
    }
    write_json(
        out.with_suffix(".json"),
        {
            name: {
                "curve": rows["labels"][name],
                "by_step": rows["step"][name],
                "seeds": [[evaluation._asdict() for evaluation in seed] for seed in seeds],
            }
            for name, seeds in runs.items()
        },
    )
    for kind, ending in (("labels", ".csv"), ("step", ".steps.csv")):
        body = [{"run": name, **row} for name, found in rows[kind].items() for row in found]
        write_csv(out.with_suffix(ending), list(body[0]), body)


def _measures(point: Point) -> dict[str, float | None]:
    return {name: value for name, value in point._asdict().items() if name != "at"}


def told(name: str, drawn: Curves) -> str:
    """The end of a run's curve in words, and its best evaluation where that came earlier."""
    last, steps = drawn.labels[name][-1], drawn.steps[name]
    interval = "" if last.low is None else f" [{last.low:.4g}, {last.high:.4g}]"
    line = f"{name}: {last.mean:.4g}{interval} after {last.at:g} labels, {last.seeds} seed(s)"
    best = max(steps, key=lambda point: point.mean)
    if best.mean > steps[-1].mean:
        line += (
            f"; it was {best.mean:.4g} at step {best.at:g} and fell to {steps[-1].mean:.4g} at step {steps[-1].at:g}"
        )
    return line


def parse_named(flag: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """`NAME=VALUE` texts, taken apart at the first sign of equality.

    Raises:
        ValueError: another form.
    """
    pairs = []
    for text in texts:
        name, found, value = text.partition("=")
        if not (name and found and value):
            raise ValueError(f"{flag} {text!r}: write NAME=VALUE")
        pairs.append((name, value))
    return pairs


def labels_before(texts: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Name -> labels spent before the run, for every name.

    Raises:
        ValueError: a name that no run has, or what is no number of at least 0.
    """
    before = dict.fromkeys(names, 0.0)
    for name, value in parse_named("--labels_before", texts):
        if name not in before:
            raise ValueError(f"--labels_before {name}: no run has this name; valid are {list(before)}")
        if not value.isdecimal():
            raise ValueError(f"--labels_before {name}={value}: a whole number of at least 0 is valid")
        before[name] = float(value)
    return before


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("label-curve", __doc__)
    parser.add_argument(
        "--run", nargs="+", required=True, metavar="NAME=FOLDER", help="one seed each; seeds of a method share its name"
    )
    parser.add_argument(
        "--labels_before", nargs="+", default=[], metavar="NAME=N", help="labels its reward model was trained on before"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help=f"{' or '.join(SUFFIXES)}")
    parser.add_argument("--title", default="Gold score by gold labels spent", help="title of the picture")
    parser.add_argument("--gold", default="gold score", help="name of the score, for the axis")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the picture, its page and its tables are written."""
    args = make_parser().parse_args(argv)
    if args.out.suffix not in SUFFIXES:
        raise ValueError(f"--out {args.out}: the name must end in {' or '.join(SUFFIXES)}")
    folders: dict[str, list[str]] = {}
    for name, folder in parse_named("--run", args.run):
        places = folders.setdefault(name, [])
        if Path(folder).resolve() in [Path(place).resolve() for place in places]:
            raise ValueError(f"--run {name}={folder} was given twice: a seed counts once")
        places.append(folder)
    before = labels_before(args.labels_before, list(folders))
    runs = {name: [read_run(folder, before[name]) for folder in places] for name, places in folders.items()}
    drawn = curves(runs)
    picture = draw(drawn, args.title, args.gold, cast("Literal['png', 'svg']", args.out.suffix[1:]))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_tables(args.out, runs, drawn)
    write_bytes(args.out, picture)
    shapes = (draw(drawn, "", args.gold, narrow=narrow) for narrow in (False, True))
    write_text(args.out.with_suffix(".html"), render_page(drawn, args.title, args.gold, *shapes))
    for name in drawn.labels:
        print(told(name, drawn))
    print(args.out)
    return 0
