"""Upload of a finished summary to the experiment tracker that the environment names."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

TABLE = "eval/summary_table"


def upload(name: str, cells: Sequence[Sequence[str]], files: Sequence[Path]) -> str:
    """Logs a table (its first row the head) and the files to Weights & Biases, when WANDB_PROJECT says where.

    Returns:
        What was done, or why nothing was, in one line.
    """
    project = os.environ.get("WANDB_PROJECT")
    if not project:
        return "not uploaded: WANDB_PROJECT is not set"
    if find_spec("wandb") is None:
        return "not uploaded: WANDB_PROJECT is set, but wandb is not installed"
    import wandb

    head, *rows = cells
    run = wandb.init(project=project, name=name, job_type="eval")
    run.log({TABLE: wandb.Table(columns=list(head), data=[list(row) for row in rows])})
    artifact = wandb.Artifact(name, type="evaluation")
    for file in files:
        artifact.add_file(str(file))
    run.log_artifact(artifact)
    run.finish()
    if (mode := run.settings.mode) != "online":
        sent = f"`wandb sync {Path(run.dir).parent}` sends it" if mode == "offline" else "nothing was kept"
        return f"not uploaded: wandb is {mode}; {sent}"
    return f"uploaded to the project {project} as {name}"
