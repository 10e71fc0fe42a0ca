"""YAML files, and what is wrong with one in a sentence that names it."""

import os
import re
from pathlib import Path
from typing import Any

# Run files have hundreds.
MOST_VALUES = 100_000


def read_yaml(path: str | os.PathLike[str], where: str | None = None) -> Any:
    """The document of a YAML or JSON file; None where it is empty.

    Args:
        where: how an error names the file (default: its path).

    Raises:
        ValueError: no such file, text that is not UTF-8, no YAML, a value that cannot be, or aliases that repeat values
            without end; the place is named.
    """
    import yaml

    where = where or str(path)
    if not os.path.isfile(path):
        raise ValueError(f"{where}: no such file")
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = getattr(error, "problem", None) or error
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        sentence = re.sub(r"\s+", " ", str(problem))
        raise ValueError(f"{where}: not YAML: {sentence}{place}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: not YAML that can be read: values lie too deep in each other") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:  # of a date or number that is none
        raise ValueError(f"{where}: not YAML: a value that cannot be: {error}") from error
    if not _is_small(document):
        raise ValueError(f"{where}: a value that holds itself, or more than {MOST_VALUES:,} values: write aliases out")
    return document


def read_mapping(path: str | os.PathLike[str], where: str | None = None) -> dict[str, Any]:
    """The keys and values of a YAML or JSON file. Arguments and errors as those of `read_yaml`.

    Raises:
        ValueError: something else than keys and values, an empty file too.
    """
    found = read_yaml(path, where)
    if not isinstance(found, dict):
        raise ValueError(f"{where or path}: expected keys and values, found a {type(found).__name__}")
    return found


def _is_small(document: Any) -> bool:
    """Whether `document`, every alias written out, has at most `MOST_VALUES` values; a few lines may stand for billions."""
    left, open_values = MOST_VALUES, [document]
    while open_values and left:
        value, left = open_values.pop(), left - 1
        open_values += value.values() if isinstance(value, dict) else value if isinstance(value, list | set) else ()
    return not open_values
