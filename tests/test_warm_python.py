"""A run of the warm server is a process of its own: nothing passes from one to the next, and it ends as one of `python -m`."""

import ast
import os
import signal
import time
from pathlib import Path

import pytest

from tests.warm_python import WarmPython

MODULE = """
import atexit, os, random, sys
atexit.register(print, "at exit")
sys.modules["json"].left_behind = getattr(sys.modules["json"], "left_behind", 0) + 1
print([os.getcwd(), sys.argv[1:], sorted(name for name in os.environ if name.startswith("WARM_")), random.random(),
       sys.modules["json"].left_behind, __name__, "beside" in sys.modules])
print("said", file=sys.stderr)
import beside
{ending}
"""


@pytest.fixture(scope="module")
def server():
    server = WarmPython(("colorsys",))
    yield server
    server.close()


@pytest.fixture
def run(server, tmp_path):
    def run(ending="", *argv, **environment):
        (tmp_path / "beside.py").touch()
        (tmp_path / "ends.py").write_text(MODULE.format(ending=ending))
        return server.run("ends", argv, {**os.environ, **environment}, tmp_path, 60)

    return run


def test_runs_share_nothing(run, tmp_path):
    done = [run("", "--a", "b c", WARM_ONE="1"), run("", WARM_TWO="2")]
    (first, *_), (second, *_) = (map(ast.literal_eval, one.stdout.splitlines()[:1]) for one in done)
    assert first[:3] == [str(tmp_path), ["--a", "b c"], ["WARM_ONE"]] and second[1:3] == [[], ["WARM_TWO"]]
    assert first[3] != second[3], "no two runs draw alike unless they say so"
    assert first[4:] == second[4:] == [1, "__main__", False]
    assert [one.stderr for one in done] == ["said\n", "said\n"]


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("", 0, ""), ("sys.exit()", 0, ""), ("sys.exit(3)", 3, ""), ("sys.exit('a sentence')", 1, "a sentence"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong"), ("import nowhere", 1, "No module named 'nowhere'"),
    ],
)  # fmt: skip
def test_it_ends_as_python_does(run, ending, code, said):
    done = run(ending)
    assert done.returncode == code and said in done.stderr and done.stdout.endswith("\nat exit\n")


def test_it_can_be_killed_with_its_children(server, tmp_path):
    (tmp_path / "sleeps.py").write_text(
        "import subprocess, time\nchild = subprocess.Popen(['sleep', '60'])\nprint(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    run, log = server.start("sleeps", [], dict(os.environ), tmp_path, tmp_path / "log"), tmp_path / "log"
    while not (log.exists() and log.read_text().endswith("\n")):
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()
    assert run.wait(10) == run.poll() == -signal.SIGKILL
    status = Path(f"/proc/{log.read_text().strip()}/status")
    deadline = time.monotonic() + 10
    while status.exists() and "State:\tZ" not in status.read_text():
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.01)


def test_its_cpu_seconds_are_counted(server, tmp_path):
    (tmp_path / "works.py").write_text("import time\nwhile time.process_time() < 0.3: pass\n")
    before = server.cpu_seconds
    assert server.run("works", [], dict(os.environ), tmp_path).returncode == 0
    assert 0.2 < server.cpu_seconds - before < 3


def test_a_preload_that_is_not_there_is_named(tmp_path):
    server = WarmPython(("no_such_module",))
    with pytest.raises(AssertionError, match="No module named 'no_such_module'"):
        server.run("ends", [], dict(os.environ), tmp_path)
