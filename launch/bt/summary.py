"""Results of several checkpoints and seeds in one table: means over seeds, with the spread between and within them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from launch.answers.checkpoints import step_of
from launch.common.table import csv_text, number

Result = Mapping[str, Any]

# name -> where a result holds it
RATES = {
    "acc_all": "accuracy_of_all",
    "strict": "strict_accuracy",
    "strict_all": "strict_accuracy_of_all",
    "nt": "non_tie_accuracy",
    "tie": "tie_rate",
    "parse": "pair_parse_rate",
}
TAILS = ("p5", "p50", "p95")
# ending of a column -> what it holds
WIDE = {"_mean": "mean", "_std": "std_between", "_within_std": "std_within"}


def values_of(result: Result) -> dict[str, tuple[float | None, float | None]]:
    """Name -> (value, population standard deviation over the pairs of this one result), either None where undefined."""
    metrics = result["metrics"]
    found = {"acc": (metrics["accuracy"]["value"], _outcome_std(metrics, metrics["evaluated"]))}
    for name, key in RATES.items():
        value = metrics[key]["value"]
        found[name] = value, None if value is None else math.sqrt(value * (1 - value))
    found["acc_all"] = metrics["accuracy_of_all"]["value"], _outcome_std(metrics, metrics["pairs"])
    found["bt"] = _moments(metrics["losses"]["all"])
    found["bt_nt"] = _moments(metrics["losses"]["non_ties"])
    found["ece"] = result["calibration"]["at_bt_temp"]["ece"], None
    for name, kind in (("d_wro", "margins"), ("bt_wro", "losses")):
        cell = metrics[kind]["wrong"]
        found[name] = _moments(cell)
        found |= {f"{name}_{rank}": (cell[rank] if cell else None, None) for rank in TAILS}
    return found


def _moments(cell: Mapping[str, float] | None) -> tuple[float | None, float | None]:
    return (cell["mean"], cell["std"]) if cell else (None, None)


def _outcome_std(metrics: Mapping[str, Any], total: int) -> float | None:
    # Outcomes are 1, 0.5 for a tie, and 0.
    if not total:
        return None
    mean = (metrics["correct"] + metrics["ties"] / 2) / total
    return math.sqrt(max(0.0, (metrics["correct"] + metrics["ties"] / 4) / total - mean * mean))


def summarize(results: Mapping[tuple[str, int], Result]) -> list[dict[str, Any]]:
    """One row a checkpoint, by step.

    Args:
        results: (checkpoint, seed) -> result of eval-bt.

    Returns:
        Rows with `ckpt`, `step`, `n` (results), `seeds`, and `metrics`: name -> `mean` and `std_between` (population)
        over seeds where it is defined, `std_within` (the mean over seeds of the deviation over pairs) and `values`.
    """
    labels = sorted({label for label, _ in results}, key=_order)
    rows = []
    for label in labels:
        seeds = sorted(seed for other, seed in results if other == label)
        per_seed = [values_of(results[label, seed]) for seed in seeds]
        metrics = {}
        for name in per_seed[0]:
            values = [one[name][0] for one in per_seed]
            within = [one[name][1] for one in per_seed]
            metrics[name] = {
                "mean": _of(np.mean, values),
                "std_between": _of(np.std, values),
                "std_within": _of(np.mean, within),
                "values": values,
            }
        rows.append({"ckpt": label, "step": step_of(label), "n": len(seeds), "seeds": seeds, "metrics": metrics})
    return rows


def _order(label: str) -> tuple:
    step = step_of(label)
    return (step is None, step or 0, label)


def _of(function, values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(function(found)) if found else None


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Wide table: NAME_mean, NAME_std (between seeds) and NAME_within_std; percentiles are means over seeds; nan: none."""
    found = []
    for row in rows:
        cells = {}
        for name, cell in row["metrics"].items():
            wanted = {"": "mean"} if name.endswith(TAILS) else WIDE
            cells |= {f"{name}{end}": "nan" if cell[key] is None else cell[key] for end, key in wanted.items()}
        found.append({"ckpt": row["ckpt"], **cells, "n": row["n"]})
    return csv_text(list(found[0]) if found else ["ckpt", "n"], found)


def to_cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The table to read: a head, then one row per checkpoint, each number with its deviation between seeds."""
    names = {
        "acc": "accuracy, ties 0.5",
        "strict_all": "strict, unparsable wrong",
        "nt": "without ties",
        "tie": "ties",
        "parse": "parsed",
        "bt": "BT loss",
        "bt_nt": "BT loss, without ties",
        "ece": "calibration error",
        "d_wro": "margin of wrong pairs",
        "d_wro_p5": "its p5",
    }
    table = [["checkpoint", *names.values(), "seeds"]]
    for row in rows:
        cells = []
        for name in names:
            cell = row["metrics"][name]
            text = number(cell["mean"], 3)
            cells.append(text if cell["mean"] is None else f"{text} ± {number(cell['std_between'], 3)}")
        table.append([row["ckpt"], *cells, str(row["n"])])
    return table
