"""Runs a file of cases in a process of its own: one that never sees ms-swift, whose import deletes the constructors of
TRL's trainers."""

import ast
import xml.etree.ElementTree as tree
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.warm_trl import WarmTrl


def case_names(cases: Path) -> list[str]:
    """The test functions of the file, without importing it."""
    body = ast.parse(cases.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def run_cases(cases: Path, folder: Path, warm_trl: WarmTrl) -> dict[str, list[str]]:
    """{case: messages of its failures}, and the whole output under ''."""
    report = folder / "report.xml"
    argv = ["-q", cases, f"--junitxml={report}", "-p", "no:cacheprovider"]
    _, output = warm_trl.start("pytest", argv, folder / "log").finish()
    found: dict[str, list[str]] = {"": [output]}
    if report.is_file():
        for case in tree.parse(report).iter("testcase"):
            failures = found.setdefault(case.get("name", "").split("[")[0], [])
            failures += [f"{case.get('name')}\n{node.text}" for node in case if node.tag in ("failure", "error")]
    return found


def reported(cases: Path) -> tuple[Callable, Callable]:
    """The fixture `outcomes` and the test `test_case` of a module that reports the cases of a file one by one."""

    @pytest.fixture(scope="module")
    def outcomes(warm_trl, tmp_path_factory) -> dict[str, list[str]]:
        return run_cases(cases, tmp_path_factory.mktemp("cases"), warm_trl)

    @pytest.mark.integration
    @pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed in this environment")
    @pytest.mark.parametrize("name", case_names(cases))
    def test_case(outcomes, name):
        assert name in outcomes, outcomes[""][0][-4000:]
        assert not outcomes[name], "\n".join(outcomes[name])

    return outcomes, test_case
