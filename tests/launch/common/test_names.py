"""Names of points cover neither each other nor a point nor the legend."""

import itertools

import pytest

pytest.importorskip("matplotlib")
from launch.common.names import Name, place_names
from launch.common.picture import INK, new_figure


@pytest.mark.parametrize("narrow", [False, True])
def test_names_of_close_points_are_apart(narrow):
    figure, (axes,) = new_figure(1, (7.6, 5.2), narrow=narrow)
    points = [(0, 0), (0.02, 0.01), (0.5, 0.5), (0.52, 0.48), (1, 1), (1.02, 1)]
    axes.plot(*zip(*points, strict=True), "o", label="a series")
    axes.margins(0.14)
    axes.legend(loc="upper left")
    names = [Name(f"$weighted {place}", *point, INK) for place, point in enumerate(points)]
    texts = place_names(axes, names, 9.5)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts]
    assert [text.get_text().replace("\\", "") for text in texts] == [name.text for name in names]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    dots = [axes.transData.transform(point) for point in points]
    assert not any(box.contains(*dot) for box in boxes for dot in dots)
    legend, inside = axes.get_legend().get_window_extent(), axes.get_window_extent()
    for box in boxes:
        assert not box.overlaps(legend)
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
