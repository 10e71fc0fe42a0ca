"""Which weights a checkpoint name stands for, and how the run that made it wrote its conversations.

A missing checkpoint is an error. Only `checkpoint-0`, said by name, means the model that the run started from.
"""

import re
from pathlib import Path
from typing import Any

from datasets_builders.io import read_object
from launch.answers.checkpoints import Checkpoint, holds_adapter, list_checkpoints
from trl_ext.modpo.model_dir import DTYPES

START = "checkpoint-0"
_VERSION = re.compile(r"v(\d+)-.*")


def resolve_run_dir(folder: str) -> Path:
    """The run folder itself: `folder`, or where it holds runs as ms-swift numbers them (`v0-...`), the newest of them.

    Raises:
        ValueError: no such folder, or neither checkpoints nor `args.json` nor runs in it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"--run_dir {folder}: no such folder")
    if (path / "args.json").is_file() or list_checkpoints(path):
        return path
    runs = [
        (int(match[1]), entry) for entry in path.iterdir() if entry.is_dir() and (match := _VERSION.match(entry.name))
    ]
    if not runs:
        raise ValueError(f"--run_dir {folder}: neither args.json nor checkpoint-N nor a run folder v0-... in it")
    return max(runs)[1]


def resolve_checkpoint(run_dir: str | None, checkpoint: str | None, model: str | None) -> Checkpoint:
    """What the three flags name together.

    Args:
        run_dir: folder of a training run, see `resolve_run_dir`; its `args.json` knows the base model.
        checkpoint: a folder, or the name of one in `run_dir`; `checkpoint-0` without a folder is the untrained model.
        model: the base model of an adapter, or without `checkpoint` the model itself.

    Raises:
        ValueError: a checkpoint that does not exist or holds no weights, or a base model that nothing names.
    """
    run = resolve_run_dir(run_dir) if run_dir else None
    if checkpoint is None:
        if run is not None:
            names = ", ".join([START, *_names(run)])
            raise ValueError(f"--run_dir {run} needs --checkpoint; there are: {names} (the untrained model is {START})")
        if model is None:
            raise ValueError("say what to evaluate: --model, or --checkpoint, or --run_dir with --checkpoint")
        path = Path(model)
        label = re.sub(r"[^A-Za-z0-9._+=-]+", "-", model).strip("-.") or "model"
        return Checkpoint(path.name if path.is_dir() else label, model, None, path.parent if path.is_dir() else Path())
    folder = _find(run, checkpoint)
    if folder is None:
        return _start(run, model)
    args = _read_args(folder) or (_read_args(run) if run else None) or _read_args(folder.parent) or {}
    home = run or folder.parent
    if holds_adapter(folder):
        base = model or args.get("model") or read_object(folder / "adapter_config.json").get("base_model_name_or_path")
        if not base:
            raise ValueError(f"{folder}: neither args.json nor adapter_config.json names the base model; use --model")
        return _trained(folder.name, base, str(folder), home, args)
    if model is not None:
        raise ValueError(f"{folder} holds full weights, so --model {model} has no use; leave one of the two out")
    return _trained(folder.name, str(folder), None, home, args)


def _names(run: Path) -> list[str]:
    return [place.name for place in list_checkpoints(run)]


def _find(run: Path | None, checkpoint: str) -> Path | None:
    # None: the untrained model of the run, asked for by name.
    for folder in ([run / checkpoint] if run else []) + [Path(checkpoint)]:
        if folder.is_dir():
            return folder.absolute()
    if run is None:
        raise ValueError(f"--checkpoint {checkpoint}: no such folder (a bare name needs --run_dir)")
    if checkpoint != START:
        names = ", ".join([START, *_names(run)])
        raise ValueError(
            f"--checkpoint {checkpoint}: not in {run}; there are: {names} (the untrained model is {START})"
        )
    return None


def _start(run: Path, model: str | None) -> Checkpoint:
    args = _read_args(run) or next((found for place in list_checkpoints(run) if (found := _read_args(place))), {})
    base = model or args.get("model")
    if not base:
        raise ValueError(
            f"{run}: {START} is the model that the run started from, but no args.json names it; use --model"
        )
    # A run may go on from an adapter; then that adapter is a part of where it started.
    adapters = args.get("adapters") or []
    if len(adapters) > 1:
        raise ValueError(f"{run}/args.json: the run started from several adapters ({', '.join(adapters)})")
    return _trained(START, base, adapters[0] if adapters else None, run, args)


def _trained(label: str, model: str, adapter: str | None, home: Path, args: dict[str, Any]) -> Checkpoint:
    dtype = str(args.get("torch_dtype") or "").removeprefix("torch.")
    return Checkpoint(
        label,
        model,
        adapter,
        home,
        model_type=args.get("model_type"),
        template=args.get("template"),
        system=args.get("system"),
        dtype=dtype if dtype in DTYPES else None,
        use_chat_template=args.get("use_chat_template") is not False,
        enable_thinking=args.get("enable_thinking"),
    )


def _read_args(folder: Path) -> dict[str, Any] | None:
    file = folder / "args.json"
    return read_object(file) if file.is_file() else None
