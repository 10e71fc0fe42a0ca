"""Files of scores, as `score` and `armorm` write them: read, aligned, and as arrays.

An answer's key is (prompt_id, sample). Several samples of one prompt are averaged first, because they are not independent.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.choices import nearest
from datasets_builders.io import read_rows

if TYPE_CHECKING:
    import numpy as np

# (prompt_id, sample) -> the row of the answer, its `scores` by name.
Rows = dict[tuple[str, int], dict[str, Any]]


def read_scores(directory: str | Path, labels: Sequence[str]) -> dict[str, Rows]:
    """The score rows of each label, keyed by (prompt_id, sample), all with the same keys.

    Raises:
        ValueError: a file or row that is missing, a row twice, or labels scored with different rewards.
    """
    table: dict[str, Rows] = {}
    for label in labels:
        file = Path(directory) / f"{label}.jsonl"
        if not file.is_file():
            raise ValueError(f"{file}: no scores of label {label!r}")
        rows: Rows = {}
        for line, row in read_rows(file):
            try:
                key = row["prompt_id"], row["sample"]
                row["scores"], row["capped"], row["prompt_truncated"]
            except KeyError as error:
                raise ValueError(f"{file}:{line}: no field {error}") from error
            if key in rows:
                raise ValueError(f"{file}:{line}: prompt {key[0]} sample {key[1]} appears twice")
            rows[key] = row
        if not rows:
            raise ValueError(f"{file}: no rows")
        table[label] = rows
    _check_aligned(table)
    return table


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
    flags = ("capped", "prompt_truncated", "reward_truncated")  # the last one is of `armorm` alone
    cut = {key for rows in table.values() for (key, _), row in rows.items() if any(map(row.get, flags))}
    return prompts - cut


def prompt_means(rows: Rows, name: str, prompts: Sequence[str]) -> list[float]:
    """The score `name` of each of `prompts`, averaged over its samples."""
    samples: dict[str, list[float]] = {}
    for (key, _), row in rows.items():
        samples.setdefault(key, []).append(float(row["scores"][name]))
    return [sum(samples[key]) / len(samples[key]) for key in prompts]


def read_score_files(files: Sequence[str]) -> dict[str, Rows]:
    """Label -> its score rows, of two or more files of one folder.

    Raises:
        ValueError: fewer than two files, files of several folders, or an error of `read_scores`.
    """
    paths = [Path(file) for file in files]
    if len(paths) < 2 or len({path.parent.resolve() for path in paths}) > 1:
        raise ValueError("--scores: give two or more score files of one folder, one a label")
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
