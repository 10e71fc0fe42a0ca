"""Pictures: learning curves over checkpoints, and histograms of sampled scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from launch.common.picture import ACCENT, INK, SOFT, UNTOUCHED, panel_figure, plot_frame, to_png

CURVES = (
    ("accuracy", (("acc", "ties 0.5", ACCENT), ("strict_all", "strict, unparsable wrong", UNTOUCHED))),
    ("pairs with both scores", (("parse", "", ACCENT),)),
    ("Bradley-Terry loss", (("bt", "", ACCENT),)),
)


def draw_curves(rows: Sequence[Mapping[str, Any]], title: str = "", narrow: bool = False) -> bytes:
    """PNG of the means of checkpoints against their steps, with bars of one standard deviation between seeds.

    Args:
        rows: of `summary.summarize`; those whose name has no step are left out.
        narrow: for a narrow window.
    """
    rows = sorted((row for row in rows if row["step"] is not None), key=lambda row: row["step"])
    figure, panels = _figure(len(CURVES), title, narrow)
    for axes, (name, curves) in zip(panels, CURVES, strict=True):
        for key, label, colour in curves:
            cells = [(row["step"], row["metrics"][key]) for row in rows if row["metrics"][key]["mean"] is not None]
            axes.errorbar(
                [step for step, _ in cells],
                [cell["mean"] for _, cell in cells],
                yerr=[cell["std_between"] for _, cell in cells],
                marker="o",
                markersize=5,
                linewidth=1.8,
                capsize=2.5,
                color=colour,
                label=label or None,
            )
        if name == "accuracy":
            axes.axhline(0.5, color=SOFT, linewidth=0.9, linestyle=":")
            axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
        plot_frame(axes, "training step", name, tick_size=8.5)
    return to_png(figure)


def draw_histograms(wrong: Mapping[str, int], correct: Mapping[str, int], width: float, title: str) -> bytes:
    """PNG of the sampled scores in wrong and in correct pairs, as shares of each.

    Args:
        wrong, correct: centre of a bin -> samples.
        width: of a bin, in points of the scale.
    """
    figure, (axes,) = _figure(1, title)
    for counts, name, colour in ((correct, "correct", ACCENT), (wrong, "wrong", UNTOUCHED)):
        total = sum(counts.values())
        if total:
            axes.bar(
                [float(centre) for centre in counts],
                [count / total for count in counts.values()],
                width=width,
                color=colour,
                alpha=0.55,
                label=f"{name} pairs, {total} samples",
            )
    if wrong or correct:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    plot_frame(axes, "score", "share of the samples", tick_size=8.5)
    return to_png(figure)


def _figure(panels: int, title: str, narrow: bool = False):
    return panel_figure(panels, title, (1.6 + 4.2 * panels, 3.8), narrow)
