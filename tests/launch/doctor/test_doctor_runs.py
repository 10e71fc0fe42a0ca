"""The run files of the pack: every key is known to its upstream, and what is not here is said, not tripped over."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from launch.doctor.arguments import is_here
from launch.doctor.doctor import main
from launch.doctor.run_file import read_run
from tests.conftest import REPOSITORY
from tests.launch.doctor.conftest import HAS_SWIFT

RUN_FILES = sorted((REPOSITORY / "launch" / "runs").glob("*/*.yaml"))
# What the launch line in a file's header says, and the method that it is.
LAUNCHED = {
    r"-m trl_ext\.modpo\.script": "modpo-trl", r"-m trl_ext\.(moodpo|d2po)\.script": None, r"trl(?:\.scripts\.| )(dpo|reward|sft)\b": "trl-",
    r"launch helpsteer-modpo": "modpo-pipeline", r"megatron rlhf": "megatron", r"swift sft": "swift-sft",
}  # fmt: skip
# What a machine without the run's GPU, data, models or engines may lack; nothing else may be an error.
MAY_LACK = {"machine", "upstream", "trainability", "rows", "margin base"}


def findings_of(path: Path, tmp_path: Path) -> list[dict]:
    out = tmp_path / "findings.json"
    main([str(path), "--json", str(out)])
    return json.loads(out.read_text())["findings"]


def launched(path: Path) -> str | None:
    """The method by the first launch line of the file's header that names one."""
    lines = path.read_text().partition("# Launch:")[2].splitlines()
    for line in itertools.takewhile(lambda text: not text or text.startswith("#") or text is lines[0], lines):
        for pattern, name in LAUNCHED.items():
            if found := re.search(pattern, line):
                return found[1] if name is None else name + found[1] if name.endswith("-") else name
    return None


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_keys_of_a_run_file_are_known_and_nothing_breaks(path, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    method = read_run(path, [], None, None).method
    assert method.name == (launched(path) or method.name)
    findings = findings_of(path, tmp_path)
    keys = [one for one in findings if one["check"] == "keys"]
    known = HAS_SWIFT if method.upstream in ("ms-swift", "megatron") else is_here(method)
    assert [one["level"] for one in keys] == ["ok" if known else "skipped"]
    errors = [one for one in findings if one["level"] == "error"]
    errors = [one for one in errors if "vllm_mode server of trl 0.29.1" not in one["found"]]  # a run file for TRL 1.x
    # What an earlier command makes, such as the adapter of a margin, is not there yet.
    errors = [one for one in errors if "does not exist; the folder of a model or an adapter" not in one["found"]]
    assert {one["check"] for one in errors} <= MAY_LACK, errors
    assert not [one for one in findings if "the check itself failed" in one["found"]]
    # Seen before: "None is not here", of a run file that gets its model by a flag.
    assert not [one for one in findings if re.search(r"\bNone\b", one["found"] + one["fix"])]


def test_the_folder_of_run_files_is_read():
    assert Counter(path.parent.name for path in RUN_FILES)["bt_grpo"] >= 23
