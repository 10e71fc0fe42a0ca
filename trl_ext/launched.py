"""A script that `accelerate launch` or torchrun started ends when that launcher is killed."""

import ctypes
import os
import signal
import sys

LAUNCHED = ("ACCELERATE_DYNAMO_BACKEND", "TORCHELASTIC_RUN_ID")  # set by either launcher for what it starts
SET_PARENT_DEATH_SIGNAL = 1


def end_with_launcher() -> None:
    """From now on the kernel ends this process when its launcher is gone (Linux; elsewhere nothing happens).

    Otherwise a killed launcher leaves its trainer behind, which goes on to buy labels and to write checkpoints, and the
    same command started again finds the folder in use. A script that a shell started may outlive that shell.

    The signal is SIGTERM, which ends a process that does nothing about it and lets `--enable_jit_checkpoint` save first:
    accelerate's launcher dies of a scheduler's SIGTERM at once, and its trainer must not be killed before it has saved.
    """
    if sys.platform != "linux" or not any(name in os.environ for name in LAUNCHED):
        return
    # A batch script with `trap "" TERM` leaves a process that no SIGTERM ends.
    deaf = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL if deaf else signal.SIGTERM, 0, 0, 0)
    if os.getppid() == 1 and not _is_launcher(1):  # it was killed before this line
        sys.exit("error: the launcher of this process is gone")


def _is_launcher(pid: int) -> bool:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        command = file.read()
    return any(word in command for word in (b"accelerate", b"torch", b"deepspeed", b"python"))
