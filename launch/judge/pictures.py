"""The picture of a judge: what it says against what is true, and its accuracy by how strong the preference is."""

from collections.abc import Mapping
from typing import Any

from launch.common.picture import ACCENT, GRID, INK, SOFT, arms, name_axes, open_frame, panel_figure, to_png

DARK = 0.55  # share of a row from which the number in a cell is written in white


def draw(metrics: Mapping[str, Any], title: str) -> bytes:
    """PNG of the confusion table, and of the accuracies by strength with their intervals where there are any.

    Args:
        metrics: of `metrics.evaluate_rows`.
    """
    strengths = metrics["by_strength"]
    panels = 2 if strengths else 1
    figure, (first, *second) = panel_figure(panels, title, (0.8 + 4.4 * panels, 4))
    _confusion(first, metrics["confusion"])
    if second:
        _strengths(second[0], strengths)
    return to_png(figure)


def _confusion(axes, confusion: Mapping[str, Mapping[str, int]]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    truths, votes = list(confusion), list(next(iter(confusion.values())))
    totals = {truth: sum(row.values()) for truth, row in confusion.items()}
    shares = [[confusion[truth][vote] / (totals[truth] or 1) for vote in votes] for truth in truths]
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", ["white", ACCENT]), vmin=0, vmax=1)
    for up, truth in enumerate(truths):
        for across, vote in enumerate(votes):
            share, count = shares[up][across], confusion[truth][vote]
            colour = "white" if share > DARK else INK
            axes.text(across, up, f"{count}\n{share:.0%}", color=colour, fontsize=9, ha="center", va="center")
    axes.set_xticks(range(len(votes)), votes)
    axes.set_yticks(range(len(truths)), [f"{truth}\nof {totals[truth]}" for truth in truths])
    name_axes(axes, "the judge says", "better is")
    axes.tick_params(colors=SOFT, labelsize=9, length=0)
    for spine in axes.spines.values():
        spine.set_color(GRID)


def _strengths(axes, strengths: Mapping[str, Mapping[str, Any]]) -> None:
    cells = list(strengths.values())
    values = [cell["value"] for cell in cells]
    bars = arms((cell["value"], cell["low"], cell["high"]) for cell in cells)
    axes.bar(range(len(cells)), values, yerr=bars, width=0.6, color=ACCENT, alpha=0.75, ecolor=INK, capsize=3)
    axes.axhline(0.5, color=SOFT, linewidth=0.9, linestyle=":")
    axes.set_xticks(range(len(cells)), [f"{size}\n{cell['n']} pairs" for size, cell in strengths.items()])
    axes.set_ylim(0, 1.02)
    name_axes(axes, "strength of the preference", "accuracy, ties 0.5")
    open_frame(axes)
