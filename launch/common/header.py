"""The header of a file that a run is started with: what for, on what, with which data and by which line."""

import re

COMMENT = re.compile(r"#+(?!!) ?")
FIELD = re.compile(r"([A-Z]\w+): +(.*)")


def lines_of_header(text: str) -> int:
    """How many lines of a file its header takes: comments from the beginning, `#!` and no `#SBATCH` among them."""
    count = 0
    for line in text.splitlines():
        if not line.startswith("#") or line.startswith("#SBATCH"):
            break
        count += 1
    return count


def header(text: str) -> dict[str, list[str]]:
    """Field -> its lines, from the comment at the beginning of a file; what goes on is indented less than it was."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[: lines_of_header(text)]:
        if line.startswith("#!"):
            continue
        line = COMMENT.sub("", line, count=1)
        if field := FIELD.fullmatch(line):
            found[name := field[1]] = [field[2]]
        elif found:
            found[name].append(line[10:] if line[:10].isspace() else line.strip())
    return found
