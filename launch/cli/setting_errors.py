"""What is wrong with settings, in the words of whoever typed them."""

from typing import TYPE_CHECKING

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
        lines.append(f"{mark + where + ': ' if where else ''}{issue['msg'].removeprefix('Value error, ')}{found}")
    return "; ".join(lines)
