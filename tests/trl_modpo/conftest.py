"""One process that trains with TRL for all tests of this folder."""

import json
import os

import pytest

from tests.conftest import REPOSITORY
from tests.tiny import preference_rows, write_rows
from tests.warm_python import WarmPython
from tests.warm_trl import SETTINGS

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

    def __init__(self, server: WarmPython):
        env = {**os.environ, **SETTINGS, "TOKENIZERS_PARALLELISM": "false"}
        (jobs, ours), (theirs, answers) = os.pipe(), os.pipe()
        self._run = server.begin("tests.trl_modpo.worker", [], env, REPOSITORY, [jobs, answers, 2])
        os.close(jobs)
        os.close(answers)
        self._jobs, self._answers = os.fdopen(ours, "w"), os.fdopen(theirs)

    def __call__(self, job: str, **arguments):
        """The job's result; what it printed is in `printed`."""
        print(json.dumps({"job": job, **arguments}, default=str), file=self._jobs, flush=True)
        for line in self._answers:
            if line.startswith("RESULT "):
                answer = json.loads(line.removeprefix("RESULT "))
                self.printed = answer["printed"]
                if "error" in answer:
                    raise JobFailed(f"{answer['error']}\n{answer['traceback']}")
                return answer["result"]
        raise JobFailed(f"the worker ended with {self._run.wait()}")

    def end(self) -> None:
        self._jobs.close()
        self._run.wait(60)
        self._answers.close()


@pytest.fixture(scope="session")
def worker(warm_trl):
    worker = Worker(warm_trl.server)
    yield worker
    worker.end()


@pytest.fixture(scope="session")
def rows():
    return preference_rows(ROWS, seed=11)


@pytest.fixture(scope="session")
def data(rows, tmp_path_factory):
    """Four batches of two pairs, in the order of the file."""
    return write_rows(tmp_path_factory.mktemp("trl") / "pairs.jsonl", trl_rows(rows))
