"""Writes the table of `docs/compatibility.md` from `docs/results/compatibility.json`: `python -m tests.compatibility.table`."""

from datasets_builders.io import write_text
from tests.compatibility.rows import OLDEST, REPOSITORY, SWIFT, TRL, kind, outcomes
from tests.engines.table import between

PAGE = REPOSITORY / "docs/compatibility.md"
START, END = "<!-- compatibility: made by tests -->\n", "<!-- end of compatibility -->\n"
NAMES = {OLDEST: "oldest of every range", SWIFT: "ms-swift"}
COLUMNS = ("trl", "transformers", "peft", "accelerate", "datasets", "torch")


def label(row: str) -> str:
    return NAMES.get(kind(row), f"trl {kind(row)}") + row.removeprefix(kind(row))


def table(found: dict) -> str:
    """One line a row; then what failed."""
    lines = [
        f"| row | outcome | {' | '.join(COLUMNS)} | Python | tests | date |",
        "|---" * (len(COLUMNS) + 5) + "|",
    ]
    for row in dict.fromkeys([*TRL, OLDEST, SWIFT, *found]):
        name = label(row)
        if row not in found:
            lines.append(f"| {name} | not run |{' |' * (len(COLUMNS) + 3)}")
            continue
        one = found[row]
        if SWIFT in one["versions"]:
            name = name.replace(SWIFT, f"{SWIFT} {one['versions'][SWIFT]}")
        versions = " | ".join(one["versions"].get(column, "") for column in COLUMNS)
        counts = ", ".join(f"{number} {kind}" for kind, number in one.get("counts", {}).items() if number)
        lines.append(f"| {name} | {one['outcome']} | {versions} | {one['python']} | {counts} | {one['date']} |")
    for row, one in found.items():
        if one["failed"]:
            said = [f"- `{' '.join(text.replace('`', chr(39)).split())}`" for text in one["failed"]]
            lines += ["", f"What failed with {label(row)}:", "", *said]
    return "\n".join(lines) + "\n"


def page(text: str, found: dict) -> str:
    """The page with the table between its two marks."""
    return between(text, START, END, table(found))


if __name__ == "__main__":
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), outcomes()))
