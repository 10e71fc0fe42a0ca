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
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# Libraries alone, none of this pack's modules. What a run imports and is not named here costs each run its seconds.
SWIFT = (
    "swift.pipelines.train.rlhf", "swift.rlhf_trainers.dpo_trainer", "swift.rlhf_trainers.grpo_trainer", "deepspeed",
    "transformers.models.llama.modeling_llama", "peft.utils.transformers_weight_conversion", "pydantic_settings", "scipy.io",
)  # fmt: skip
TRL = (
    "trl.trainer.dpo_trainer", "trl.trainer.grpo_trainer", "trl.experimental.online_dpo", "trl.scripts.utils", "deepspeed",
    "transformers.models.llama.modeling_llama", "peft", "datasets", "pydantic_settings",
)  # fmt: skip
SERVERS: list["WarmPython"] = []


class WarmRun:
    """A run under way."""

    def __init__(self, connection: socket.socket, server: "WarmPython"):
        self._connection, self._answers, self._server = connection, connection.makefile(), server
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
            self.returncode, spent = json.loads(self._answers.readline())
            self._server.cpu_seconds += spent
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

    `cpu_seconds` are those of all ended runs and their children, and of the imports while no wait of ours counts them.
    """

    def __init__(self, preload: tuple[str, ...]):
        self.preload, self.cpu_seconds, self._imports = preload, 0.0, 0.0
        self._server: subprocess.Popen | None = None
        SERVERS.append(self)

    def _open(self) -> None:
        self._control, theirs = socket.socketpair()
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile("w+") as output:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_python", str(theirs.fileno()), *self.preload], env=env, cwd=REPOSITORY,
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            theirs.close()
            spent = self._control.recv(64)
            output.seek(0)
            assert spent, f"one of {self.preload} cannot be imported:\n{output.read()[-3000:]}"
        self._imports = float(spent)
        self.cpu_seconds += self._imports

    def start(
        self, module: str, argv: list, environment: dict[str, str], folder: Path, log: Path, errors: Path | None = None
    ) -> WarmRun:
        """`python -m module *argv` in `folder`, its output at the end of `log`, what it writes to stderr of `errors`."""
        if self._server is None:
            self._open()
        ours, theirs = socket.socketpair()
        request = {
            "module": module, "argv": [str(word) for word in argv], "environment": environment, "folder": str(folder),
            "logs": [str(log), str(errors or log)],
        }  # fmt: skip
        socket.send_fds(self._control, [b"."], [theirs.fileno()])
        theirs.close()
        ours.sendall(json.dumps(request).encode() + b"\n")
        return WarmRun(ours, self)

    def run(
        self, module: str, argv: list, environment: dict[str, str], folder: Path, timeout: float = 600
    ) -> subprocess.CompletedProcess:
        """As `subprocess.run` with `capture_output` and `text` does it."""
        with tempfile.TemporaryDirectory() as place:
            output, errors = Path(place, "output"), Path(place, "errors")
            code = self.start(module, argv, environment, folder, output, errors).wait(timeout)
            texts = (path.read_text(encoding="utf-8", errors="replace") for path in (output, errors))
            return subprocess.CompletedProcess([sys.executable, "-m", module, *argv], code, *texts)

    def close(self) -> None:
        if self._server is not None:
            self._control.close()  # the server ends by it
            self._server.wait()
            self.cpu_seconds -= self._imports


def requested(control: socket.socket) -> dict:
    """Forks for every request until the tests close their end; returns in the process of a run, and only there."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for the runs
    while True:
        _, found, *_ = socket.recv_fds(control, 1, 1)
        if not found:
            sys.exit()
        if os.fork():
            os.close(found[0])
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with socket.socket(fileno=found[0]) as connection:
            request = json.loads(connection.makefile().readline())
            run = os.fork()
            if run == 0:
                os.setsid()
                connection.sendall(f"{os.getpid()}\n".encode())
                control.close()
                return request
            _, status, usage = os.wait4(run, 0)
            answer = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
            connection.sendall(json.dumps(answer).encode() + b"\n")
        os._exit(0)


def become(request: dict) -> None:
    """Puts the run's environment, folder, output and arguments in the place of the server's."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    for stream, log in enumerate(request["logs"], start=1):
        opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, stream)
        os.close(opened)
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
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        __import__(name)
    gc.freeze()  # forked processes share these pages: the collector is not to write into them
    used = os.times()
    control.sendall(str(used.user + used.system).encode())
    request = requested(control)
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
