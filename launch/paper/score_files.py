"""Files of scores, as `score` and `armorm` write them, as arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets_builders.choices import nearest
from launch.evaluate.tradeoff import Rows, prompt_means, read_scores


def read_score_files(files: Sequence[str]) -> dict[str, Rows]:
    """Label -> its score rows, of two or more files of one folder.

    Raises:
        ValueError: fewer than two files, files of several folders, or an error of `read_scores`.
    """
    paths = [Path(file) for file in files]
    if len(paths) < 2 or len({path.parent.resolve() for path in paths}) > 1:
        raise ValueError("--scores: give two or more score files of one folder, one a label")
    return read_scores(paths[0].parent, [path.name.removesuffix(".jsonl") for path in paths])


def score_table(tables: Mapping[str, Rows], objectives: Sequence[str]) -> np.ndarray:
    """(labels, P, K) scores of P prompts, the samples of a prompt averaged.

    Raises:
        ValueError: an objective that was not scored, one twice, or a single one.
    """
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
