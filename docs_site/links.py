"""Where a file of the repository is in the site, and links that lead there."""

import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

LINK = re.compile(r"(?<!\\)(\]\()([^()\s]+)(\))")
FENCE = re.compile(r"\s*(`{3,}|~{3,})")


def rewritten(text: str, origin: str, address: str, places: Mapping[str, str]) -> str:
    """The page with its links as the site has them; a link that leads nowhere is left as it is, and the build refuses it.

    Args:
        origin: the page's own path in the repository.
        address: and in the site.
        places: path in the repository -> address in the site, `#part` included where it is a part of a page.
    """

    def replace(found: re.Match) -> str:
        target, _, anchor = found[2].partition("#")
        if not target or "://" in target:
            return found[0]
        path = os.path.normpath(PurePosixPath(origin).parent / target)
        if path not in places:
            return found[0]
        place, _, part = places[path].partition("#")
        part = anchor or part
        link = os.path.relpath(place, PurePosixPath(address).parent)
        return f"{found[1]}{link}{'#' + part if part else ''}{found[3]}"

    return outside_code(text, lambda line: LINK.sub(replace, line))


def outside_code(text: str, change) -> str:
    """The text with every line outside of blocks of code changed."""
    lines, fence = [], ""
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""
        elif not fence:
            line = change(line)
        lines.append(line)
    return "\n".join(lines)


def with_blank_lines(text: str) -> str:
    """A blank line before every list that follows a sentence: GitHub needs none, Python's Markdown does."""
    before, lines = "", []

    def change(line: str) -> str:
        nonlocal before
        begins = (
            re.match(r"(?:[-*]|\d+\.) ", line) and before.strip() and not re.match(r"\s*(?:[-*]|\d+\.) |\s{2,}", before)
        )
        before = line
        return f"\n{line}" if begins else line

    lines.append(outside_code(text, change))
    return "\n".join(lines)
