"""What is wrong with settings, in the words of whoever typed them."""

import re
from typing import TYPE_CHECKING

from datasets_builders.choices import nearest

if TYPE_CHECKING:
    from pydantic import ValidationError


def sentences(error: "ValidationError", mark: str = "") -> str:
    """All problems of `error`: `setting: what is wrong, found value`, joined by `; `.

    Args:
        mark: stands before the name of a setting, such as `--`.
    """
    lines = []
    for issue in error.errors():
        where = ".".join(str(part) for part in issue["loc"])
        found = "" if issue["type"] in ("missing", "value_error") else f", found {issue['input']!r}"
        valid = re.findall(r"'([^']*)'", issue["ctx"]["expected"]) if issue["type"] == "literal_error" else []
        found += f"; {nearest(str(issue['input']), valid)}" if valid else ""
        lines.append(f"{mark + where + ': ' if where else ''}{issue['msg'].removeprefix('Value error, ')}{found}")
    return "; ".join(lines)
