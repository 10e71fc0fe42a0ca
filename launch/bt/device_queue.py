"""Commands as a queue over devices: one at a time on each, failures retried, stopped as a whole."""

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_builders.progress import left
from launch.common.processes import Guarded, Lease, end, start, wait


@dataclass
class Job:
    """One command.

    Attributes:
        name: for messages.
        command: program and arguments.
        log: file that its output is appended to.
        attempts: how often it was started.
        returncode: of the last attempt; None before it ended.
    """

    name: str
    command: list[str]
    log: Path
    attempts: int = 0
    returncode: int | None = None

    @property
    def failed(self) -> bool:
        """Ended, and not well."""
        return self.returncode not in (0, None)


class DeviceQueue:
    """Runs jobs on `devices`: the values that CUDA_VISIBLE_DEVICES takes for each worker, "" for the processor.

    Args:
        retries: how often a failed job is started again, on whichever device is free by then.
        report: gets a line at the start and the end of every attempt, the latter with what is left.
        lease: held by every job as well, so that it outlasts this process while one of them runs.
    """

    def __init__(
        self, devices: Sequence[str], retries: int, report: Callable[[str], None] = print, lease: Lease | None = None
    ):
        self.devices, self.retries, self.report, self.lease = devices, retries, report, lease
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._jobs: Sequence[Job] = ()
        self._began = 0.0
        self._running: set[Guarded] = set()
        self._stopping = False

    def run(self, jobs: Sequence[Job]) -> list[Job]:
        """Runs all `jobs`; returns those that failed to the last. An interrupt ends the running ones and is passed on."""
        self._waiting, self._jobs, self._began = deque(jobs), jobs, time.monotonic()
        workers = [threading.Thread(target=self._work, args=(device,), daemon=True) for device in self.devices]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive():
                    worker.join(timeout=0.2)
        except BaseException:
            self._stop()
            for worker in workers:
                worker.join()
            raise
        return [job for job in jobs if job.failed]

    def _work(self, device: str) -> None:
        while True:
            with self._lock:
                if self._stopping or not self._waiting:
                    return
                job = self._waiting.popleft()
            self._attempt(job, device)
            with self._lock:
                # The worker that met the failure is alive, so nothing that waits is left behind.
                if job.failed and job.attempts <= self.retries and not self._stopping:
                    self._waiting.append(job)

    def _attempt(self, job: Job, device: str) -> None:
        job.attempts += 1
        place = f"device {device}" if device else "the processor"
        self.report(f"{job.name}: attempt {job.attempts} on {place}, log {job.log}")
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "a", encoding="utf-8") as log:
            with self._lock:
                if self._stopping:
                    return
                environment = {**os.environ, "CUDA_VISIBLE_DEVICES": device}
                process = start(job.command, self.lease, stdout=log, stderr=subprocess.STDOUT, env=environment)
                self._running.add(process)
            job.returncode = wait(process)
        with self._lock:
            self._running.discard(process)
            done = sum(
                one.returncode == 0 or one.attempts > self.retries for one in self._jobs if one.returncode is not None
            )
        if not self._stopping:
            outcome = "done" if job.returncode == 0 else f"failed with status {job.returncode}"
            self.report(f"{job.name}: {outcome}; {left(done, len(self._jobs), time.monotonic() - self._began)}")

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
            running = list(self._running)
        for process in running:
            process.terminate()
        for process in running:
            end(process)
