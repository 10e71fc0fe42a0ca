"""Runs the cases of `trainer_cases.py` in a process of their own."""

from pathlib import Path

import pytest

from tests.own_process import case_names, run_cases

pytest.importorskip("trl")
CASES = Path(__file__).with_name("trainer_cases.py")


@pytest.fixture(scope="module")
def outcome(warm_trl, tmp_path_factory):
    return run_cases(CASES, tmp_path_factory.mktemp("cases"), warm_trl)


@pytest.mark.integration
@pytest.mark.parametrize("case", case_names(CASES))
def test_case(outcome, case):
    assert case in outcome, outcome[""][0][-3000:]
    assert not outcome[case], "\n".join(outcome[case])
