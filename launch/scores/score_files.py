"""Files of scores, as `score` and `armorm` write them: read, aligned, and as arrays.

An answer's key is (prompt_id, sample). Several samples of one prompt are averaged first, because they are not independent.
A score is a finite number, or null where there is none: what is read here can be averaged and written as JSON.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.choices import nearest
from datasets_builders.io import read_rows

if TYPE_CHECKING:
    import numpy as np

# What was scored and in which units, beside the files of scores.
SETTINGS_FILE = "score.json"
# Measured beside the scores of every row.
LENGTHS = ("response_tokens", "words")
# What says that length limits had a say in an answer.
CUT = ("capped", "prompt_truncated")
# (prompt_id, sample) -> the row of the answer, its `scores` by name.
Rows = dict[tuple[str, int], dict[str, Any]]


def read_scores(directory: str | Path, labels: Sequence[str]) -> dict[str, Rows]:
    """The score rows of each label, keyed by (prompt_id, sample), all with the same keys.

    Raises:
        ValueError: a file or row that is missing, labels scored with different rewards, or an error of
            `read_score_file`.
    """
    table: dict[str, Rows] = {}
    for label in labels:
        file = Path(directory) / f"{label}.jsonl"
        if not file.is_file():
            raise ValueError(f"{file}: no scores of label {label!r}")
        table[label] = read_score_file(file, CUT)
    _check_aligned(table)
    return table


def read_score_file(file: Path, fields: Sequence[str] = ()) -> Rows:
    """The score rows of one file, in its order.

    Args:
        fields: what a row must have beside `prompt_id`, `sample` and `scores`.

    Raises:
        ValueError: `FILE:LINE: ...` for a row without a field, one twice, or a score or length that is not a finite
            number (a score may be null); `FILE: ...` for a file without rows.
    """
    rows: Rows = {}
    for line, row in read_rows(file):
        where = f"{file}:{line}"
        if lacking := [name for name in ("prompt_id", "sample", "scores", *fields) if name not in row]:
            raise ValueError(f"{where}: no field {lacking[0]!r}")
        key = row["prompt_id"], row["sample"]
        if [type(part) for part in key] != [str, int]:
            raise ValueError(f"{where}: prompt_id is a text and sample a whole number, found {key[0]!r} and {key[1]!r}")
        if key in rows:
            raise ValueError(f"{where}: prompt {key[0]} sample {key[1]} appears twice")
        _check_numbers(row, where)
        rows[key] = row
    if not rows:
        raise ValueError(f"{file}: no rows")
    return rows


def _check_numbers(row: Mapping[str, Any], where: str) -> None:
    if not isinstance(row["scores"], dict):
        raise ValueError(f"{where}: scores is {row['scores']!r:.40}, not names with their numbers")
    found = {f"score {name!r}": value for name, value in row["scores"].items() if value is not None}
    found |= {name: row[name] for name in LENGTHS if name in row}
    for name, value in found.items():
        if not is_number(value):
            raise ValueError(
                f"{where}: prompt {row['prompt_id']} sample {row['sample']}: the {name} is {value!r:.40}, "
                "not a finite number"
            )


def is_number(value: Any) -> bool:
    """A finite number, no truth value. A whole number may be too large for a float, which `isfinite` does not take."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # NaN fails any comparison


def _check_aligned(table: Mapping[str, Rows]) -> None:
    everything = set().union(*table.values())
    names = sorted(next(iter(next(iter(table.values())).values()))["scores"])
    for label, rows in table.items():
        if missing := sorted(everything - rows.keys()):
            shown = ", ".join(f"prompt {key} sample {sample}" for key, sample in missing[:5])
            raise ValueError(f"label {label!r} lacks {len(missing)} of {len(everything)} answers: {shown}")
        for (key, sample), row in rows.items():
            if sorted(row["scores"]) != names:
                raise ValueError(
                    f"label {label!r}, prompt {key}, sample {sample}: scores {sorted(row['scores'])}, not {names}"
                )


def uncapped_prompts(table: Mapping[str, Rows]) -> set[str]:
    """Prompts of which no answer of ANY label was cut off, no prompt was truncated, and nothing was cut for scoring."""
    prompts = {key for rows in table.values() for key, _ in rows}
    flags = (*CUT, "reward_truncated")  # the last one is of `armorm` alone
    cut = {key for rows in table.values() for (key, _), row in rows.items() if any(map(row.get, flags))}
    return prompts - cut


def prompt_means(rows: Rows, name: str, prompts: Sequence[str]) -> list[float]:
    """The score `name` of each of `prompts`, averaged over its samples.

    Raises:
        ValueError: an answer without that score.
    """
    samples: dict[str, list[float]] = {}
    for (key, sample), row in rows.items():
        if row["scores"][name] is None:
            raise ValueError(f"prompt {key} sample {sample}: no score {name!r}")
        samples.setdefault(key, []).append(float(row["scores"][name]))
    return [sum(samples[key]) / len(samples[key]) for key in prompts]


def read_score_files(files: Sequence[str]) -> dict[str, Rows]:
    """Label -> its score rows, of two or more files of one folder.

    Raises:
        ValueError: fewer than two files, files of several folders, or an error of `read_scores`.
    """
    paths = [Path(file) for file in files]
    if len(paths) < 2 or len({path.parent.resolve() for path in paths}) > 1:
        raise ValueError("--scores: give two or more score files of one folder, one per label")
    return read_scores(paths[0].parent, [path.name.removesuffix(".jsonl") for path in paths])


def score_table(tables: Mapping[str, Rows], objectives: Sequence[str]) -> "np.ndarray":
    """(labels, P, K) scores of P prompts, the samples of a prompt averaged.

    Raises:
        ValueError: an objective that was not scored, one twice, or a single one.
    """
    import numpy as np

    rows = next(iter(tables.values()))
    scored = next(iter(rows.values()))["scores"]
    for place, name in enumerate(objectives):
        if name not in scored:
            raise ValueError(f"--objectives {name}: not scored; {nearest(name, scored)}")
        if name in objectives[:place]:
            raise ValueError(f"--objectives names {name!r} twice")
    if len(objectives) < 2:
        raise ValueError("--objectives: a conflict needs two or more of them")
    prompts = list(dict.fromkeys(key for key, _ in rows))
    values = [[prompt_means(table, name, prompts) for name in objectives] for table in tables.values()]
    return np.array(values, dtype=float).transpose(0, 2, 1)
