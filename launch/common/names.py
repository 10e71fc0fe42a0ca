"""Names beside the points of a picture, where they cover neither each other nor a point nor the legend, as far as there is room."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from launch.common.picture import plain

# Points of the page, right and up, the best places first.
PLACES = [
    (across * far, up * far * 0.85)
    for far in (9, 16, 26)
    for across, up in ((1, 1), (-1, -1), (1, -1), (-1, 1), (0, 1), (0, -1), (1, 0), (-1, 0))
]
SIDES = {1: ("left", "bottom"), 0: ("center", "center"), -1: ("right", "top")}
MARKER = 12.0  # points across that a point takes


class Name(NamedTuple):
    """A text at a point, in the units of the axes."""

    text: str
    x: float
    y: float
    colour: str


def place_names(axes: Any, names: Sequence[Name], size: float) -> list[Any]:
    """Draws `names`; call it when everything else is drawn, for limits and legend must not move any more.

    Each takes the place that covers least of what is there already; a place outside the axes is the last resort.

    Returns:
        The texts of matplotlib, in the order of `names`.
    """
    from matplotlib.transforms import Bbox

    figure = axes.figure
    figure.draw_without_rendering()  # lays out
    renderer = figure.canvas.get_renderer()
    half = MARKER / 2 * figure.dpi / 72
    centres = [axes.transData.transform((name.x, name.y)) for name in names]
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in centres]
    if legend := axes.get_legend():
        taken.append(legend.get_window_extent(renderer))
    inside, texts = axes.get_window_extent(renderer), []
    for name in names:
        text = axes.annotate(
            plain(name.text),
            (name.x, name.y),
            PLACES[0],
            textcoords="offset points",
            fontsize=size,
            color=name.colour,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )
        text.set_in_layout(False)  # a long name would press the axes together
        costs = []
        for place in PLACES:
            box = _move(text, place).get_window_extent(renderer)
            outside = box.width * box.height - _shared(box, inside)
            costs.append(10 * outside + sum(_shared(box, other) for other in taken))
        # The first of the best: `min` keeps the order of PLACES among equals.
        best = min(range(len(PLACES)), key=costs.__getitem__)
        taken.append(_move(text, PLACES[best]).get_window_extent(renderer))
        texts.append(text)
    return texts


def _move(text: Any, place: tuple[float, float]) -> Any:
    text.xyann = place
    sides = [SIDES[(value > 0) - (value < 0)] for value in place]
    text.set_ha(sides[0][0])
    text.set_va(sides[1][1])
    return text


def _shared(one: Any, other: Any) -> float:
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    up = min(one.y1, other.y1) - max(one.y0, other.y0)
    return across * up if across > 0 and up > 0 else 0.0
