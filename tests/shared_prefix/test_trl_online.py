"""Runs trl_online_cases.py in a process of its own and reports its cases one by one."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.own_process import case_names, run_cases

CASES = Path(__file__).with_name("trl_online_cases.py")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed in this environment"),
]


@pytest.fixture(scope="module")
def outcomes(warm_trl, tmp_path_factory) -> dict[str, list[str]]:
    return run_cases(CASES, tmp_path_factory.mktemp("cases"), warm_trl)


@pytest.mark.parametrize("name", case_names(CASES))
def test_case(outcomes, name):
    assert name in outcomes, outcomes[""][0][-4000:]
    assert not outcomes[name], "\n".join(outcomes[name])
