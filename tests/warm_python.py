"""`python -m MODULE ...` without the seconds of its imports: a server imports the libraries once and forks for each run.

A run is a process of its own, with its own session, environment, output and exit code: nothing of it reaches the next
one, and it may be killed. What differs from a new interpreter: the modules of `preload` were imported before the run's
environment was set, all runs of one server hash texts alike, and a run ends after its exit functions, without tearing its
modules down. So what many cases start here, a few start by the command line itself.
"""

import atexit
import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from tests.warm_child import ask

REPOSITORY = Path(__file__).resolve().parents[1]
# Libraries alone, none of this pack's modules. What a run imports and is not named here costs each run its seconds.
SWIFT = (
    "swift.pipelines.train.rlhf", "swift.rlhf_trainers.dpo_trainer", "swift.rlhf_trainers.grpo_trainer", "deepspeed",
    "transformers.models.llama.modeling_llama", "peft.utils.transformers_weight_conversion", "pydantic_settings", "scipy.io",
)  # fmt: skip
TRL = (
    "trl.trainer.dpo_trainer", "trl.trainer.grpo_trainer", "trl.experimental.online_dpo", "trl.scripts.utils",
    *(("deepspeed",) if find_spec("deepspeed") else ()),  # an extra
    "transformers.models.llama.modeling_llama", "peft", "datasets", "pydantic_settings",
)  # fmt: skip
WARM_CHILD = str(REPOSITORY / "tests" / "warm_child.py")
SERVERS: list["WarmPython"] = []


