"""Writes the tables of `docs/engines.md` from `docs/results/engines.json`: `python -m tests.engines.table`."""

from datasets_builders.io import read_object, write_text
from tests.conftest import REPOSITORY
from tests.engines.record import BACKENDS, ENGINES, METHODS, VERBS

CELLS, PAGE = REPOSITORY / "docs/results/engines.json", REPOSITORY / "docs/engines.md"
START, END = "<!-- engines: made by tests -->\n", "<!-- end of engines -->\n"
START_OF_ANSWERS, END_OF_ANSWERS = "<!-- answers: made by tests -->\n", "<!-- end of answers -->\n"
DETAILS = "outcome | versions | date | what was seen, or the reason |\n|---|---|---|---|---|"


def outcomes(cells: dict, corner: str, engines: tuple[str, ...], methods: tuple[str, ...]) -> list[str]:
    """A row for each engine, a column for each method."""
    lines = [f"| {corner} | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for engine in engines:
        found = (cells.get(method, {}).get(engine, {}).get("outcome", "-") for method in methods)
        lines.append(f"| {engine} | {' | '.join(found)} |")
    return lines


def details(cells: dict, kind: str, engines: tuple[str, ...], methods: tuple[str, ...]) -> list[str]:
    """For each method what its cells say."""
    lines = []
    for method in methods:
        if found := cells.get(method, {}):
            lines += ["", f"### {method}", f"| {kind} | {DETAILS}"]
        for engine in (name for name in engines if name in found):
            one = found[engine]
            versions = ", ".join(f"{name} {number}" for name, number in one["versions"].items())
            lines.append(f"| {engine} | {one['outcome']} | {versions} | {one['date']} | {one['seen']} |")
    return lines


def table(cells: dict, kind: str, engines: tuple[str, ...], methods: tuple[str, ...]) -> str:
    lines = outcomes(cells, kind, engines, methods) + details(cells, kind, engines, methods)
    return "\n".join(lines) + "\n"


def between(text: str, start: str, end: str, made: str) -> str:
    """The text of a page with `made` between its two marks."""
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    assert rest and after, f"the page has not both marks: {start}"
    return before + start + made + end + after


def page(text: str, cells: dict) -> str:
    """The page with the tables of trainings and of answers between their marks."""
    text = between(text, START, END, table(cells, "engine", ENGINES, METHODS))
    return between(text, START_OF_ANSWERS, END_OF_ANSWERS, table(cells, "back end", BACKENDS, VERBS))


if __name__ == "__main__":
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), read_object(CELLS)))
