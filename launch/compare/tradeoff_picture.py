"""The picture of a trade-off: one point per model, its intervals as bars, the front and the soups as lines."""

from collections.abc import Mapping
from typing import Any

from launch.common.names import Name, place_names
from launch.common.picture import ACCENT, FRONT, INK, SOFT, UNTOUCHED, arms, head, new_figure, plain, plot_frame, to_png
from launch.common.table import counted

SOUPS = "soups of the two single-objective policies"


def point_name(label: str, report: Mapping[str, Any]) -> str:
    """`w = 0.2` for a label with a weight, `soup 0.2` for a mixture, else the label."""
    if label in report["weights"]:
        return f"w = {report['weights'][label]:g}"
    return f"soup {report['soups'][label]:g}" if label in report["soups"] else label


def draw_tradeoff(report: Mapping[str, Any], units: Mapping[str, str], title: str = "", narrow: bool = False) -> bytes:
    """PNG of the full table of a report: means with 95% intervals, the front, the reference as a diamond.

    Args:
        units: objective -> unit, for the axes.
        title: above the picture; empty where what stands around it has one.
        narrow: for a narrow window.
    """
    return to_png(tradeoff_figure(report, units, title, narrow))


def tradeoff_figure(report: Mapping[str, Any], units: Mapping[str, str], title: str = "", narrow: bool = False) -> Any:
    """The matplotlib figure of `draw_tradeoff`."""
    figure, (axes,) = new_figure(1, (7.6, 5.2), narrow=narrow)
    summary, weights, x, y = report["full"], report["weights"], report["x"], report["y"]
    cells = {label: (summary["labels"][label][x], summary["labels"][label][y]) for label in report["labels"]}
    _draw_front(axes, [(cells[label][0]["mean"], cells[label][1]["mean"]) for label in summary["pareto"]])
    _draw_soups(axes, [cells[label] for label in sorted(report["soups"], key=report["soups"].get)])
    named = {"policies trained for a w": weights, SOUPS: report["soups"]} if report["soups"] else {}
    legend = {next(iter(group)): name for name, group in named.items() if group}
    for label, (across, up) in cells.items():
        is_reference = label == report["reference"] and label not in weights
        colour = UNTOUCHED if is_reference else ACCENT if label in weights or not weights else SOFT
        axes.errorbar(
            across["mean"],
            up["mean"],
            xerr=_arms(across),
            yerr=_arms(up),
            fmt="D" if is_reference else "o" if colour == ACCENT else "s",
            markersize=8 if is_reference else 7.5,
            color=colour,
            ecolor=colour,
            elinewidth=1.1,
            alpha=0.95,
            capsize=2.5,
            markeredgecolor="white",
            markeredgewidth=1.2,
            zorder=4 if is_reference else 3,
            label=plain(f"reference: {label}") if is_reference else legend.get(label),
        )
    plot_frame(axes, f"{x}  [{units.get(x, 'score')}]  better →", f"{y}  [{units.get(y, 'score')}]  better →", 10)
    head(axes, title, f"mean of {counted(summary['n'], 'prompt')}, bars: 95% bootstrap interval")
    axes.margins(0.14)
    handles, series = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, series, frameon=False, fontsize=9, labelcolor=INK, loc="best")
    names = [Name(point_name(label, report), x["mean"], y["mean"], INK) for label, (x, y) in cells.items()]
    place_names(axes, names, 9.5)
    return figure


def _arms(cell: Mapping[str, float]) -> list[list[float]]:
    return arms([(cell["mean"], cell["low"], cell["high"])])


def _draw_soups(axes, cells: list[tuple[Mapping[str, float], Mapping[str, float]]]) -> None:
    if len(cells) > 1:
        places = [(across["mean"], up["mean"]) for across, up in cells]
        axes.plot(*zip(*places, strict=True), color=SOFT, linewidth=1.2, linestyle="--", zorder=1)


def _draw_front(axes, front: list[tuple[float, float]]) -> None:
    front = sorted(front)
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), color=FRONT, linewidth=2, zorder=1, label="front of these models")
