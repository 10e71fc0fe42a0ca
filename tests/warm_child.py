"""What `python` and `swift` are to a run of the warm server that is started with `warm_children`: `python -m MODULE`, a
launcher with its ranks included, and `swift` become runs of the same server, everything else is done by the real command.

    python -SI warm_child.py PLACE INTERPRETER (python|swift) ARGUMENT...

The process stands for the run: it ends as the run does, hands SIGTERM and SIGINT on, and who kills it kills the run.
Standard library alone: it is started by its path, and is to cost nothing.
"""

import json
import os
import signal
import socket
import sys


def wanted(name: str, argv: list[str]) -> tuple[str, list[str]] | None:
    """(module, its arguments); None where only the real command knows what to do."""
    if name == "swift":
        return "swift.cli.main", argv
    if argv[:1] == ["-u"]:  # torchrun's; the output of every run is written line by line
        argv = argv[1:]
    if argv[:1] == ["-m"] and len(argv) > 1:
        return argv[1], argv[2:]
    folders = argv[0].split("/")[-3:] if argv else []
    if folders[:2] == ["swift", "cli"]:  # ms-swift starts its own modules as files
        return "swift.cli." + folders[2].removesuffix(".py"), argv[1:]
    return None


def ask(place: str, request: dict, files: list[int]) -> socket.socket:
    """Asks the server at `place` for a run; `files` are its stdin, stdout and stderr. The run ends with this connection."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.path.join(place, "socket"))
    socket.send_fds(connection, [b"."], files)
    connection.sendall(json.dumps(request).encode() + b"\n")
    return connection


def main(place: str, interpreter: str, name: str, *argv: str) -> None:
    found = wanted(name, list(argv))
    if found is None:
        real = interpreter if name == "python" else os.path.join(os.path.dirname(interpreter), name)
        os.execv(real, [real, *argv])
    request = {
        "module": found[0], "argv": found[1], "environment": dict(os.environ), "folder": os.getcwd(),
        "executable": os.path.join(place, "python"),
    }  # fmt: skip
    connection = ask(place, request, [0, 1, 2])
    answers = connection.makefile()
    run = int(answers.readline())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(run, number))
    code = int(answers.readline())
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
