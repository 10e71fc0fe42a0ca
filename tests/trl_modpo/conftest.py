"""One process that trains with TRL for all tests of this folder."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conftest import REPOSITORY
from tests.tiny import preference_rows, write_rows

ROWS = 8


def trl_rows(rows: list[dict]) -> list[dict]:
    """ms-swift's preference rows in TRL's conversational format."""
    return [
        {
            "prompt": row["messages"][:-1],
            "chosen": row["messages"][-1:],
            "rejected": [{"role": "assistant", "content": row["rejected_response"]}],
        }
        for row in rows
    ]


class JobFailed(Exception):
    pass


class Worker:
    """Jobs for `tests.trl_modpo.worker`, answered in order."""

    def __init__(self):
        env = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.trl_modpo.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            text=True,
            cwd=REPOSITORY,
        )

    def __call__(self, job: str, **arguments):
        """The job's result; what it printed is in `printed`."""
        print(json.dumps({"job": job, **arguments}, default=str), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                answer = json.loads(line.removeprefix("RESULT "))
                self.printed = answer["printed"]
                if "error" in answer:
                    raise JobFailed(f"{answer['error']}\n{answer['traceback']}")
                return answer["result"]
        raise JobFailed(f"the worker ended with {self.process.wait()}")


@pytest.fixture(scope="session")
def worker():
    if find_spec("trl") is None:
        pytest.skip("TRL is not installed in this environment")
    worker = Worker()
    yield worker
    worker.process.stdin.close()
    worker.process.wait(timeout=60)


@pytest.fixture(scope="session")
def rows():
    return preference_rows(ROWS, seed=11)


@pytest.fixture(scope="session")
def data(rows, tmp_path_factory):
    """Four batches of two pairs, in the order of the file."""
    return write_rows(tmp_path_factory.mktemp("trl") / "pairs.jsonl", trl_rows(rows))
