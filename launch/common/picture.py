"""What all pictures share: colours, figures, frames, error bars and bytes."""

import io
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Literal

from launch.common import look

INK, SOFT, GRID, ACCENT = (look.LIGHT[name] for name in ("ink", "soft", "line", "mark"))
FRONT, UNTOUCHED, SERIES = look.FRONT, look.UNTOUCHED, look.SERIES
NARROW = 4.6  # inches across, of a picture for a narrow window


def can_draw() -> bool:
    """Is matplotlib (extra `eval`) installed?"""
    return find_spec("matplotlib") is not None


def plain(text: str) -> str:
    """`text` with its dollar signs kept as such: matplotlib would read what stands between two of them as a formula."""
    return text.replace("$", r"\$")


def new_figure(
    panels: int, size: tuple[float, float], dpi: int = 160, narrow: bool = False, **shared: Any
) -> tuple[Any, list[Any]]:
    """A figure of its own, not pyplot (no global state, no display), and its panels side by side. Size in inches.

    Args:
        narrow: for a narrow window: panels above each other, NARROW wide, each as high as `size` says.
        shared: `sharex`, `sharey` of matplotlib's `subplots`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if narrow:
        size = (NARROW, size[1] * panels)
    figure = Figure(figsize=size, dpi=dpi, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    rows, columns = (panels, 1) if narrow else (1, panels)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **shared).flat)


def panel_figure(panels: int, title: str, size: tuple[float, float], narrow: bool = False) -> tuple[Any, list[Any]]:
    """As `new_figure`, with a title above all panels, unless it is empty."""
    figure, axes = new_figure(panels, size, 150, narrow)
    if title:
        figure.suptitle(plain(title), color=INK, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return figure, axes


def head(axes: Any, title: str, subtitle: str = "") -> None:
    """A title and a smaller line under it, above one panel; nothing where they are empty."""
    if title:
        axes.set_title(plain(title), loc="left", color=INK, fontsize=13, fontweight="bold", pad=22)
    if subtitle:
        axes.text(0, 1.02, subtitle, transform=axes.transAxes, color=SOFT, fontsize=9.5)


def name_axes(axes: Any, across: str, up: str, size: float = 9.5) -> None:
    """What the axes show."""
    axes.set_xlabel(plain(across), color=INK, fontsize=size)
    axes.set_ylabel(plain(up), color=INK, fontsize=size)


def arms(ends: Iterable[tuple[float, float | None, float | None]]) -> list[list[float]]:
    """[lower arms, upper arms] of error bars, from (value, low, high); none where there is no interval.

    A skewed sample can put a mean a rounding error outside its own interval; a bar cannot be negative.
    """
    lower, upper = [], []
    for value, low, high in ends:
        lower.append(0.0 if low is None else max(0.0, value - low))
        upper.append(0.0 if high is None else max(0.0, high - value))
    return [lower, upper]


def open_frame(axes: Any, tick_size: float = 9) -> None:
    """Light lines to the left and below, none around, no tick marks."""
    axes.tick_params(colors=SOFT, labelsize=tick_size, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def plot_frame(axes: Any, across: str, up: str, size: float = 9.5, tick_size: float = 9) -> None:
    """What the axes show, an open frame, and a light grid behind everything else."""
    name_axes(axes, across, up, size)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    open_frame(axes, tick_size)


def to_png(figure: Any) -> bytes:
    """The figure as PNG."""
    return to_bytes(figure, "png")


def to_bytes(figure: Any, form: Literal["png", "svg"]) -> bytes:
    """The figure without a date and random names: equal numbers are equal bytes."""
    import matplotlib

    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "launch"}):
        figure.savefig(buffer, format=form, metadata=metadata)
    return buffer.getvalue()
