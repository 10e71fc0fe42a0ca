"""Runs a command and ends it, with all that it started, as soon as the process that asked for it is gone.

`launch.common.processes.start` runs this file by its path with the standard library alone: FILE DESCRIPTOR COMMAND... . The
descriptor is the reading end of a pipe whose writing end only the parent has, so that the kernel itself says when the
parent is gone, at whatever moment that is. On Linux orphans of the command come to this process ("subreaper"), also
those in sessions of their own such as the ranks of torchrun; elsewhere only the command's own process group is ended.
"""

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress

SECONDS_TO_END = 10  # between SIGTERM and SIGKILL
_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LINUX = sys.platform == "linux"


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Processes below `root` that still run, Linux only."""
    parents = {}
    for name in os.listdir("/proc") if _LINUX else ():
        with suppress(OSError, ValueError):  # no process, or one that ended while we looked
            with open(f"/proc/{int(name)}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if state != b"Z":
                parents[int(name)] = int(parent)
    found, new = [], [root]
    while new:
        new = [pid for pid, parent in parents.items() if parent in new]
        found += new
    return found


class Guard:
    """One command. `status` is that of the command's end, as `os.waitpid` gives it, None before."""

    def __init__(self, life: int, command: list[str]):
        self.life, self.told_to_end = life, False
        self.status: int | None = None
        os.set_inheritable(life, False)
        _prctl(_SET_CHILD_SUBREAPER, 1)
        self.woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _HANDLED:
            signal.signal(number, self._tell)
        own = os.getpid()
        self.child = os.fork()
        if self.child == 0:
            self._become(command, own)

    def _tell(self, *_) -> None:
        self.told_to_end = True

    def _become(self, command: list[str], guard: int) -> None:
        try:
            for number in (*_HANDLED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            if not _LINUX:
                os.setpgid(0, 0)
            _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)  # a guard that is killed takes the command along
            if os.getppid() == guard:
                os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child:
                self.status = status

    def _left(self) -> list[int]:
        self._reap()
        return descendants(os.getpid()) if _LINUX else [self.child] * (self.status is None)

    def _send(self, number: int) -> None:
        for pid in self._left():
            with suppress(ProcessLookupError):
                os.kill(pid, number) if _LINUX else os.killpg(pid, number)

    def _wait(self, seconds: float) -> None:
        """Until nothing is left, the parent is gone, or the time is over."""
        deadline = time.monotonic() + seconds
        while self._left() and time.monotonic() < deadline and not self._parent_is_gone(0.05):
            pass

    def _parent_is_gone(self, seconds: float | None) -> bool:
        ready = select.select([self.life, self.woken], [], [], seconds)[0]
        if self.woken in ready:
            os.read(self.woken, 4096)
        return self.life in ready  # nobody writes: what can be read is the end

    def run(self) -> int:
        """The command's status; nothing that it started is left then."""
        gone = False
        while self.status is None and not gone and not self.told_to_end:
            gone = self._parent_is_gone(None)
            self._reap()
        if not gone:
            if self.status is None:
                self._send(signal.SIGTERM)
            self._wait(SECONDS_TO_END)  # what a command leaves, such as an upload, may end by itself
        while self._left():
            self._send(signal.SIGKILL)
            time.sleep(0.01)
        if self.status is None:  # it ended between the two looks of `_left`
            self.status = os.waitpid(self.child, 0)[1]
        return self.status


def main(argv: list[str]) -> None:
    """Ends as the command did: with its exit code, or by the signal that ended it."""
    status = Guard(int(argv[0]), argv[1:]).run()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1:])
