"""YAML files, and what is wrong with one in a sentence that names it."""

import os
import re
from pathlib import Path
from typing import Any


def read_yaml(path: str | os.PathLike[str], where: str | None = None) -> Any:
    """The document of a YAML or JSON file; None where it is empty.

    Args:
        where: how an error names the file (default: its path).

    Raises:
        ValueError: no such file, text that is not UTF-8, or no YAML; the place is named.
    """
    import yaml

    where = where or str(path)
    if not os.path.isfile(path):
        raise ValueError(f"{where}: no such file")
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = getattr(error, "problem", None) or error
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        sentence = re.sub(r"\s+", " ", str(problem))
        raise ValueError(f"{where}: not YAML: {sentence}{place}") from error


def read_mapping(path: str | os.PathLike[str], where: str | None = None) -> dict[str, Any]:
    """The keys and values of a YAML or JSON file. Arguments and errors as those of `read_yaml`.

    Raises:
        ValueError: something else than keys and values, an empty file too.
    """
    found = read_yaml(path, where)
    if not isinstance(found, dict):
        raise ValueError(f"{where or path}: expected keys and values, found a {type(found).__name__}")
    return found
