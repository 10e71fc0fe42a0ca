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


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, *sys.argv[2:]], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
if sys.argv[1] == "ends":
    child.terminate()
sys.exit(100 + child.wait())
"""
CHILD = """
import os, sys, time
print([os.getpid(), "colorsys" in sys.modules, sys.argv[1:], os.environ["WARM_ONE"], os.getcwd()], flush=True)
if sys.argv[1] == "sleeps":
    time.sleep(60)
while time.process_time() < 0.3: pass
sys.exit(7)
"""


@pytest.fixture
def parent(server, tmp_path):
    """parent("waits" or "ends", *words) -> a run that starts `sys.executable *words`, and its log."""
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "child.py").write_text(CHILD)
    env, log = {**os.environ, "WARM_ONE": "1"}, tmp_path / "log"
    return lambda *words: (server.start("parent", words, env, tmp_path, log, warm_children=True), log)


@pytest.mark.parametrize(("words", "warm"), [(("-m", "child"), True), (("child.py",), False)])
def test_children_of_a_run_are_runs(server, parent, tmp_path, words, warm):
    """Only those of `python -m`; anything else is started by the real interpreter."""
    before = server.cpu_seconds
    run, log = parent("waits", *words, "a b", "c")
    assert run.wait(60) == 107, log.read_text()
    assert ast.literal_eval(log.read_text())[1:] == [warm, ["a b", "c"], "1", str(tmp_path)]
    assert 0.25 < server.cpu_seconds - before < 5


def test_a_signal_reaches_a_child_and_its_end_is_told(parent):
    run, log = parent("ends", "-m", "child", "sleeps")
    assert run.wait(60) == 100 - signal.SIGTERM, log.read_text()


def test_a_killed_run_takes_its_children_along(parent):
    run, log = parent("waits", "-m", "child", "sleeps")
    while not (log.exists() and log.read_text().endswith("\n")):
        assert run.poll() is None
        time.sleep(0.01)
    child = Path(f"/proc/{ast.literal_eval(log.read_text())[0]}")
    assert child.exists()
    run.kill()
    deadline = time.monotonic() + 10
    while child.exists():
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.01)


def test_a_preload_that_is_not_there_is_named(tmp_path):
    server = WarmPython(("no_such_module",))
    with pytest.raises(AssertionError, match="No module named 'no_such_module'"):
        server.run("ends", [], dict(os.environ), tmp_path)
