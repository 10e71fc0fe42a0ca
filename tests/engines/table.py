"""Writes the tables of `docs/engines.md` from `docs/results/engines.json`: `python -m tests.engines.table`."""

from datasets_builders.io import read_object, write_text
from tests.conftest import REPOSITORY
from tests.engines.record import ENGINES, METHODS

CELLS, PAGE = REPOSITORY / "docs/results/engines.json", REPOSITORY / "docs/engines.md"
START, END = "<!-- engines: made by tests -->\n", "<!-- end of engines -->\n"


def tables(cells: dict) -> str:
    """Method by engine, then for each method what its cells say."""
    lines = [f"| engine | {' | '.join(METHODS)} |", "|---" * (len(METHODS) + 1) + "|"]
    for engine in ENGINES:
        outcomes = (cells.get(method, {}).get(engine, {}).get("outcome", "-") for method in METHODS)
        lines.append(f"| {engine} | {' | '.join(outcomes)} |")
    for method in METHODS:
        found = cells.get(method, {})
        if not found:
            continue
        lines += [
            "",
            f"### {method}",
            "| engine | outcome | versions | date | what was seen, or the reason |",
            "|---|---|---|---|---|",
        ]
        for engine in ENGINES:
            if engine in found:
                one = found[engine]
                versions = ", ".join(f"{name} {number}" for name, number in one["versions"].items())
                lines.append(f"| {engine} | {one['outcome']} | {versions} | {one['date']} | {one['seen']} |")
    return "\n".join(lines) + "\n"


def between(text: str, start: str, end: str, made: str) -> str:
    """The text of a page with `made` between its two marks."""
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    assert rest and after, f"the page has not both marks: {start}"
    return before + start + made + end + after


def page(text: str, cells: dict) -> str:
    """The page with the tables between its two marks."""
    return between(text, START, END, tables(cells))


if __name__ == "__main__":
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), read_object(CELLS)))
