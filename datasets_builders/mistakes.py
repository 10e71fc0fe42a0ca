"""What a command says when it cannot go on: one line and an exit code, never a traceback, for all commands at once.

2: the input, an option or the installation is wrong. 1: the machine failed (disk, network). 130: interrupted. What is
none of these is a fault of the pack and keeps its traceback.
"""

import errno
import json
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn

# Package as it is imported -> extra of this distribution that installs it.
EXTRAS = {
    "swift": "swift",
    "msgspec": "swift",
    "trl": "trl",
    "tensorboard": "trl",
    "wandb": "wandb",
    "vllm": "vllm",
    "deepspeed": "deepspeed",
    "moocore": "eval",
    "matplotlib": "eval",
    "doit": "eval",
    "evaluate": "eval",
    "gradio": "ui",
    "fastapi": "server",
    "uvicorn": "server",
    "optuna": "tune",
    "openai": "api",
    "anthropic": "api",
    "tenacity": "api",
    "aiolimiter": "api",
    "gguf": "gguf",
    "HanTa": "gold",
    "nltk": "gold",
}
OWN = ("datasets_builders", "launch", "swift_ext", "trl_ext")
# Errors of the system that a path or its owner explains; all others (a full disk, no network) are the machine's.
_OF_A_PATH = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ELOOP}
_OF_A_PATH |= {errno.ENAMETOOLONG, errno.ENOTEMPTY, errno.EROFS}
# Errors of libraries that need not be installed, by the package and the name of their class, and what they are about.
_OF_A_LIBRARY = {
    ("yaml", "YAMLError"): "no YAML",
    ("safetensors", "SafetensorError"): "damaged weights",
    ("safetensors_rust", "SafetensorError"): "damaged weights",
    ("_pickle", "UnpicklingError"): "damaged weights",
    ("zlib", "error"): "a damaged compressed file",
    ("zipfile", "BadZipFile"): "a damaged compressed file",
    ("builtins", "EOFError"): "a file that ends too early",
    ("jinja2", "TemplateError"): "the chat template",
}


def exit_code(program: str, work: Callable[[], int]) -> int:
    """What `work` returns; where it cannot go on, the exit code of its error after one line on standard error.

    Args:
        program: stands in front of the message.
    """
    try:
        return work()
    except BrokenPipeError:  # see `run_program`
        raise
    except Exception as error:
        found = explain(error)
        if found is None:
            raise
        code, message = found
        print(f"{program}: error: {message}", file=sys.stderr)
        return code


def run_program(main: Callable[[list[str]], int]) -> NoReturn:
    """Ends the process with what `main` of its arguments returns; an interrupt and a closed output are no traceback."""
    code: str | int | None
    try:
        try:
            code = main(sys.argv[1:])
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # who read the output (`| head`) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def explain(error: Exception) -> tuple[int, str] | None:
    """Exit code and message of an error that is no fault of the pack; None for one that is."""
    if isinstance(error, UnicodeDecodeError):
        return 2, f"text that is not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return 2, f"no JSON: {_one_line(error)}"
    if isinstance(error, ValueError):
        return 2, _one_line(error)
    if isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else _one_line(error)
        return (2 if error.errno in _OF_A_PATH else 1), text
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return None if package in (*OWN, "") else (2, missing(package))
    for kind in type(error).__mro__:
        if about := _OF_A_LIBRARY.get((kind.__module__.partition(".")[0], kind.__qualname__)):
            return 2, f"{about}: {_one_line(error)}"
    return None


def missing(package: str) -> str:
    """What to do about a package that is not installed."""
    if package in EXTRAS:
        return f"the package {package} is not installed: pip install 'swift-trl-ext[{EXTRAS[package]}]'"
    return f"the package {package} is not installed"


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
