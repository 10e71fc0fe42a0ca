"""One worker: claims trials, runs them, judges them at their rungs, and tells the study how they ended."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from datasets_builders.io import write_text
from datasets_builders.progress import left
from datasets_builders.yaml_file import read_mapping
from launch.common.processes import who_holds
from launch.tune.objective import SANITY, Objective
from launch.tune.run_file import margin_specs, trial_run_file
from launch.tune.rungs import GO, STOP, RungFiles
from launch.tune.settings import TuneSettings
from launch.tune.space import Space
from launch.tune.study import Claim, claim, ended, left_behind, trial_folder
from launch.tune.training import command, last_words, training

if TYPE_CHECKING:
    from optuna import Study

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_FOR_AN_ORPHAN = 30  # a run whose worker was killed needs a moment to end
SETUP_ERROR = 2


class TrialFailed(Exception):
    """The run, or its evaluation, gave nothing that can be judged."""


class SetupError(TrialFailed):
    """The run refused its settings: the next trial would fail as well."""


class Worker:
    """Works on `study` until the budget is spent. `say` gets a line at everything that happens."""

    def __init__(
        self, study: "Study", settings: TuneSettings, space: Space, objective: Objective, say: Callable[[str], None]
    ):
        self.study, self.settings, self.space, self.objective = study, settings, space, objective
        self.run_file = read_mapping(settings.config)
        self.specs = margin_specs(settings, self.run_file)
        self.say = say
        self.began, self.before = time.monotonic(), ended(study)

    def run(self) -> bool:
        """False when it gave up: after a set-up error, too many failed runs in a row, or a run that nobody answers."""
        started, failures, waits_since = time.monotonic(), 0, None
        while True:
            out_of_time = 0 < self.settings.timeout < time.monotonic() - started
            claimed = claim(self.study, self.settings, self.space, may_start=not out_of_time)
            if claimed is None:
                if not (leases := left_behind(self.study, self.settings)):
                    return True
                waits_since = waits_since or time.monotonic()
                if time.monotonic() - waits_since > SECONDS_FOR_AN_ORPHAN:
                    self.say(
                        f"gives up: {leases[0].stem} has no worker, but a run: {who_holds(leases[0])}; end that one"
                    )
                    return False
                time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            waits_since = None
            try:
                self._work(claimed)
                failures = 0
            except TrialFailed as error:
                self._fail(claimed, str(error))
                failures += 1
                if isinstance(error, SetupError) or failures >= self.settings.max_failures:
                    self.say(f"gives up after {failures} failed run{'s'[: failures > 1]} in a row")
                    return False
            finally:
                claimed.lease.release()

    def _work(self, claimed: Claim) -> None:
        folder = trial_folder(self.settings.folder, claimed.trial.number)
        files, log = RungFiles(folder / "rungs"), folder / "logs" / "train.log"
        self._write_run_file(claimed, folder)
        self.say(
            f"trial {claimed.trial.number}: {'taken over' if claimed.taken_over else 'started'}, {_shown(claimed)}"
        )
        if self._judge(claimed, files) == STOP:  # its worker died after the answer
            return self._end(claimed, "PRUNED")
        with training(command(folder, self.settings.rung_steps), log, self.settings.gpu_id, claimed.lease) as process:
            while process.poll() is None:
                self._judge(claimed, files)
                time.sleep(SECONDS_BETWEEN_LOOKS)
        action, status = self._judge(claimed, files), process.returncode
        if action == STOP:
            return self._end(claimed, "PRUNED")
        if status != 0:
            kind = SetupError if status == SETUP_ERROR else TrialFailed
            raise kind(f"the run ended with status {status}, last lines of {log}:\n{last_words(log)}")
        if action is None:
            left = [step for step in self.settings.rung_steps if files.answered(step) is None]
            raise TrialFailed(f"the run ended without an evaluation at step {left[0]}, see {log}")
        self._end(claimed, "COMPLETE")

    def _write_run_file(self, claimed: Claim, folder: Path) -> None:
        run = trial_run_file(self.settings, self.run_file, self.specs, claimed.parameters, folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "run.yaml", yaml.safe_dump(run, sort_keys=False))
        margins = {margin["name"]: margin["beta"] for margin in run["margins"]}
        facts = {"w_fixed": run["w"], "warmup_steps": run.get("warmup_steps"), "objective_key": self.objective.label}
        facts["margin_beta"] = margins if len(margins) > 1 else next(iter(margins.values()))
        for name, value in facts.items():
            claimed.trial.set_user_attr(name, value)

    def _judge(self, claimed: Claim, files: RungFiles) -> str | None:
        """Answers every rung that was reported. STOP; GO when the last one is answered; None before that."""
        action = None
        for step in self.settings.rung_steps:
            action = files.answered(step)
            if action is None and (metrics := files.reported(step)) is not None:
                action = self._decide(claimed, step, metrics)
                files.answer(step, action)
            if action != GO:
                return action
        return action

    def _decide(self, claimed: Claim, step: int, metrics: dict[str, Any]) -> str:
        trial, last = claimed.trial, step == self.settings.rung_steps[-1]
        try:
            values = self.objective.values(metrics)
        except ValueError as error:
            raise TrialFailed(f"step {step}: {error}") from error
        kept = {name: value for name, value in metrics.items() if name.startswith("eval_")}
        trial.set_user_attr(f"metrics_step_{step}", kept)
        if self.objective.kind != "front":
            trial.set_user_attr(f"objective_step_{step}", values[0])
            if step not in trial.study.trials[trial.number].intermediate_values:
                trial.report(values[0], step)
        # A kill between these two lines lets a trial go on that would have been stopped: time lost, nothing wrong.
        stop = not last and self.objective.kind != "front" and trial.should_prune()
        sanity = ", ".join(f"{name} {metrics[name]:.4g}" for name in SANITY if name in metrics)
        shown = ", ".join(f"{value:.4f}" for value in values)
        after = "done" if last else "stopped" if stop else "goes on"
        self.say(f"trial {trial.number}, step {step}: {shown} ({sanity}): {after}")
        return STOP if stop else GO

    def _end(self, claimed: Claim, state: str) -> None:
        from optuna.trial import TrialState

        trial, attributes = claimed.trial, claimed.trial.user_attrs
        judged = [step for step in self.settings.rung_steps if f"metrics_step_{step}" in attributes]
        metrics = attributes[f"metrics_step_{judged[-1]}"]
        trial.set_user_attr("last_step", judged[-1])
        for name in SANITY:
            trial.set_user_attr(f"final_{name}", metrics.get(name))
        values = self.objective.values(metrics) if state == "COMPLETE" else None
        self.study.tell(trial, values, TrialState[state])
        # Of this call and of the workers beside it; trials that are stopped early count as any other.
        done, wanted = ended(self.study) - self.before, self.settings.n_trials - self.before
        ahead = left(min(done, wanted), wanted, time.monotonic() - self.began)
        self.say(f"trial {trial.number}: {state.lower()} at step {judged[-1]}; trials: {ahead}")

    def _fail(self, claimed: Claim, reason: str) -> None:
        from optuna.trial import TrialState

        claimed.trial.set_user_attr("failure", reason)
        self.study.tell(claimed.trial, state=TrialState.FAIL)
        self.say(f"trial {claimed.trial.number}: failed, {reason}")


def _shown(claimed: Claim) -> str:
    values = claimed.parameters.items()
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values)
