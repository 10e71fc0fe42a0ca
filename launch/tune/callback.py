"""The trainer's side of a rung: hand in the evaluation of exactly that step, wait for the answer, stop if told so."""

import time
from collections.abc import Sequence

from transformers import TrainerCallback

from launch.tune.rungs import STOP, RungFiles

SECONDS_BETWEEN_LOOKS = 0.1


def evaluation_at(history: Sequence[dict], step: int) -> dict:
    """The metrics that were logged by the evaluation after `step` steps.

    Raises:
        ValueError: there was none; the steps that were evaluated are named.
    """
    evaluations = {row["step"]: row for row in history if "eval_loss" in row}
    if step not in evaluations:
        raise ValueError(f"step {step} was not evaluated, only {sorted(evaluations)} were")
    return evaluations[step]


class RungCallback(TrainerCallback):
    """Evaluates and saves at every rung, and stops at the first whose answer is STOP.

    The run's learning rate knows nothing of rungs: it is that of the full length from the first step on.

    Args:
        rungs: steps, increasing; the last one is the run's `max_steps`.
        files: what is said at them.
    """

    def __init__(self, rungs: Sequence[int], files: RungFiles):
        self.rungs, self.files = list(rungs), files
        self.stopped_at: int | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        """A run that continues behind a rung hands in what its checkpoint remembers of it."""
        for step in self.rungs:
            if step <= state.global_step:
                self._meet(step, state, control)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in self.rungs:
            control.should_evaluate = control.should_save = True

    def on_evaluate(self, args, state, control, **kwargs):
        if state.global_step in self.rungs:
            self._meet(state.global_step, state, control)

    def _meet(self, step: int, state, control) -> None:
        self.files.report(step, evaluation_at(state.log_history, step))
        while (action := self.files.answered(step)) is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if action == STOP:
            self.stopped_at = step
            control.should_training_stop = True
