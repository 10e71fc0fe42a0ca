"""What a training run and its worker tell each other at a rung: two small files per rung, each whole or not there.

At a rung the run writes its evaluation and waits; the worker, who alone writes to the study, answers GO or STOP. Files
outlive both: a worker that takes a dead one's trial over finds what was said, and a continued run does not ask again.
"""

import json
from pathlib import Path
from typing import Any

from datasets_builders.io import nonfinite_as_text, write_json

GO, STOP = "go", "stop"
# How a measure of a run that diverged stands in a file.
NONFINITE = ("nan", "inf", "-inf")


class RungFiles:
    """The files of one trial in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _report(self, step: int) -> Path:
        return self.folder / f"step_{step}.json"

    def _answer(self, step: int) -> Path:
        return self.folder / f"step_{step}.answer.json"

    def report(self, step: int, metrics: dict[str, Any]) -> None:
        """The run: the evaluation that was made after `step` optimiser steps. The first one stands."""
        if not self._report(step).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self._report(step), {"step": step, "metrics": nonfinite_as_text(metrics)})

    def reported(self, step: int) -> dict[str, Any] | None:
        """The worker: the metrics of that evaluation, None before it is there."""
        path = self._report(step)
        if not path.exists():
            return None
        metrics = json.loads(path.read_text("utf-8"))["metrics"]
        return {name: float(value) if value in NONFINITE else value for name, value in metrics.items()}

    def answer(self, step: int, action: str) -> None:
        """The worker: GO or STOP."""
        assert action in (GO, STOP), action
        write_json(self._answer(step), {"step": step, "action": action})

    def answered(self, step: int) -> str | None:
        """GO, STOP, or None before the worker answered."""
        path = self._answer(step)
        return json.loads(path.read_text("utf-8"))["action"] if path.exists() else None
