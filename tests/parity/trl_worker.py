"""Trains with TRL, many runs in one process: `python -m tests.parity.trl_worker PLAN.json ANSWERS.jsonl`.

The plan is {"module", "runs": [{"name", "call", ...arguments}]}; `call` is a function of the module. Stock and extended
trainers run side by side, because TRL's classes are as they are in a process that never sees ms-swift.
"""

import importlib
import json
import sys
import traceback
from pathlib import Path

from tests.frozen import freeze_imports


def main(plan_file: str, answers_file: str) -> None:
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    module = importlib.import_module(plan["module"])
    with open(answers_file, "w", encoding="utf-8") as answers:
        for job in plan["runs"]:
            name, call = job.pop("name"), getattr(module, job.pop("call"))
            print(f"=== {name}", flush=True)
            freeze_imports()
            try:
                answer = call(**job)
            except Exception as error:  # whatever goes wrong is the test's to judge
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps({"name": name, **answer}) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
