"""Runs many `swift rlhf` runs in one process: `python -m tests.parity.swift_worker PLAN.json ANSWERS.jsonl`.

The plan is {"plugin": file or null, "runs": [{"name", "argv", "environment"}]}. Without a plugin the trainers are the stock
ones. A run is what `swift.pipelines.rlhf_main(argv)` does; its trainer is looked at when it has trained.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from tests.frozen import freeze_imports
from tests.parity.seen import described


def run(argv: list[str]) -> dict:
    from accelerate.state import AcceleratorState
    from swift.pipelines.train.rlhf import SwiftRLHF

    found = {}

    class Watched(SwiftRLHF):
        def train(self, trainer):
            result = super().train(trainer)
            found.update(described(trainer))
            return result

    AcceleratorState._reset_state(reset_partial_state=True)  # one run's precision is not the next one's
    Watched(argv).main()
    return found


def main(plan_file: str, answers_file: str) -> None:
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    inherited = dict(os.environ)
    with open(answers_file, "w", encoding="utf-8") as answers:
        for job in plan["runs"]:
            os.environ.clear()
            os.environ.update(inherited | job["environment"])
            argv = job["argv"] + (["--external_plugins", plan["plugin"]] if plan["plugin"] else [])
            print(f"=== {job['name']}", flush=True)
            freeze_imports()
            try:
                answer = run(argv)
            except (Exception, SystemExit) as error:  # whatever goes wrong is the test's to judge
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps({"name": job["name"], **answer}) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
