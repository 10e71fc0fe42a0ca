"""The checkpoints of a run: which there are, in the order of their steps, and what lies in one."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets_builders.model_names import in_a_numbered_run

_STEP = re.compile(r"(?:checkpoint-|step_)(\d+)")


def step_of(place: str | Path) -> int | None:
    """N of `checkpoint-N` or `step_N`, at the end of a name or path; None for any other name."""
    match = _STEP.fullmatch(Path(place).name)
    return int(match[1]) if match else None


def list_checkpoints(run: Path) -> list[Path]:
    """The folders of checkpoints in the folder of a run, by their steps."""
    found = [entry for entry in run.iterdir() if step_of(entry) is not None and entry.is_dir()] if run.is_dir() else []
    return sorted(found, key=lambda entry: (step_of(entry), entry.name))


def latest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint in the folder of a run. transformers writes `trainer_state.json` last."""
    found = [path for path in list_checkpoints(run) if (path / "trainer_state.json").is_file()]
    return found[-1] if found else None


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights and the way to speak to it.

    Attributes:
        label: names it in tables, and its answers.
        model: model directory or hub name; the base where there is an adapter.
        adapter: LoRA directory, or None.
        home: the folder beside which results belong.
        model_type, template, system, dtype, use_chat_template, enable_thinking: as trained; None leaves the default.
    """

    label: str
    model: str
    adapter: str | None
    home: Path = Path()
    model_type: str | None = None
    template: str | None = None
    system: str | None = None
    dtype: str | None = None
    use_chat_template: bool = True
    enable_thinking: bool | None = None

    @property
    def step(self) -> int:
        """Training steps, 0 for the untouched model."""
        return step_of(self.label) or 0

    def but(self, **given: Any) -> "Checkpoint":
        """The same with those of `given` that are not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})


def holds_adapter(folder: Path) -> bool:
    """Whether an adapter lies in the folder of a checkpoint; full weights do otherwise.

    Raises:
        ValueError: neither, or an adapter without its weights.
    """
    if (folder / "adapter_config.json").is_file():
        if not _has_weights(folder, "adapter_model"):
            raise ValueError(f"{folder}: adapter_config.json without adapter_model.safetensors; the save is incomplete")
        return True
    if not (folder / "config.json").is_file() or not _has_weights(folder, ""):
        raise ValueError(
            f"{folder}: neither an adapter (adapter_config.json) nor full weights (config.json with *.safetensors), this "
            f"is not a checkpoint{in_a_numbered_run(folder)}"
        )
    return False


def _has_weights(folder: Path, stem: str) -> bool:
    return any(
        entry.name.startswith(stem) and entry.suffix in (".safetensors", ".bin") and "training_args" not in entry.name
        for entry in folder.iterdir()
    )


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
    untouched = [Checkpoint("base", model, None)] if base else []
    return untouched + [_checkpoint(found[name], model) for name in kept]


def _checkpoint(folder: Path, model: str | None) -> Checkpoint:
    if not holds_adapter(folder):
        return Checkpoint(folder.name, str(folder), None, folder.parent)
    if model is None:
        raise ValueError(f"{folder} is an adapter: name its base model with --model")
    return Checkpoint(folder.name, model, str(folder), folder.parent)
