"""Child processes that end with their parent, and locks that last as long as anything works under them.

A lock is an open file under flock(2), which children inherit: the system itself gives it free when the last process that
has it open is gone, so there is no interval to choose, no clock to compare, and no moment in which a slow process is
taken for a dead one. Local disks, NFS, GPFS, and Lustre mounted with `flock`.
"""

import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from launch.common.guard import SECONDS_TO_END

GUARD = Path(__file__).with_name("guard.py")
MARK = "SWIFT_TRL_EXT_WORKS_UNDER"  # environment of everything below a guard: locks and starts, separated by newlines
SECONDS_BETWEEN_LOOKS = 0.1
_numbers = count()
_making = threading.Lock()
_life: list[int] = []  # the pipe's ends; the writing one stays in this process alone


class Lease:
    """An exclusive lock on `path`, held from `take` until `release` or the death of every process that has it open."""

    def __init__(self, path: Path, descriptor: int):
        self.path, self.descriptor = path, descriptor

    @classmethod
    def take(cls, path: Path, holder: str, wait: float = 0) -> "Lease | None":
        """The lease, or None while somebody else holds it for `wait` seconds.

        Held means: a process has the lock, or one that was started under it still runs, though the lock was closed on
        the way to it. `holder` is written into the file, for people.

        Raises:
            ValueError: the file system cannot lock files.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not marked(_mark_of(path)):
                    break
            except BlockingIOError:
                pass
            except OSError as error:
                os.close(descriptor)
                raise ValueError(f"{path}: this file system cannot lock files ({error}); use another folder") from error
            os.close(descriptor)
            if time.monotonic() >= deadline:
                return None
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os.truncate(descriptor, 0)
        about = {"holder": holder, "host": socket.gethostname(), "pid": os.getpid(), "command": command_of(os.getpid())}
        os.write(descriptor, json.dumps(about).encode())
        return cls(path, descriptor)

    @classmethod
    def take_or_refuse(cls, path: Path, what: str) -> "Lease":
        """The lease; where its holder was killed, after a wait in which the children of that process end.

        Raises:
            ValueError: somebody holds it, who is named with process and command.
        """
        lease = cls.take(path, what)
        if lease is None and not _lives(_about(path)):
            lease = cls.take(path, what, wait=SECONDS_TO_END)
        if lease is None:
            raise ValueError(f"{what}: another process is at work there: {who_holds(path)}; wait for it or end it")
        return lease

    @staticmethod
    def is_free(path: Path) -> bool:
        """Whether nobody holds it at this moment; nothing is taken."""
        if not path.exists():
            return True
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return not marked(_mark_of(path))

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def release(self) -> None:
        """Gives it free, unless a run that inherited it is still there."""
        os.close(self.descriptor)


def _mark_of(path: Path) -> str:
    return f"lock {path.resolve()}"


def command_of(pid: int) -> str:
    """Its command line as a person would type it, cut at 300 characters; empty where the system does not tell."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return shlex.join(word.decode(errors="replace") for word in words)[:300]
    return ""


def marked(mark: str) -> list[int]:
    """Other processes of this machine that run and were started below `mark` (Linux; elsewhere none is found)."""
    wanted, found = mark.encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        with suppress(OSError):
            entries = [entry for entry in path.read_bytes().split(b"\0") if entry.startswith(MARK.encode() + b"=")]
            if pid != os.getpid() and entries and wanted in entries[0].partition(b"=")[2].split(b"\n"):
                found.append(pid)
    return found


def _about(path: Path) -> dict:
    with suppress(OSError, ValueError):
        return json.loads(path.read_text("utf-8"))
    return {}


def _lives(about: dict) -> bool:
    """Whether the process that took a lock still runs; on another machine it is taken to."""
    if "pid" not in about:
        return False
    return about["host"] != socket.gethostname() or command_of(about["pid"]) == about["command"]


def who_holds(path: Path) -> str:
    """The processes at work under the lock at `path`: number and command of each."""
    about = _about(path)
    pid = about.get("pid")
    if _lives(about):
        return f"process {pid} on {about.get('host')} ({about.get('command')})"
    left = marked(_mark_of(path))
    if left:
        return "what a process that is gone left behind: " + ", ".join(
            f"process {pid} ({command_of(pid)})" for pid in left
        )
    return f"process {pid}, or one that it started" if pid is not None else "a process that did not say who it is"


class Guarded(subprocess.Popen):
    """A command under its guard; `mark` is in the environment of all that it started."""

    mark: str


def start(argv: Sequence[str], lease: Lease | None = None, **options) -> Guarded:
    """Starts `argv` so that it ends, with everything below it, when this process does, at whatever moment.

    Its exit status is that of the command. SIGTERM to it ends the command and everything below it, by force after
    `SECONDS_TO_END`. It is in a session of its own: Ctrl-C reaches this process only, which is to call `end`.

    Args:
        lease: stays held until everything below is gone.
        options: of `subprocess.Popen`.
    """
    with _making:
        if not _life:
            _life.extend(os.pipe())
            os.register_at_fork(after_in_child=_forget_life)
    environment = dict(options.pop("env", None) or os.environ)
    number = f"start {socket.gethostname()} {os.getpid()} {time.time_ns()} {next(_numbers)}"
    marks = [environment.get(MARK, ""), _mark_of(lease.path) if lease else "", number]
    environment[MARK] = "\n".join(mark for mark in marks if mark)
    process = Guarded(
        [sys.executable, "-I", str(GUARD), str(_life[0]), *argv],
        pass_fds=[_life[0], *([lease.descriptor] if lease else [])],
        start_new_session=True, env=environment, **{"stdin": subprocess.DEVNULL, **options},
    )  # fmt: skip
    process.mark = number
    return process


def _forget_life() -> None:
    """A fork of this process is not its parent's life."""
    for end in _life:
        os.close(end)
    _life.clear()


def wait(process: Guarded) -> int:
    """The exit status of what `start` gave; if its guard itself was killed, what is left below is ended here."""
    code = process.wait()
    if code == -signal.SIGKILL:
        while left := marked(process.mark):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
    return code


def run(argv: Sequence[str], lease: Lease | None = None, **options) -> int:
    """`start` and `wait`; an interrupt ends the command and is passed on."""
    process = start(argv, lease, **options)
    try:
        return wait(process)
    except BaseException:
        end(process)
        raise


def end(process: Guarded) -> int:
    """Ends what `start` gave, if it still runs, and everything below it; its exit status."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2 * SECONDS_TO_END)
        if process.poll() is None:
            process.kill()
    return wait(process)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Inside, a scheduler's SIGTERM ends what runs as Ctrl-C does, by a KeyboardInterrupt."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
