"""Gold score against gold labels spent and training steps: read from the runs, averaged over the seeds of one method."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.journal import read_lines
from launch.answers.checkpoints import list_checkpoints
from launch.common.statistics import student_mean
from trl_ext.d2po.ledger import LEDGER_FILE

SCORE, LABELS = "eval_gold", "eval_gold_labels"
STATE_FILE = "trainer_state.json"


class Evaluation(NamedTuple):
    """One evaluation of a run: mean gold score on held-out prompts when so many labels had been spent."""

    step: int
    labels: float
    gold: float


class Point(NamedTuple):
    """A place of a curve, at a number of labels or a step: the mean over seeds with its 95% interval, None for one seed."""

    at: float
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
    log = state.get("log_history", [])
    if not isinstance(log, list) or not all(isinstance(row, dict) for row in log):
        raise ValueError(f"{file}: not the state of a trainer: log_history is no list of objects")
    rows = [row for row in log if SCORE in row and LABELS in row]
    if not rows:
        names = sorted({name for row in log for name in row if name.startswith("eval_")})
        raise ValueError(f"{file}: no row of log_history has {SCORE!r} and {LABELS!r}; evaluations have {names}")
    by_step = {evaluation.step: evaluation for evaluation in (_evaluation(row, file) for row in rows)}
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


def _evaluation(row: Mapping[str, Any], file: Path) -> Evaluation:
    try:
        return Evaluation(int(row["step"]), float(row[LABELS]), float(row[SCORE]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{file}: not an evaluation: {error!r} in {row!r:.200}") from error


def _newest_state(folder: Path) -> tuple[dict, Path]:
    places = [folder, *list_checkpoints(folder)]
    found = []
    for place in places:
        file = place / STATE_FILE
        if file.is_file():
            try:
                state = json.loads(file.read_text(encoding="utf-8"))
                # The run's own state comes first and wins a draw.
                found.append((int(state["global_step"]), place == folder, file, state))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise ValueError(f"{file}: not the state of a trainer: {error}") from error
    if not found:
        raise ValueError(f"{folder}: no {STATE_FILE}, neither there nor in a checkpoint-STEP of it")
    _, _, file, state = max(found, key=lambda entry: entry[:2])
    return state, file


def _check_ledger(folder: Path, last: Evaluation) -> None:
    file = folder / LEDGER_FILE
    if not file.is_file():
        return
    # The running number of each label; a whole last line counts without its line end, as it does for the run itself.
    bought = max(read_lines(file, lambda row: int(row["label"]), "a line of a ledger").entries, default=0)
    if bought < last.labels:
        raise ValueError(f"{file} holds {bought} labels, the evaluation at step {last.step} counts {last.labels:g}")


def at_budgets(evaluations: Sequence[Evaluation]) -> list[tuple[float, float]]:
    """(labels, gold) with one entry a number of labels: the last evaluation before the next label was bought."""
    return sorted({evaluation.labels: evaluation.gold for evaluation in evaluations}.items())


def by_step(evaluations: Sequence[Evaluation]) -> list[tuple[float, float]]:
    """(step, gold) of every evaluation: where labels are spent, or never were, the score still moves with the steps."""
    return [(evaluation.step, evaluation.gold) for evaluation in evaluations]


def average(seeds: Sequence[Sequence[tuple[float, float]]]) -> list[Point]:
    """The mean curve of one method, where all of its seeds have one.

    Seeds need not have been evaluated at the same places: between two evaluations of a seed the score is taken as
    linear.

    Args:
        seeds: `at_budgets` of each, or `by_step`.

    Raises:
        ValueError: the seeds have no place in common.
    """
    low, high = max(seed[0][0] for seed in seeds), min(seed[-1][0] for seed in seeds)
    if low > high:
        raise ValueError(f"one seed starts at {low:g} and one ends at {high:g}: they have no place in common")
    grid = sorted({at for seed in seeds for at, _ in seed if low <= at <= high})
    return [_point(at, [_interpolate(seed, at) for seed in seeds]) for at in grid]


def _interpolate(curve: Sequence[tuple[float, float]], at: float) -> float:
    for (left, before), (right, after) in pairwise(curve):
        if left <= at <= right:
            return before + (after - before) * (at - left) / (right - left)
    return curve[0][1]  # a curve of one place


def _point(at: float, values: Sequence[float]) -> Point:
    found = student_mean(values)
    return Point(at, found.value, found.low, found.high, found.n)


class Curves(NamedTuple):
    """Name -> mean curve of a method: over the labels that were spent, and over all steps that were evaluated."""

    labels: dict[str, list[Point]]
    steps: dict[str, list[Point]]


def curves(runs: Mapping[str, Sequence[Sequence[Evaluation]]]) -> Curves:
    """The mean curves of all methods. Args: name -> the evaluations of each seed.

    Raises:
        ValueError: see `average`; the run is named.
    """
    found = Curves({}, {})
    for name, seeds in runs.items():
        for kind, places, read in (("labels", found.labels, at_budgets), ("steps", found.steps, by_step)):
            try:
                places[name] = average([read(seed) for seed in seeds])
            except ValueError as error:
                raise ValueError(f"--run {name}, by {kind}: {error}") from error
    return found
