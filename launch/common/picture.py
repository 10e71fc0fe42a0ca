"""The picture of a trade-off: one point a model, its intervals as bars, the front as a line; and what all pictures share."""

import io
from collections.abc import Mapping
from typing import Any

INK, SOFT, GRID = "#1f2430", "#6b7280", "#e5e7eb"
ACCENT, FRONT, UNTOUCHED = "#2563eb", "#93b4f5", "#d97706"


def point_name(label: str, weights: Mapping[str, float]) -> str:
    """`w = 0.2` for a label with a weight, else the label."""
    return f"w = {weights[label]:g}" if label in weights else label


def plain(text: str) -> str:
    """`text` with its dollar signs kept as such: matplotlib would read what stands between two of them as a formula."""
    return text.replace("$", r"\$")


def panel_figure(panels: int, title: str, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure of its own, not pyplot (no global state, no display), and its panels side by side. Size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(plain(title), color=INK, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def open_frame(axes: Any, tick_size: float = 9) -> None:
    """Light lines to the left and below, none around, no tick marks."""
    axes.tick_params(colors=SOFT, labelsize=tick_size, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def grid_behind(axes: Any) -> None:
    """A light grid, drawn before everything else."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def to_png(figure: Any) -> bytes:
    """The figure without a creation date: equal numbers are equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_tradeoff(report: Mapping[str, Any], units: Mapping[str, str], title: str = "") -> bytes:
    """PNG of the full table of a report: means with 95% intervals, the front, the untouched model as a diamond.

    Args:
        units: objective -> unit, for the axes.
        title: above the picture; empty where what stands around it has one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot: no global state, no display.
    figure = Figure(figsize=(7.6, 5.2), dpi=160, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    summary, weights, x, y = report["full"], report["weights"], report["x"], report["y"]
    cells = {label: (summary["labels"][label][x], summary["labels"][label][y]) for label in report["labels"]}
    _draw_front(axes, [(cells[label][0]["mean"], cells[label][1]["mean"]) for label in summary["pareto"]])
    for label, (across, up) in cells.items():
        untouched = label == report["reference"] and label not in weights
        colour = UNTOUCHED if untouched else ACCENT
        axes.errorbar(
            across["mean"],
            up["mean"],
            xerr=_arms(across),
            yerr=_arms(up),
            fmt="D" if untouched else "o",
            markersize=8 if untouched else 7.5,
            color=colour,
            ecolor=colour,
            elinewidth=1.1,
            alpha=0.95,
            capsize=2.5,
            markeredgecolor="white",
            markeredgewidth=1.2,
            zorder=4 if untouched else 3,
            label="untouched model" if untouched else None,
        )
        axes.annotate(
            plain(point_name(label, weights)),
            (across["mean"], up["mean"]),
            xytext=(9, 8),
            textcoords="offset points",
            fontsize=9.5,
            color=INK,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )
    axes.set_xlabel(plain(f"{x}  [{units.get(x, 'score')}]  better →"), color=INK, fontsize=10)
    axes.set_ylabel(plain(f"{y}  [{units.get(y, 'score')}]  better →"), color=INK, fontsize=10)
    if title:
        axes.set_title(plain(title), loc="left", color=INK, fontsize=13, fontweight="bold", pad=22)
    subtitle = f"mean of {summary['n']} prompts, bars: 95% bootstrap interval"
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, color=SOFT, fontsize=9.5)
    grid_behind(axes)
    axes.margins(0.14)
    open_frame(axes)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, names, frameon=False, fontsize=9, labelcolor=INK, loc="best")
    return to_png(figure)


def _arms(cell: Mapping[str, float]) -> list[list[float]]:
    # A skewed sample can put the mean a rounding error outside its own interval; a bar cannot be negative.
    return [[max(0.0, cell["mean"] - cell["low"])], [max(0.0, cell["high"] - cell["mean"])]]


def _draw_front(axes, front: list[tuple[float, float]]) -> None:
    front = sorted(front)
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), color=FRONT, linewidth=2, zorder=1, label="front of these models")
