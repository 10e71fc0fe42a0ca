"""What a study found: a table of its trials, the best of them, and pictures. Nothing of it changes the study."""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from datasets_builders.io import nonfinite_as_text, write_bytes, write_json, write_text
from launch.common.picture import can_draw
from launch.common.table import csv_text
from launch.tune.study import JOURNAL, open_storage, trial_folder

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

TABLE, BEST = "study_trials.csv", "best_trial.json"
LEAST_FOR_IMPORTANCE = 2


def load_study(folder: Path, name: str) -> "Study":
    """The study as it stands; nothing is made and nothing is written.

    Raises:
        ValueError: there is none.
    """
    import optuna

    if not (folder / JOURNAL).is_file():
        raise ValueError(f"{folder}: no study there ({JOURNAL} is missing)")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name=name, storage=open_storage(folder), pruner=None)
    except KeyError as error:
        raise ValueError(f"{folder / JOURNAL}: holds no study {name!r}") from error


def states(study: "Study") -> dict[str, int]:
    """State -> trials in it, `RUNNING` included."""
    return dict(sorted(Counter(trial.state.name for trial in study.get_trials(deepcopy=False)).items()))


def failures(study: "Study") -> dict[str, int]:
    """Reason -> trials that failed for it, the most frequent first."""
    reasons = (trial.user_attrs.get("failure") for trial in study.get_trials(deepcopy=False))
    return dict(Counter(reason.split(", last lines of ")[0] for reason in reasons if reason).most_common())


def _row(trial: "FrozenTrial") -> dict[str, Any]:
    values = trial.values or []
    row: dict[str, Any] = {"number": trial.number, "state": trial.state.name}
    row |= {"value": values[0] if values else None} if len(values) < 2 else {}
    row |= {f"value_{index}": value for index, value in enumerate(values)} if len(values) > 1 else {}
    row |= {f"params_{name}": value for name, value in trial.params.items()}
    for name, value in trial.user_attrs.items():
        row[name] = json.dumps(value) if isinstance(value, dict | list) else value
    row["started"] = trial.datetime_start.isoformat() if trial.datetime_start else None
    row["seconds"] = round(trial.duration.total_seconds(), 1) if trial.duration else None
    return row


def table(study: "Study") -> str:
    """CSV, a line a trial by number; the metrics of each rung as JSON."""
    rows = [_row(trial) for trial in study.get_trials(deepcopy=False)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text(names, rows)


def best(study: "Study", folder: Path) -> dict[str, Any]:
    """The best finished trial, or those on the front; `best` is empty, with the reason, when none ended well."""
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = [] if not done else study.best_trials if len(study.directions) > 1 else [study.best_trial]
    chosen = [
        {
            "number": trial.number,
            "values": trial.values,
            "params": trial.params,
            "run_file": str(trial_folder(folder, trial.number) / "run.yaml"),
            "attributes": trial.user_attrs,
        }
        for trial in found
    ]
    summary = {"study": study.study_name, "trials": states(study), "failures": failures(study), "best": chosen}
    return summary if chosen else {**summary, "reason": "no trial was trained to the end"}


def importances(study: "Study") -> dict[str, float]:
    """Setting -> how much it sets the best tenth of the complete trials apart (PED-ANOVA, arXiv 2304.10255), summing to 1.

    Of a front, the best are those that no other dominates. Empty when there is nothing to tell apart.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < LEAST_FOR_IMPORTANCE or len({tuple(trial.values) for trial in done}) < 2:
        return {}
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in found.items()}


def write_summary(study: "Study", folder: Path, label: str, say: Callable[[str], None]) -> None:
    """Writes study_trials.csv, best_trial.json, history.png, importance.png, and for a front front.png.

    Under a lock, within which the study is read: of workers that end together, the last to write knows everything.
    """
    with FileLock(folder / "summary.lock"):
        _write(study, folder, label, say)


def _write(study: "Study", folder: Path, label: str, say: Callable[[str], None]) -> None:
    write_text(folder / TABLE, table(study))
    chosen = best(study, folder)
    write_json(folder / BEST, nonfinite_as_text(chosen))
    for one in chosen["best"]:
        say(
            f"best: trial {one['number']}, {', '.join(f'{value:.4f}' for value in one['values'])} {label}, {one['run_file']}"
        )
    if not chosen["best"]:
        say(f"best: none, {chosen['reason']}")
    written = [TABLE, BEST]
    if not can_draw():
        say("no pictures: matplotlib is not installed (extra eval)")
    else:
        from launch.tune.pictures import pictures

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's notes on its own stability
            drawn, left_out = pictures(study, label, importances(study))
        for name, png in drawn.items():
            write_bytes(folder / name, png)
        for name, reason in left_out.items():
            say(f"no {name}: {reason}")
        written += drawn
    say(f"written to {folder}: {', '.join(written)}")
