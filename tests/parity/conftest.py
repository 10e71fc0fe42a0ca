"""Runs a suite's variants in one worker process a side; `tests/conftest.py` prints the counts."""

import json
import os
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.warm_python import WarmPython


class Workers:
    """`Workers(folder, server)(module, plan, name)`: the answers of a worker process of the warm server, by name of the run."""

    def __init__(self, folder: Path, server: WarmPython):
        self.folder, self.server = folder, server

    def __call__(self, module: str, plan: dict, name: str) -> dict[str, dict]:
        plan_file, answers, log = (self.folder / f"{name}.{ending}" for ending in ("json", "jsonl", "log"))
        plan_file.write_text(json.dumps(plan, default=str), encoding="utf-8")
        env = {
            **os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        code = self.server.start(module, [plan_file, answers], env, self.folder, log).wait(900)
        assert code == 0, log.read_text(encoding="utf-8", errors="replace")[-4000:]
        lines = answers.read_text(encoding="utf-8").splitlines()
        return {answer["name"]: answer for answer in map(json.loads, lines)}


def chosen(request, *names: str) -> list[tuple]:
    """Parameters of this module's tests that pytest goes on to run: `-k ipo` costs the runs of one variant, not of all."""
    of_module = [
        item.callspec.params
        for item in request.session.items
        if item.module is request.module and hasattr(item, "callspec")
    ]
    return list(
        dict.fromkeys(tuple(given[name] for name in names) for given in of_module if given.keys() >= set(names))
    )


@pytest.fixture(scope="module")
def workers(warm_trl, tmp_path_factory):
    return Workers(tmp_path_factory.mktemp("parity"), warm_trl.server)


@pytest.fixture(scope="module")
def swift_workers(warm_swift, tmp_path_factory):
    return Workers(tmp_path_factory.mktemp("parity"), warm_swift)


@pytest.fixture
def count(record_property):
    """count(suite, outcome): the outcome goes with the test's report, also from one worker of several to their parent."""
    return lambda suite, outcome: record_property("parity", (suite, outcome.kind))
