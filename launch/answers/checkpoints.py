"""The checkpoints of a run: which there are, in the order of their steps."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_STEP = re.compile(r"(?:checkpoint-|step_)(\d+)")


def step_of(place: str | Path) -> int | None:
    """N of `checkpoint-N` or `step_N`, at the end of a name or path; None for any other name."""
    match = _STEP.fullmatch(Path(place).name)
    return int(match[1]) if match else None


def list_checkpoints(run: Path) -> list[Path]:
    """The folders of checkpoints in the folder of a run, by their steps."""
    found = [entry for entry in run.iterdir() if step_of(entry) is not None and entry.is_dir()] if run.is_dir() else []
    return sorted(found, key=lambda entry: (step_of(entry), entry.name))


class Checkpoint(NamedTuple):
    """One state of a policy.

    Attributes:
        name: of its folder; it labels the answers.
        step: training steps, 0 for the untouched model.
        model: folder or hub name to load.
        adapter: folder of the LoRA adapter on it, or None.
    """

    name: str
    step: int
    model: str
    adapter: str | None


def find_checkpoints(
    patterns: Sequence[str],
    model: str | None,
    *,
    first: int = 0,
    last: int | None = None,
    every: int = 1,
    base: bool = False,
) -> list[Checkpoint]:
    """The checkpoints that match, by step.

    Args:
        patterns: folders or globs; folders of a whole run stand for the checkpoints in them.
        model: the base model, which adapters need.
        first, last: least and greatest step, both included.
        every: keeps steps that are multiples of it.
        base: put the untouched `model` in front, as step 0.

    Raises:
        ValueError: nothing matches, a folder is no checkpoint, an adapter without `model`, or two of one name.
    """
    found = {}
    for pattern in patterns:
        folders = [Path(place) for place in sorted(glob.glob(pattern)) if Path(place).is_dir()]
        inner = [place for folder in folders for place in list_checkpoints(folder)]
        for folder in (place for place in [*folders, *inner] if step_of(place) is not None):
            if found.setdefault(folder.name, folder).resolve() != folder.resolve():
                raise ValueError(f"{folder} and {found[folder.name]} have one name: give each run an --out of its own")
    if not found:
        raise ValueError(f"--checkpoints {' '.join(patterns)}: no folder named checkpoint-STEP or step_STEP there")
    steps = {name: step_of(name) for name in found}
    kept = [
        name
        for name in sorted(steps, key=lambda name: (steps[name], name))
        if first <= steps[name] and (last is None or steps[name] <= last) and steps[name] % every == 0
    ]
    if not kept:
        raise ValueError(f"no step is left of {sorted(steps.values())} with --first, --last and --every")
    if base and model is None:
        raise ValueError("--base needs --model, the untouched model")
    untouched = [Checkpoint("base", 0, model, None)] if base else []
    return untouched + [_checkpoint(found[name], steps[name], model) for name in kept]


def _checkpoint(folder: Path, step: int, model: str | None) -> Checkpoint:
    if (folder / "adapter_config.json").is_file():
        if model is None:
            raise ValueError(f"{folder} is an adapter: name its base model with --model")
        return Checkpoint(folder.name, step, model, str(folder))
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: neither adapter_config.json nor config.json, this is not a checkpoint")
    return Checkpoint(folder.name, step, str(folder), None)
