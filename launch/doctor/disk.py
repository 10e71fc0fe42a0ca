"""Room on the disk for the checkpoints that a run will keep."""

import math
import shutil
from pathlib import Path

from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.memory import dtype_bytes, zero_of
from launch.doctor.rows import readable, sources
from launch.doctor.setup import Setup, here
from launch.doctor.sizes import gigabytes
from launch.doctor.weights import parts_of

NAME = "disk"
TIGHT = 0.8


def free_space(folder: Path) -> int:
    """Free bytes where a folder will be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def rows_in(setup: Setup) -> int | None:
    """Training rows of local JSON-lines files; None where one is not that."""
    named = [one for one in sources(setup) if one not in (setup.value("val_dataset") or [])]
    if setup.value("csv_path"):
        named = [str(setup.value("csv_path"))]
    files = [here(one) for one in named if readable(one)]
    if len(files) != len(named) or not all(file.suffix == ".jsonl" for file in files):
        return None
    return sum(line.strip() != b"" for file in files for line in file.open("rb"))


def steps_of(setup: Setup) -> int | None:
    """Optimiser steps of the run, where they can be known."""
    if (setup.value("max_steps") or -1) > 0:
        return int(setup.value("max_steps"))
    rows = rows_in(setup)
    if rows is None:
        return None
    batch = setup.value("per_device_train_batch_size", 1) * setup.value("gradient_accumulation_steps", 1)
    completions = setup.value("num_generations", 1) if setup.run.method.grouped else 1
    return math.ceil(rows * completions / (batch * setup.run.processes) * float(setup.value("num_train_epochs", 1)))


def checkpoints_of(setup: Setup) -> int | None:
    """How many checkpoints will lie there at the end; None where the number of steps is not known."""
    strategy, limit = str(setup.value("save_strategy", "steps")), setup.value("save_total_limit")
    if strategy.endswith("no"):
        return 1  # the model at the end
    if strategy == "epoch":
        count = math.ceil(float(setup.value("num_train_epochs", 1)))
    else:
        steps, every = steps_of(setup), float(setup.value("save_steps") or 500)
        if steps is None:
            return limit
        every = max(1, math.ceil(steps * every)) if every < 1 else every
        count = math.ceil(steps / every)
    return min(count, limit) if limit else count


def checkpoint_bytes(setup: Setup) -> int | None:
    """Weights that are trained and, unless only the model is saved, two states of AdamW (DeepSpeed: and fp32 weights).

    A discriminator of D2PO lies in every checkpoint too, in fp32 with its own two states.
    """
    trained = [part for part in parts_of(setup) if part.trains]
    if not trained or any(part.parameters is None for part in trained):
        return None
    total = 0
    for part in trained:
        own = part.name == "discriminator"
        b = dtype_bytes(setup) if part.name == "base" else 4
        states = 12 if zero_of(setup.value("deepspeed")).stage >= 0 and not own else 2 * b
        total += part.parameters * (b + (0 if setup.value("save_only_model") and not own else states))
    return total


def check_disk(setup: Setup) -> list[Finding]:
    """Size of a checkpoint times their number against the free space of the run's folder."""
    if setup.values is None:
        return skipped(NAME, "no argument could be read")
    one, count = checkpoint_bytes(setup), checkpoints_of(setup)
    folder = Path(str(setup.value("output_dir", "output"))).absolute()
    free = free_space(folder)
    if one is None or count is None:
        what = "the size of a checkpoint" if one is None else f"the number of checkpoints ({gigabytes(one)} each)"
        return skipped(NAME, f"{what} is not known; {gigabytes(free)} are free at {folder}", "set save_total_limit")
    need = one * count
    found = f"{count} checkpoint{'s' if count > 1 else ''} x {gigabytes(one)} = {gigabytes(need)}; {gigabytes(free)} are free at {folder}"
    if need > free:
        keep = int(TIGHT * free // one)
        return error(
            NAME,
            found,
            f"save_total_limit: {max(keep, 1)}, a larger save_steps, save_only_model, or another output_dir",
        )
    return (
        warning(NAME, f"{found}: tight", "save_total_limit, or another output_dir")
        if need > TIGHT * free
        else ok(NAME, found)
    )
