"""Children end with their parent, at whatever moment and however deep they are; a lock lasts as long as they do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.common.processes import Lease, end, marked, start, wait, who_holds
from tests.conftest import REPOSITORY

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
# As torchrun does: a child, and below it another one in a session of its own, without the lock.
TREE = """
import os, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
(folder / "pids.part").write_text(f"{os.getpid()} {below.pid}")
(folder / "pids.part").rename(folder / "pids")
time.sleep(600)
"""
PARENT = """
import sys, time
from pathlib import Path
from launch.common.processes import Lease, start
folder = Path(sys.argv[1])
lease = Lease.take(folder / "lock", "the first")
print("starts", flush=True)
process = start([sys.executable, "-c", sys.argv[2], str(folder)], lease)
print(process.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except OSError:
        return False


def wait_for(there, seconds=30):
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def parent(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), TREE],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "starts\n"
    yield process
    process.kill()
    process.wait()
    wait_for(lambda: not marked(f"lock {tmp_path / 'lock'}"))


def family(parent, folder) -> list[int]:
    guard = int(parent.stdout.readline())
    wait_for((folder / "pids").exists)
    return [guard, *map(int, (folder / "pids").read_text().split())]


@pytest.mark.parametrize("whole_group", [False, True])
def test_everything_below_ends_when_the_parent_is_killed(parent, tmp_path, whole_group):
    everyone = family(parent, tmp_path)
    assert all(map(alive, everyone)) and Lease.take(tmp_path / "lock", "b") is None
    assert f"process {parent.pid} on" in who_holds(tmp_path / "lock")
    (os.killpg if whole_group else os.kill)(parent.pid, signal.SIGKILL)
    parent.wait()
    lease = Lease.take_or_refuse(tmp_path / "lock", "--out X")
    assert not any(map(alive, everyone))
    lease.release()


@pytest.mark.parametrize("seconds", [0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2])
def test_at_whatever_moment_the_parent_dies(parent, tmp_path, seconds):
    """While the guard is forked, starts Python, starts the command, or later."""
    time.sleep(seconds)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    Lease.take_or_refuse(tmp_path / "lock", "--out X").release()
    assert not marked(f"lock {tmp_path / 'lock'}")


def test_a_guard_that_is_killed_leaves_nothing_and_the_parent_knows(tmp_path):
    lease = Lease.take(tmp_path / "lock", "a")
    process = start([sys.executable, "-c", TREE, str(tmp_path)], lease)
    wait_for((tmp_path / "pids").exists)
    below = list(map(int, (tmp_path / "pids").read_text().split()))
    process.kill()
    assert wait(process) == -signal.SIGKILL and not any(map(alive, below))
    lease.release()


def test_who_lives_on_without_parent_and_guard_keeps_the_lock_and_is_named(parent, tmp_path):
    """Only what has left its session and closed the lock can live on then: it is found by its environment."""
    guard, child, below = family(parent, tmp_path)
    os.kill(guard, signal.SIGSTOP)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    os.kill(guard, signal.SIGKILL)
    wait_for(lambda: not alive(child))
    assert alive(below) and not Lease.is_free(tmp_path / "lock")
    assert Lease.take(tmp_path / "lock", "b") is None and f"process {below} (" in who_holds(tmp_path / "lock")
    os.kill(below, signal.SIGKILL)
    wait_for(lambda: Lease.is_free(tmp_path / "lock"))


def test_two_at_a_time_are_refused_with_the_name_of_the_first(tmp_path):
    lease = Lease.take(tmp_path / "lock", "a")
    begun = time.monotonic()
    with pytest.raises(
        ValueError, match=rf"--out X: another process is at work there: process {os.getpid()} on .*python"
    ):
        Lease.take_or_refuse(tmp_path / "lock", "--out X")
    assert time.monotonic() - begun < 2 and json.loads((tmp_path / "lock").read_text())["holder"] == "a"
    lease.release()
    assert Lease.is_free(tmp_path / "lock")


@pytest.mark.parametrize(
    ("command", "status"),
    [(["true"], 0), ([sys.executable, "-c", "raise SystemExit(7)"], 7), (["sh", "-c", "kill -TERM $$"], -15),
     (["sh", "-c", "kill -KILL $$"], -9), (["no-such-command"], 127)],
)  # fmt: skip
def test_the_status_is_that_of_the_command(command, status):
    assert wait(start(command)) == status


KILLED_BETWEEN_TWO_LOOKS = """
import os, signal
from launch.common.guard import Guard

class Unlucky(Guard):
    looks = 0

    def _reap(self):
        super()._reap()
        self.looks += 1
        if self.looks == 2:  # within `_left`: an unreaped end, which `descendants` does not list
            os.kill(self.child, signal.SIGKILL)
            os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOWAIT)

life, writer = os.pipe()
os.close(writer)
print(Unlucky(life, ["sleep", "60"]).run())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the status itself says what is left")
def test_a_command_that_ends_between_two_looks_has_a_status():
    done = subprocess.run(
        [sys.executable, "-c", KILLED_BETWEEN_TWO_LOOKS], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (f"{signal.SIGKILL:d}\n", "")


def test_end_ends_what_does_not_listen_and_what_is_below(tmp_path, monkeypatch):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + TREE
    process = start([sys.executable, "-c", TREE, str(tmp_path)])
    wait_for((tmp_path / "pids").exists)
    below = list(map(int, (tmp_path / "pids").read_text().split()))
    assert end(process) == -signal.SIGTERM and not any(map(alive, below))
    (tmp_path / "pids").unlink()
    process = start([sys.executable, "-c", deaf, str(tmp_path)])
    wait_for((tmp_path / "pids").exists)
    below = list(map(int, (tmp_path / "pids").read_text().split()))
    assert end(process) == -signal.SIGKILL and not any(map(alive, below))
