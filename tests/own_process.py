"""Runs a file of cases in a process of its own: one that never sees ms-swift, whose import deletes the constructors of
TRL's trainers."""

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as tree
from pathlib import Path


def case_names(cases: Path) -> list[str]:
    """The test functions of the file, without importing it."""
    body = ast.parse(cases.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def run_cases(cases: Path, folder: Path) -> dict[str, list[str]]:
    """{case: messages of its failures}, and the whole output under ''."""
    report, root = folder / "report.xml", Path(__file__).resolve().parents[1]
    env = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", str(cases), f"--junitxml={report}", "-p", "no:cacheprovider", "-p", "tests.frozen"]
    done = subprocess.run(argv, env=env, cwd=root, capture_output=True, text=True)
    found: dict[str, list[str]] = {"": [done.stdout + done.stderr]}
    if report.is_file():
        for case in tree.parse(report).iter("testcase"):
            failures = found.setdefault(case.get("name", "").split("[")[0], [])
            failures += [f"{case.get('name')}\n{node.text}" for node in case if node.tag in ("failure", "error")]
    return found
