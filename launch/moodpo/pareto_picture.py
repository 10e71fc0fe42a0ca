"""One picture of several policies: one colour per policy, its points joined in the order of their weights."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from launch.common import picture
from launch.common.picture import INK, arms, new_figure, plain, plot_frame, to_png
from launch.moodpo.points import UNTOUCHED
from launch.moodpo.weights import percentages


def draw(summary: Mapping[str, Any], title: str) -> bytes:
    """PNG: one panel for each two objectives, one colour per policy, the points of a policy joined in their order."""
    from matplotlib.colors import to_rgba

    names = summary["objectives"]
    panels = list(itertools.combinations(names, 2)) or [(names[0], names[0])]
    figure, all_axes = new_figure(len(panels), (7.6 if len(panels) == 1 else 5.6 * len(panels), 5.4))
    colours = ["#2563eb", "#059669", "#9333ea", "#db2777", "#0e7490", "#65a30d"]
    steered = [name for name in summary["policies"] if name != UNTOUCHED]
    colour = {name: colours[place % len(colours)] for place, name in enumerate(steered)} | {
        UNTOUCHED: picture.UNTOUCHED
    }
    for axes, (x, y) in zip(all_axes, panels, strict=True):
        for name, measures in summary["policies"].items():
            rows = [row for row in summary["points"] if row["policy"] == name]
            across, up = ([row["scores"][objective] for row in rows] for objective in (x, y))
            joined = len(rows) > 1 and len(names) == 2
            single = {"fixed": "s", "untouched": "D"}.get(measures["kind"], "o")
            axes.errorbar(
                *([cell["value"] for cell in cells] for cells in (across, up)),
                xerr=_arms(across),
                yerr=_arms(up),
                fmt=f"-{single}" if joined else single,
                color=colour[name],
                ecolor=to_rgba(colour[name], 0.35),
                elinewidth=1,
                linewidth=1.3,
                markersize=7,
                markeredgecolor="white",
                markeredgewidth=1,
                zorder=4 if name == UNTOUCHED else 3,
                label=plain(name),
            )
            if joined:
                for row in (rows[0], rows[-1]):
                    spot = (row["scores"][x]["value"], row["scores"][y]["value"])
                    text = percentages(row["weights"])
                    axes.annotate(text, spot, (7, 7), textcoords="offset points", fontsize=8.5, color=colour[name])
        plot_frame(axes, f"{x}, better →", f"{y}, better →", 10)
        axes.margins(0.12)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    about = f"mean of {summary['prompts']} prompts, {summary['samples']} answers each; bars: 95% bootstrap interval"
    figure.suptitle(plain(f"{title}\n{about}"), x=0.02, ha="left", color=INK, fontsize=11)
    return to_png(figure)


def _arms(cells: Sequence[Mapping[str, float]]) -> list[list[float]]:
    return arms((cell["value"], cell["low"], cell["high"]) for cell in cells)
