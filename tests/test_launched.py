"""A script that a launcher started ends with it, at whatever moment that is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death is Linux"),
]
# Starts a script as accelerate does, and is killed while the script still imports.
LAUNCHER = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", *sys.argv[2:]], env={**os.environ, "ACCELERATE_DYNAMO_BACKEND": "NO"})
open(sys.argv[1], "w").write(str(child.pid))
while "libtorch" not in open(f"/proc/{child.pid}/maps").read():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def ended(process: Path) -> bool:
    try:
        return "\nState:\tZ" in (process / "status").read_text()
    except OSError:
        return True


@pytest.mark.parametrize("method", ["modpo", "moodpo", "d2po"])
def test_a_launcher_that_dies_during_the_imports_takes_the_script_along(method, tmp_path):
    """Seen before: the imports went on to their end, for 20 seconds on a busy machine, and only then was it noticed."""
    pytest.importorskip("trl")
    argv = [sys.executable, "-c", LAUNCHER, str(tmp_path / "pid"), f"trl_ext.{method}.script", "--help"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with open(tmp_path / "output", "w") as output:
        launcher = subprocess.Popen(argv, env=env, stdout=output, stderr=output, cwd=tmp_path, start_new_session=True)
        assert launcher.wait(timeout=120) == -9
    child = Path("/proc") / (tmp_path / "pid").read_text()
    deadline = time.monotonic() + 120
    while not ended(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended(child)
    assert (tmp_path / "output").read_text() == "", "it went on to the end of its imports, or further"


TRAINER = """
import signal, sys, time
from pathlib import Path
from trl_ext.launched import end_with_launcher
def save(*_):  # as transformers' JITCheckpointCallback takes SIGTERM: the save comes later, not in the handler
    global asked
    asked = True
asked = False
if sys.argv[2] == "saves":
    signal.signal(signal.SIGTERM, save)
end_with_launcher()
Path(sys.argv[1]).write_text("ready")
for _ in range(3000):
    time.sleep(0.01)
    if asked:
        Path(sys.argv[1]).write_text("saved")
        break
"""
STARTS_IT = """
import os, signal, subprocess, sys, time
if sys.argv[4] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", *sys.argv[2:]], env={**os.environ, "ACCELERATE_DYNAMO_BACKEND": "NO"})
open(sys.argv[1], "w").write(str(child.pid))
while not os.path.exists(sys.argv[3]) or not open(sys.argv[3]).read():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["plain", "saves", "deaf"])
def test_a_launcher_that_dies_ends_a_trainer_which_may_save_first(kind, tmp_path):
    """Seen before: `--enable_jit_checkpoint` saved nothing, the kernel killed the trainer as soon as accelerate was gone."""
    mark = tmp_path / "mark"
    argv = [sys.executable, "-c", STARTS_IT, str(tmp_path / "pid"), TRAINER, str(mark), kind]
    started = time.monotonic()
    assert subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, cwd=tmp_path).returncode == -9
    child = Path("/proc") / (tmp_path / "pid").read_text()
    reached = time.monotonic()
    while not ended(child) and time.monotonic() < reached + 20:
        time.sleep(0.01)
    assert ended(child), f"it lives {time.monotonic() - started:.0f} seconds after its start"
    assert mark.read_text() == ("saved" if kind == "saves" else "ready")
