"""Runs trainer_cases.py in a process of its own and reports its cases one by one."""

from pathlib import Path

from tests.own_process import reported

outcomes, test_case = reported(Path(__file__).with_name("trainer_cases.py"))
