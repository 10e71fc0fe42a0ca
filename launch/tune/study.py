"""The study of several workers: one journal file, one sampler per worker, and trials that are claimed one at a time."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from launch.common.processes import Lease
from launch.common.resume import check_settings
from launch.tune.objective import Objective
from launch.tune.settings import TuneSettings
from launch.tune.space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

JOURNAL, SETTINGS = "optuna_study.journal", "study.json"
BEGAN, WORKS = WORKERS = ("begun_by", "worker_id")  # attributes of a trial; another worker may take it over
STARTUP_TRIALS = 4


def worker_seed(base: int, worker_id: str) -> int:
    """The reference's seed of a worker's sampler: base plus a polynomial hash of its name."""
    value = 17
    for character in worker_id:
        value = (31 * value + ord(character)) % 1_000_000
    return base + value


def trial_folder(folder: Path, number: int) -> Path:
    """`trial_0003` in the study's folder."""
    return folder / f"trial_{number:04d}"


def open_storage(folder: Path):
    """The journal of the study in `folder`, a line torn by a power failure cut off.

    Raises:
        ValueError: Optuna is not installed.
    """
    try:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
    except ModuleNotFoundError as error:
        raise ValueError("Optuna is not installed: pip install 'swift-trl-ext[tune]'") from error
    path = str(folder / JOURNAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental.*")
        lock = JournalFileSymlinkLock(path)
        if os.path.exists(path):
            lock.acquire()
            try:
                with open(path, "r+b") as file:
                    file.truncate(file.read().rfind(b"\n") + 1)
            finally:
                lock.release()
        return JournalStorage(JournalFileBackend(path, lock_obj=lock))


def make_sampler(settings: TuneSettings, objective: Objective, started: int) -> "BaseSampler":
    """TPE, or NSGA-II for a front.

    Args:
        started: trials that this worker has begun before. A restarted worker does not draw its first points again, nor
            those of another worker: all seeds of first starts lie within a million.
    """
    from optuna.samplers import NSGAIISampler, TPESampler

    seed = worker_seed(settings.seed, settings.worker_id) + 1_000_000 * started
    if objective.kind == "front":
        # Optuna's population of 50 would never be full within a usual budget, and then every trial is random.
        return NSGAIISampler(population_size=min(50, max(4, settings.n_trials // 4)), seed=seed)
    # constant_liar, the default since Optuna 5: workers do not try what another one is trying.
    return TPESampler(n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True, seed=seed)


def open_study(settings: TuneSettings, objective: Objective) -> "Study":
    """The study, made by the first worker that comes.

    Raises:
        ValueError: the folder holds a study of other settings; the first that differs is named.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "study.lock"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        try:
            check_settings(folder / SETTINGS, settings.identity())
        except ValueError as error:
            raise ValueError(str(error).split("; use another")[0] + "; use another --study_name") from error
        study = optuna.create_study(
            study_name=settings.study_name,
            storage=open_storage(folder),
            directions=objective.directions,
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=settings.rung_steps[0], reduction_factor=settings.reduction_factor
            ),
            load_if_exists=True,
        )
        worker = settings.worker_id
        started = sum(worker in map(trial.user_attrs.get, WORKERS) for trial in study.get_trials(deepcopy=False))
        study.sampler = make_sampler(settings, objective, started)
    return study


@dataclass
class Claim:
    """A trial that this worker, and nobody else, works on."""

    trial: "Trial"
    parameters: dict[str, Any]
    lease: Lease
    taken_over: bool


def claim(study: "Study", settings: TuneSettings, space: Space, may_start: bool = True) -> Claim | None:
    """A trial whose worker is gone, or else a new one while the budget lasts, or else None.

    All under one lock, so that the trials that there are never exceed the budget, whatever number of workers asks.
    A failed trial says nothing about its settings and costs none of the budget.
    """
    import optuna
    from optuna.trial import Trial, TrialState

    with FileLock(settings.folder / "study.lock"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        trials = study.get_trials(deepcopy=False)
        for left in (trial for trial in trials if trial.state == TrialState.RUNNING):
            lease = Lease.take(_lease_path(settings.folder, left.number), settings.worker_id)
            if lease is None:
                continue
            if study.get_trials(deepcopy=False)[left.number].state == TrialState.RUNNING:
                # Optuna has no public way back to a running trial.
                return _begin(Trial(study, left._trial_id), settings, space, lease, True)
            lease.release()  # it ended since the trials were read
        if not may_start or spent(study) >= settings.n_trials:
            return None
        trial = study.ask()
        lease = Lease.take(_lease_path(settings.folder, trial.number), settings.worker_id)
        assert lease is not None, "nobody can hold a trial that did not exist"
        return _begin(trial, settings, space, lease, False)


def spent(study: "Study") -> int:
    """Trials of the budget: those that run, were pruned, or were trained to the end."""
    from optuna.trial import TrialState

    free = (TrialState.WAITING, TrialState.FAIL)
    return sum(trial.state not in free for trial in study.get_trials(deepcopy=False))


def ended(study: "Study") -> int:
    """Trials that were pruned or trained to the end."""
    from optuna.trial import TrialState

    return sum(trial.state in (TrialState.PRUNED, TrialState.COMPLETE) for trial in study.get_trials(deepcopy=False))


def left_behind(study: "Study", settings: TuneSettings) -> list[Path]:
    """Leases of running trials whose worker is gone while its run is not yet: they will be free in a moment.

    To be asked by a worker that works on no trial.
    """
    from optuna.trial import TrialState

    leases = settings.folder / "leases"
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    workers = {trial.number: trial.user_attrs.get(WORKS) for trial in running}
    return [
        _lease_path(settings.folder, number)
        for number, worker in workers.items()
        if worker in (None, settings.worker_id) or Lease.is_free(leases / f"{worker}.lock")
    ]


def _lease_path(folder: Path, number: int) -> Path:
    return folder / "leases" / f"trial_{number:04d}.lock"


def _begin(trial: "Trial", settings: TuneSettings, space: Space, lease: Lease, taken_over: bool) -> Claim:
    if not taken_over:
        trial.set_user_attr(BEGAN, settings.worker_id)
    # What was drawn before a worker died stays; the rest is drawn now.
    parameters = {name: entry.suggest(trial, name) for name, entry in space.items()}
    trial.set_user_attr(WORKS, settings.worker_id)
    return Claim(trial, parameters, lease, taken_over)
