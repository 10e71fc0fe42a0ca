"""Gold score against gold labels spent: read from the runs, and averaged over the seeds of one method."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from launch.common.statistics import student_mean

SCORE, LABELS = "eval_gold", "eval_gold_labels"
STATE_FILE, LEDGER_FILE = "trainer_state.json", "d2po_ledger.jsonl"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class Evaluation(NamedTuple):
    """One evaluation of a run: mean gold score on held-out prompts when so many labels had been spent."""

    step: int
    labels: float
    gold: float


class Point(NamedTuple):
    """A place of a curve: the mean over seeds with its 95% interval, which is None for one seed."""

    labels: float
    mean: float
    low: float | None
    high: float | None
    seeds: int


def read_run(folder: str | Path, before: float = 0) -> list[Evaluation]:
    """The evaluations of one run, by step; of two of one step the later counts, which a resumed run wrote.

    Args:
        folder: of a run (its own state or that of its newest checkpoint is read, whichever is further), or of one
            checkpoint.
        before: labels that were spent before the run began, such as those of its reward model.

    Raises:
        ValueError: no state there, no evaluation in it, a number that is not finite, labels that get fewer, or more
            labels than the run's ledger holds.
    """
    folder = Path(folder)
    state, file = _newest_state(folder)
    rows = [row for row in state.get("log_history", []) if SCORE in row and LABELS in row]
    if not rows:
        names = sorted({name for row in state.get("log_history", []) for name in row if name.startswith("eval_")})
        raise ValueError(f"{file}: no row of log_history has {SCORE!r} and {LABELS!r}; evaluations have {names}")
    by_step = {int(row["step"]): Evaluation(int(row["step"]), float(row[LABELS]), float(row[SCORE])) for row in rows}
    evaluations = [by_step[step] for step in sorted(by_step)]
    for evaluation in evaluations:
        if not (math.isfinite(evaluation.gold) and math.isfinite(evaluation.labels)):
            raise ValueError(f"{file}: step {evaluation.step} has {SCORE} {evaluation.gold}, not a finite number")
    for earlier, later in pairwise(evaluations):
        if later.labels < earlier.labels:
            raise ValueError(
                f"{file}: {earlier.labels:g} labels at step {earlier.step} and {later.labels:g} at step {later.step}"
            )
    _check_ledger(folder, evaluations[-1])
    return [evaluation._replace(labels=evaluation.labels + before) for evaluation in evaluations]


def _newest_state(folder: Path) -> tuple[dict, Path]:
    places = [folder, *(place for place in folder.glob("checkpoint-*") if _CHECKPOINT.fullmatch(place.name))]
    found = []
    for place in places:
        file = place / STATE_FILE
        if file.is_file():
            try:
                state = json.loads(file.read_text(encoding="utf-8"))
                # The run's own state comes first and wins a draw.
                found.append((int(state["global_step"]), place == folder, file, state))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{file}: not the state of a trainer: {error}") from error
    if not found:
        raise ValueError(f"{folder}: no {STATE_FILE}, neither there nor in a checkpoint-STEP of it")
    _, _, file, state = max(found, key=lambda entry: entry[:2])
    return state, file


def _check_ledger(folder: Path, last: Evaluation) -> None:
    file = folder / LEDGER_FILE
    if not file.is_file():
        return
    bought = 0
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            bought = max(bought, int(json.loads(line)["label"]))  # running number of the label
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}:{number}: not a line of a ledger: {error}") from error
    if bought < last.labels:
        raise ValueError(f"{file} holds {bought} labels, the evaluation at step {last.step} counts {last.labels:g}")


def at_budgets(evaluations: Sequence[Evaluation]) -> list[tuple[float, float]]:
    """(labels, gold) with one entry a number of labels: the last evaluation before the next label was bought."""
    return sorted({evaluation.labels: evaluation.gold for evaluation in evaluations}.items())


def average(seeds: Sequence[Sequence[tuple[float, float]]]) -> list[Point]:
    """The mean curve of one method, where all of its seeds have one.

    Seeds need not have been evaluated at the same numbers of labels: between two evaluations of a seed the score is
    taken as linear.

    Args:
        seeds: `at_budgets` of each.

    Raises:
        ValueError: the seeds have no number of labels in common.
    """
    low, high = max(seed[0][0] for seed in seeds), min(seed[-1][0] for seed in seeds)
    if low > high:
        raise ValueError(f"its seeds have no number of labels in common: one starts at {low:g}, one ends at {high:g}")
    grid = sorted({labels for seed in seeds for labels, _ in seed if low <= labels <= high})
    return [_point(labels, [_interpolate(seed, labels) for seed in seeds]) for labels in grid]


def _interpolate(curve: Sequence[tuple[float, float]], labels: float) -> float:
    for (left, before), (right, after) in pairwise(curve):
        if left <= labels <= right:
            return before + (after - before) * (labels - left) / (right - left)
    return curve[0][1]  # a curve of one place


def _point(labels: float, values: Sequence[float]) -> Point:
    found = student_mean(values)
    return Point(labels, found.value, found.low, found.high, found.n)


def curves(runs: Mapping[str, Sequence[Sequence[Evaluation]]]) -> dict[str, list[Point]]:
    """Name -> mean curve. Args: name -> the evaluations of each seed. Errors: see `average`; the run is named."""
    result = {}
    for name, seeds in runs.items():
        try:
            result[name] = average([at_budgets(seed) for seed in seeds])
        except ValueError as error:
            raise ValueError(f"--run {name}: {error}") from error
    return result
