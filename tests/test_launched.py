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
