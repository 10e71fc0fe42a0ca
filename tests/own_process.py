"""Runs a file of cases in a process of its own: one that never sees ms-swift, whose import deletes the constructors of
TRL's trainers."""

import ast
import xml.etree.ElementTree as tree
from pathlib import Path

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
