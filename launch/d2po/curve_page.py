"""The page of `label-curve`: its picture, where each run ends, and every point of the curves."""

from collections.abc import Mapping, Sequence

from launch.common.page import Cell, document, folded, heading, interval, joined, number, picture, table
from launch.d2po.curve_data import Curves, Point


def render_page(drawn: Curves, title: str, gold: str, wide: bytes, narrow: bytes) -> str:
    """The whole page.

    Args:
        wide, narrow: PNG of the curves without a title, for either shape of a window.
    """
    ends: list[list[Cell]] = []
    for name, points in drawn.labels.items():
        last, best = points[-1], max(drawn.steps[name], key=lambda point: point.mean)
        ends.append([name, str(last.seeds), f"{last.at:g}", _score(last), _score(best), f"{best.at:g}"])
    head = ("run", "seeds", "labels spent", f"{gold} at the end", "best evaluation", "its step")
    body = [
        picture(f"Curves of {gold}, one a run; numbers in the tables below", wide, narrow),
        heading("Where each run ends"),
        table(head, ends),
        folded("all points, by labels spent", _points(drawn.labels, "labels", gold)),
        folded("all points, by training step", _points(drawn.steps, "step", gold)),
    ]
    seeds = max(point.seeds for points in drawn.labels.values() for point in points)
    about = "; means over seeds, with 95% intervals (Student)" if seeds > 1 else ""
    return document(title, f"{gold} on held-out prompts, higher is better{about}", joined(body))


def _score(point: Point) -> Cell:
    return number(point.mean), interval(point.low, point.high)


def _points(found: Mapping[str, Sequence[Point]], across: str, gold: str):
    rows = [[name, f"{point.at:g}", _score(point)] for name, points in found.items() for point in points]
    return table(("run", across, gold), rows)
