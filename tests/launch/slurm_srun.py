"""`srun` of tests: `srun --kill-on-bad-exit=1 COMMAND...` as one task on each of $SLURM_NNODES nodes, all of them this machine.

A task is a session of its own, and its exit code stands in $STANDIN/codeN. After a bad exit
the others have $STANDIN_PATIENCE seconds to end by themselves, and are killed then.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":
    option, *command = sys.argv[1:]
    assert option == "--kill-on-bad-exit=1", option
    place, patience = Path(os.environ["STANDIN"]), float(os.environ.get("STANDIN_PATIENCE", "0"))
    tasks = []
    for number in range(int(os.environ["SLURM_NNODES"])):
        env = {**os.environ, "SLURM_NODEID": str(number), "SLURM_PROCID": str(number)}
        tasks.append(subprocess.Popen(command, env=env, start_new_session=True))
    deadline = None
    while any(task.poll() is None for task in tasks) and (deadline is None or time.monotonic() < deadline):
        if deadline is None and any(task.returncode for task in tasks):
            deadline = time.monotonic() + patience
        time.sleep(0.02)
    for number, task in enumerate(tasks):
        if task.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(task.pid, signal.SIGKILL)
            task.wait()
            (place / f"code{number}").write_text("killed")
        else:
            (place / f"code{number}").write_text(str(task.returncode))
    sys.exit(next((abs(task.returncode) for task in tasks if task.returncode), 0))
