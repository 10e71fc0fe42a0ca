"""One picture of several policies: one colour per policy, its points joined in the order of their weights."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from launch.common import picture
from launch.common.names import Name, place_names
from launch.common.picture import INK, arms, new_figure, plain, plot_frame, to_png
from launch.moodpo.points import UNTOUCHED
from launch.moodpo.weights import percentages


def draw(summary: Mapping[str, Any], title: str, narrow: bool = False) -> bytes:
    """PNG: one panel for each two objectives, one colour per policy, the points of a policy joined in their order.

    Args:
        title: above all panels, with what the points are; empty where what stands around it says both.
        narrow: for a narrow window.
    """
    from matplotlib.colors import to_rgba

    names = summary["objectives"]
    panels = list(itertools.combinations(names, 2)) or [(names[0], names[0])]
    figure, all_axes = new_figure(len(panels), (7.6 if len(panels) == 1 else 5.6 * len(panels), 5.4), narrow=narrow)
    colours = [one for one in picture.SERIES if one != picture.UNTOUCHED]
    steered = [name for name in summary["policies"] if name != UNTOUCHED]
    colour = {name: colours[place % len(colours)] for place, name in enumerate(steered)} | {
        UNTOUCHED: picture.UNTOUCHED
    }
    named: list[tuple[Any, list[Name]]] = []
    for axes, (x, y) in zip(all_axes, panels, strict=True):
        ends: list[Name] = []
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
                ends += [
                    Name(
                        percentages(row["weights"]), row["scores"][x]["value"], row["scores"][y]["value"], colour[name]
                    )
                    for row in (rows[0], rows[-1])
                ]
        plot_frame(axes, f"{x}, better →", f"{y}, better →", 10)
        axes.margins(0.12)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
        named.append((axes, ends))
    about = f"mean of {summary['prompts']} prompts, {summary['samples']} answers each; bars: 95% bootstrap interval"
    if title:
        figure.suptitle(plain(f"{title}\n{about}"), x=0.02, ha="left", color=INK, fontsize=11)
    for axes, ends in named:  # last: the title above moves what is below
        place_names(axes, ends, 8.5)
    return to_png(figure)


def _arms(cells: Sequence[Mapping[str, float]]) -> list[list[float]]:
    return arms((cell["value"], cell["low"], cell["high"]) for cell in cells)
