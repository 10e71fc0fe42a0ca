"""What cannot go on says so in one line, with the right exit code, and a fault of the pack keeps its traceback."""

import ast
import errno
import importlib
import json
import os
from pathlib import Path

import pytest

from datasets_builders.mistakes import EXTRAS, OWN, exit_code, run_program

ROOT = Path(__file__).parents[2]


def outcome(capsys, work):
    code = exit_code("tool", work)
    error = capsys.readouterr().err
    assert error.startswith("tool: ") and error.count("\n") == 1
    return code, error.removeprefix("tool: error: ").rstrip("\n")


def refused(path):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def full(path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def yaml_of(path):
    import yaml

    return yaml.safe_load("a: [1\nb: 2")


def weights(path):
    from safetensors.numpy import load

    return load(b"no")


def torn(path):
    import zlib

    return zlib.decompress(b"no")


@pytest.mark.parametrize(
    ("work", "code", "message"),
    [
        (lambda path: (path / "none.jsonl").open(), 2, "none.jsonl: No such file or directory"),
        (lambda path: path.open(), 2, ": Is a directory"),
        (lambda path: path.mkdir(), 2, ": File exists"),
        (lambda path: (ROOT / "setup.py" / "x").open(), 2, "setup.py/x: Not a directory"),
        (lambda path: (path / ("x" * 300)).open(), 2, ": File name too long"),
        (refused, 2, ": Permission denied"),
        (full, 1, ": No space left on device"),
        (lambda path: (_ for _ in ()).throw(ConnectionError("no\nroute")).__next__(), 1, "no route"),
        (lambda path: int("x"), 2, "invalid literal for int()"),
        (lambda path: json.loads("{"), 2, "no JSON: Expecting property name"),
        (lambda path: b"a\xff".decode(), 2, "text that is not UTF-8: byte 0xff at position 1"),
        (yaml_of, 2, "no YAML: while parsing a flow sequence in"),
        (weights, 2, "damaged weights: Error while deserializing"),
        (torn, 2, "a damaged compressed file: Error -3"),
        (lambda path: importlib.import_module("surely_not_installed.x"), 2, "the package surely_not_installed is not"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(work, code, message, tmp_path, capsys):
    assert (found := outcome(capsys, lambda: work(tmp_path)))[0] == code and message in found[1], found


def test_an_interrupt_is_no_traceback(capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        run_program(interrupted)
    assert end.value.code == 130 and capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("fault", [KeyError("x"), TypeError("x"), ModuleNotFoundError("x", name="launch.lost")])
def test_a_fault_of_the_pack_keeps_its_traceback(fault):
    def faulty():
        raise fault

    with pytest.raises(type(fault)):
        exit_code("tool", faulty)


def test_a_missing_package_names_the_extra_that_installs_it(capsys):
    def missing():
        raise ModuleNotFoundError("No module named 'swift'", name="swift.arguments")

    assert outcome(capsys, missing)[1] == "the package swift is not installed: pip install 'swift-trl-ext[swift]'"


def test_the_extras_are_those_of_the_distribution():
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    extras = ast.literal_eval(values["EXTRAS"])
    distributions = {"swift": "ms-swift", "HanTa": "hanta"}
    for package, extra in EXTRAS.items():
        wanted = distributions.get(package, package)
        assert any(one.startswith(f"{wanted}>=") for one in extras[extra]), package
    assert set(OWN) == set(ast.literal_eval(values["PACKAGES"]))
