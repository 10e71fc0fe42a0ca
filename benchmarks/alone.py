"""Step time and peak memory of one variant that has the machine for itself, where several trainers would not fit beside
each other."""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.turns import WARM_UP

LEAST_ROUNDS = 3  # a median of fewer says little


@dataclass(frozen=True)
class Deadline:
    """A moment of this machine's steady clock."""

    at: float

    @property
    def left(self) -> float:
        return self.at - time.monotonic()

    def share(self, of: int) -> "Deadline":
        """That of the first of `of` pieces of work which divide the time that is left."""
        return Deadline(time.monotonic() + max(self.left, 0) / of)


def memory_mb(name: str) -> float:
    """`VmRSS` or `VmHWM` of this process, as the kernel has it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


class PeakMemory:
    """With it begins a span; megabytes that were held at its `begin`, and their `peak` since then.

    Of the GPU, where there is one: what PyTorch's allocator has given out, not what it keeps in reserve. Else of the process.
    """

    def __init__(self):
        import torch

        self.cuda = torch.cuda if torch.cuda.is_available() else None
        if self.cuda:
            synchronise()
            self.cuda.reset_peak_memory_stats()
            self.begin = self.cuda.memory_allocated() / 2**20
        else:
            ctypes.CDLL(None).malloc_trim(0)  # what is free must not hide a growth
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is what is held now
            self.begin = memory_mb("VmRSS")

    def peak(self) -> float:
        synchronise()
        return self.cuda.max_memory_allocated() / 2**20 if self.cuda else memory_mb("VmHWM")


def free_memory() -> None:
    """Trainers hold themselves in circles, and PyTorch keeps what they give back."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronise() -> None:
    """Waits until the GPU, where there is one, has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def take_alone(build: Callable[[], Callable[[int], None]], rounds: int, deadline: Deadline) -> dict:
    """{step_seconds: median over the rounds, step_seconds_quartiles, rounds, peak_mb: of the rounds, what is held included,
    held_before_mb: what the variants before left behind}.

    Args:
        build: gives the function of a round's number that does its work.
        rounds: at most; none is begun that would end behind the deadline, once there are `LEAST_ROUNDS` (or `rounds`).
    """
    free_memory()
    held = PeakMemory().begin
    turn = build()
    for number in range(WARM_UP):  # the very first batch is also compared with a plain pass
        turn(number)
    memory, seconds = PeakMemory(), []
    for number in range(WARM_UP, WARM_UP + rounds):
        begun = time.perf_counter()
        turn(number)
        synchronise()
        seconds.append(time.perf_counter() - begun)
        if len(seconds) >= LEAST_ROUNDS and deadline.left < statistics.median(seconds):
            break
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else 3 * seconds
    return {
        "step_seconds": quartiles[1], "step_seconds_quartiles": quartiles, "rounds": len(seconds), "peak_mb": memory.peak(),
        "held_before_mb": held,
    }  # fmt: skip
