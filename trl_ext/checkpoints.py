"""Where a run goes on, and that a run which is finished trains nothing more. Neither TRL nor ms-swift is needed."""

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

TRAINER_STATE = "trainer_state.json"
logger = logging.getLogger(__name__)


def newest_checkpoint(folder: str | Path, state_file: str = TRAINER_STATE) -> str | None:
    """The newest `checkpoint-N` below `folder` whose `state_file`, which is written last, can be read; None without one."""
    whole = []
    for path in Path(folder).glob(f"checkpoint-*/{state_file}"):
        step = path.parent.name.rsplit("-", 1)[1]
        if step.isdigit() and _is_json(path):
            whole.append((int(step), path.parent))
    return str(max(whole)[1]) if whole else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def resume_folder(value: str | bool | None, output_dir: str | Path, state_file: str = TRAINER_STATE) -> str | None:
    """The checkpoint that `--resume_from_checkpoint VALUE` means; None starts from the beginning.

    `true` is the newest whole checkpoint of `output_dir`. Where there is none, as at a job's first start, the run begins
    afresh and says so: one run file serves the first start and every one after a requeue.

    Raises:
        ValueError: a path that is no checkpoint.
    """
    text = str(value).lower()
    if text in ("none", "null", "false", ""):
        return None
    if text == "true":
        found = newest_checkpoint(output_dir, state_file)
        logger.warning(f"--resume_from_checkpoint true: {found or f'no checkpoint in {output_dir} yet, a fresh start'}")
        return found
    if not Path(value, state_file).is_file():
        raise ValueError(
            f"--resume_from_checkpoint {value}: no {state_file} there; true or a checkpoint's folder is valid"
        )
    return str(value)


class EndsAtItsLastStep:
    """Mixin of a trainer: a run that is resumed at its last step is prepared, loaded and ended, but takes no step.

    The Trainer of transformers looks at `max_steps` behind a step only. Resumed at its end, a run whose last step lies
    within an epoch would take one more: it would train, and buy, beyond its limit.
    """

    _resumed_step = 0

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        folder = get_last_checkpoint(self.args.output_dir) if resume_from_checkpoint is True else resume_from_checkpoint
        state = Path(folder or "", TRAINER_STATE)
        self._resumed_step = 0
        if folder and state.is_file():
            self._resumed_step = json.loads(state.read_text(encoding="utf-8"))["global_step"]
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def set_initial_training_values(self, *args: Any, **kwargs: Any) -> tuple:
        """The parent's; at the end of a run the epochs are those that are done, so that the loop over them is empty."""
        epochs, steps_per_epoch, *rest = super().set_initial_training_values(*args, **kwargs)
        if self._resumed_step >= rest[-1]:  # max_steps
            epochs = min(epochs, self._resumed_step // steps_per_epoch)
        return epochs, steps_per_epoch, *rest


def refuse_occupied(output_dir: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Refuses an output folder in which saving would overwrite and then remove an adapter that somebody else put there.

    peft saves every adapter of a model in a folder of its name; those that are inputs of the run are removed again.

    Raises:
        ValueError: the folder that is in the way.
    """
    for name in names:
        if (path := Path(output_dir, name)).exists():
            raise ValueError(
                f"{path} is in the way: saving the policy writes an adapter of that name and removes it again; move it, or "
                "choose another output_dir (a run that was killed while it saved leaves such a folder too)"
            )
