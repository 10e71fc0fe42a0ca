"""The training process of a trial: started where it left off, ended with its worker."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.answers.checkpoints import latest_checkpoint
from launch.common.processes import Guarded, Lease, end, start


def command(folder: Path, rungs: list[int]) -> list[str]:
    """The trial in `folder`, from its newest complete checkpoint if it has one."""
    argv = [sys.executable, "-m", "launch.tune.train", "--config", str(folder / "run.yaml")]
    argv += ["--rung_steps", *map(str, rungs), "--rung_folder", str(folder / "rungs")]
    checkpoint = latest_checkpoint(folder)
    return argv if checkpoint is None else [*argv, "--resume_from_checkpoint", str(checkpoint)]


@contextmanager
def training(argv: list[str], log: Path, gpu_id: str | None, lease: Lease) -> Iterator[Guarded]:
    """Runs `argv`, which holds the lease too, and never leaves it behind, however this process ends.

    Args:
        gpu_id: for CUDA_VISIBLE_DEVICES; None leaves the variable as it is.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if gpu_id is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu_id
    with open(log, "a", encoding="utf-8") as output:
        print(f"$ {shlex.join(argv)}", file=output, flush=True)
        process = start(argv, lease, stdout=output, stderr=output, env=environment)
        try:
            yield process
        finally:
            end(process)


def last_words(log: Path, lines: int = 12) -> str:
    """The end of a log, for a message."""
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-lines:])
