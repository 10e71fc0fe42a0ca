"""Runs trainer_cases.py in a process of its own and reports its cases one by one."""

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as tree
from importlib.util import find_spec
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("trainer_cases.py")
NAMES = [
    node.name
    for node in ast.parse(CASES.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]
pytestmark = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed in this environment")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, list[str]]:
    """{case: messages of its failures}, and the whole output under ''."""
    report = tmp_path_factory.mktemp("moodpo") / "report.xml"
    root = CASES.parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", str(CASES)]
    done = subprocess.run(
        [*argv, f"--junitxml={report}", "-p", "no:cacheprovider"], env=env, cwd=root, capture_output=True, text=True
    )
    found: dict[str, list[str]] = {"": [done.stdout + done.stderr]}
    if report.is_file():
        for case in tree.parse(report).iter("testcase"):
            failures = found.setdefault(case.get("name", "").split("[")[0], [])
            failures += [f"{case.get('name')}\n{node.text}" for node in case if node.tag in ("failure", "error")]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_case(outcomes, name):
    assert name in outcomes, outcomes[""][0][-4000:]
    assert not outcomes[name], "\n".join(outcomes[name])
