"""TRL's scripts, one rank or several, in forks of a process that has imported TRL and never sees ms-swift.

Without the imports a training of a tiny model takes a second, with them eleven. `torchrun` runs the launcher itself, and the
ranks that it starts are forks too; accelerate's launcher starts new interpreters in one test of each script it is for.
"""

import os
import time
from pathlib import Path

from tests.conftest import REPOSITORY, free_port, ranks
from tests.warm_python import WarmPython, WarmRun

SETTINGS = {"PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


class TrlRun:
    """The ranks of a run under way, and the file of all that they print."""

    def __init__(self, ranks: list[WarmRun], log: Path):
        self.ranks, self.log = ranks, log

    def poll(self) -> int | None:
        """The first exit code other than 0; None while a rank goes on."""
        codes = [rank.poll() for rank in self.ranks]
        return next((code for code in codes if code), None if None in codes else 0)

    def kill(self) -> None:
        """SIGKILL for every rank."""
        for rank in self.ranks:
            rank.kill()
        for rank in self.ranks:
            rank.wait()

    def finish(self, seconds: float = 600) -> tuple[int, str]:
        """(exit code, output). A rank that fails ends the others, as by torchrun, and so does the end of the time."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()
        return -9 if code is None else code, self.log.read_text(encoding="utf-8", errors="replace")


class WarmTrl:
    """`python -m MODULE` by the server; `start` returns a run under way, `run` its end."""

    def __init__(self, server: WarmPython):
        self.server = server

    def start(
        self, module: str, flags: list, log: Path, folder: Path = REPOSITORY, processes: int = 1, **environment: str
    ) -> TrlRun:
        log.unlink(missing_ok=True)
        shared = {**os.environ, **SETTINGS, **environment}
        started = [self.server.start(module, flags, shared | rank, folder, log) for rank in ranks(processes)]
        return TrlRun(started, log)

    def run(self, *given, **options) -> str:
        """The output of a run that ends well; what is `start`ed otherwise."""
        code, output = self.start(*given, **options).finish()
        assert code == 0, output[-3000:]
        return output

    def torchrun(
        self, processes: int, module: str, flags: list, log: Path, folder: Path = REPOSITORY, **environment: str
    ) -> str:
        """The output of `torchrun --nproc_per_node PROCESSES -m MODULE FLAG...`, which ends well."""
        argv = ["--nproc_per_node", processes, "--master_port", free_port(), "-m", module, *flags]
        log.unlink(missing_ok=True)
        env = {**os.environ, **SETTINGS, **environment}
        run = self.server.start("torch.distributed.run", argv, env, folder, log, warm_children=True)
        code, output = TrlRun([run], log).finish()
        assert code == 0 and "terminate called" not in output, output[-3000:]
        return output
