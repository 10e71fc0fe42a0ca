"""The short form of `python -m tests.kills.kills`: a data command and paid labels, a kill of the parent alone each."""

import pytest

from tests.kills.kills import plan, run, summary

pytestmark = pytest.mark.integration


def test_killed_commands_end_as_if_they_had_been_left_alone(tmp_path):
    for package in ("openai", "aiolimiter", "tenacity"):
        pytest.importorskip(package)
    found = summary(run(tmp_path, 2, 1, ["builder", "teacher"]))
    counts = ("differing", "orphans", "bought_twice", "lost", "failed")
    assert found["kills"] == found["in_time"] == 2 and not any(found[name] for name in counts), found


def test_at_least_half_of_the_kills_are_of_parents_alone():
    drawn = plan(100, 0, ["builder", "teacher", "generate", "d2po", "tuner", "pipeline"])
    assert (
        50 <= sum(alone for _, _, alone in drawn) <= 53 and len({name for name, _, _ in drawn}) == 6
    )  # an odd one a case
