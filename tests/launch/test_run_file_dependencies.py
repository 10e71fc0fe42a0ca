"""What a run file logs to is installed with the extra that its side is installed with."""

import re

import pytest
import yaml

from tests.conftest import REPOSITORY

RUNS = sorted((REPOSITORY / "launch" / "runs").rglob("*.yaml"))
OF_SWIFT = ("bt_grpo", "pairwise_judge", "modpo", "modpo_swift")


@pytest.mark.parametrize("extra, constraints", [("swift", "constraints-swift.txt"), ("trl", "constraints-trl.txt")])
def test_trackers_of_the_run_files_are_in_their_extra(extra, constraints):
    trackers = set()
    for path in RUNS:
        if (path.parent.name in OF_SWIFT) == (extra == "swift"):
            given = yaml.safe_load(path.read_text()).get("report_to") or []
            trackers |= set([given] if isinstance(given, str) else given) - {"none"}
    assert trackers == {"tensorboard"}
    wanted = re.search(rf'^    "{extra}": \[(.*)\],$', (REPOSITORY / "setup.py").read_text(), re.MULTILINE)[1]
    tested = (REPOSITORY / "launch" / constraints).read_text()
    for tracker in trackers:
        assert f'"{tracker}>=' in wanted and re.search(rf"^{tracker}==", tested, re.MULTILINE)