class WarmRun:
    """A run under way."""

    def __init__(self, connection: socket.socket):
        self._connection, self._answers = connection, connection.makefile()
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the run goes on."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. A run that takes longer than `timeout` seconds, or whose test is interrupted, is killed."""
        if self.returncode is None:
            try:
                if not select.select([self._connection], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(f"run {self.pid}", timeout)
            except BaseException:
                self.kill()
                raise
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self.returncode

    def kill(self) -> None:
        """SIGKILL to all processes of the run's session, if it goes on."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class WarmPython:
    """The server's side in the tests, started with the first run.

    Its folder holds the socket at which it is asked, the CPU seconds of all ended runs, one line each, and the commands
    `python` and `swift` with which the children of a run are started as runs of the server too.
    """

    def __init__(self, preload: tuple[str, ...]):
        self.preload, self._imports, self._seen, self._spent = preload, 0.0, 0, 0.0
        self._server: subprocess.Popen | None = None
        SERVERS.append(self)

    @property
    def cpu_seconds(self) -> float:
        """Those of all ended runs and their children, and of the imports while no wait of ours counts them."""
        if self._server is not None and self._usage.stat().st_size != self._seen:
            text = self._usage.read_bytes()
            self._seen, self._spent = len(text), sum(map(float, text.split()))
        return self._imports + self._spent

    @property
    def commands(self) -> Path:
        """The folder of `python` and `swift`, with which others than the tests start runs of this server."""
        if self._server is None:
            self._open()
        return Path(self._folder.name)

    def _open(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm_")
        place = Path(self._folder.name)
        self._usage = place / "usage"
        self._usage.touch()
        for name in ("python", "swift"):
            command = ["exec", sys.executable, "-SI", WARM_CHILD, str(place), sys.executable, name]
            (place / name).write_text(f'#!/bin/sh\n{shlex.join(command)} "$@"\n')
            (place / name).chmod(0o755)
        self._life, theirs = socket.socketpair()
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile("w+") as output:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_python", str(place), str(theirs.fileno()), *self.preload], env=env,
                cwd=REPOSITORY, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            theirs.close()
            spent = self._life.recv(64)
            output.seek(0)
            assert spent, f"one of {self.preload} cannot be imported:\n{output.read()[-3000:]}"
        self._imports = float(spent)

    def start(
        self, module: str, argv: list, environment: dict[str, str], folder: Path, log: Path, errors: Path | None = None,
        warm_children: bool = False,
    ) -> WarmRun:  # fmt: skip
        """`python -m module *argv` in `folder`, its output at the end of `log`, what it writes to stderr of `errors`.

        With `warm_children` its `sys.executable` starts runs of this server.
        """
        with open(os.devnull) as nothing, open(log, "a") as output, open(errors or log, "a") as second:
            files = [nothing.fileno(), output.fileno(), second.fileno()]
            return self.begin(module, argv, environment, folder, files, warm_children)

    def begin(
        self, module: str, argv: list, environment: dict[str, str], folder: Path, files: list[int], warm_children=False
    ) -> WarmRun:
        """`start` with open files for stdin, stdout and stderr."""
        if self._server is None:
            self._open()
        place = self._folder.name
        request = {
            "module": module, "argv": [str(word) for word in argv], "environment": environment, "folder": str(folder),
            "executable": f"{place}/python" if warm_children else sys.executable,
        }  # fmt: skip
        return WarmRun(ask(place, request, files))

    def run(
        self, module: str, argv: list, environment: dict[str, str], folder: Path, timeout: float = 600, **options
    ) -> subprocess.CompletedProcess:
        """As `subprocess.run` with `capture_output` and `text` does it."""
        with tempfile.TemporaryDirectory() as place:
            output, errors = Path(place, "output"), Path(place, "errors")
            code = self.start(module, argv, environment, folder, output, errors, **options).wait(timeout)
            texts = (path.read_text(encoding="utf-8", errors="replace") for path in (output, errors))
            return subprocess.CompletedProcess([sys.executable, "-m", module, *argv], code, *texts)

    def close(self) -> None:
        if self._server is not None:
            self._life.close()  # the server ends by it
            self._server.wait()
            spent, self._server, self._imports = self.cpu_seconds - self._imports, None, 0.0
            self._spent = spent
            self._folder.cleanup()


def requested(place: Path, listener: socket.socket, life: socket.socket) -> dict:
    """Forks for every request until the tests close their end; returns in the process of a run, and only there."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for the runs
    while True:
        if life in select.select([listener, life], [], [])[0]:
            sys.exit()
        connection = listener.accept()[0]
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        _, files, *_ = socket.recv_fds(connection, 1, 3)
        request = json.loads(connection.makefile().readline())
        run = os.fork()
        if run == 0:
            os.setsid()
            for stream, file in enumerate(files):
                os.dup2(file, stream)
                os.close(file)
            connection.sendall(f"{os.getpid()}\n".encode())
            connection.close()
            life.close()
            return request
        code, spent = watch(run, connection)
        with (place / "usage").open("a") as usage:
            usage.write(f"{spent}\n")
        with suppress(BrokenPipeError):
            connection.sendall(f"{code}\n".encode())
        os._exit(0)


def watch(run: int, connection: socket.socket) -> tuple[int, float]:
    """Exit code and CPU seconds of the run when it has ended; who asked for it and is gone takes its session along."""
    ending = os.pidfd_open(run)
    if ending not in select.select([ending, connection], [], [])[0]:
        with suppress(ProcessLookupError):
            os.killpg(run, signal.SIGKILL)
    _, status, usage = os.wait4(run, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def become(request: dict) -> None:
    """Puts the run's environment, folder, interpreter and arguments in the place of the server's."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.executable = request["executable"]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    beside = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path and path not in sys.path]
    sys.path[:1] = [request["folder"], *beside]
    sys.argv[1:] = request["argv"]
    for name, seed in (("numpy.random", "seed"), ("torch", "seed")):  # as a new interpreter: no two runs draw alike
        if name in sys.modules:
            getattr(sys.modules[name], seed)()


ended: list[int] = []  # the exit code of this run


def leave() -> None:
    """Ends a run when its exit functions have run: to free half a gigabyte of modules one by one takes 0.7 CPU seconds."""
    if ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended[0])


if __name__ == "__main__":
    atexit.register(leave)  # the first one registered runs last
    place, life = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    for name in sys.argv[3:]:
        __import__(name)
    gc.freeze()  # forked processes share these pages: the collector is not to write into them
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "socket"))
    listener.listen(64)
    used = os.times()
    life.sendall(str(used.user + used.system).encode())
    request = requested(place, listener, life)
    become(request)
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        ended.append(0)
    except SystemExit as end:
        ended.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
    except BaseException:
        ended.append(1)
        raise
