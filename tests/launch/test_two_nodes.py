"""launch/slurm on two nodes that are this machine twice: its own `bash`, launchers, process groups and ranks.

`scontrol` and `srun` are stand-ins on PATH. The first node is called 127.0.0.2, so that a script which does not ask for its
name would not be found there.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests.conftest import REPOSITORY, SwiftRun, free_port, swift_flags
from tests.engines.record import apart, record
from tests.tiny import (
    SENTENCES,
    VERDICTS,
    build_classifier,
    build_model,
    build_scoring_model,
    judging_rows,
    preference_rows,
    scoring_rows,
    write_rows,
)
from tests.trl_modpo.conftest import trl_rows
from tests.warm_trl import SETTINGS

pytestmark = [pytest.mark.integration, pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")]
SCONTROL = '#!/bin/sh\n[ "$*" = "show hostnames cluster[1-2]" ] && printf "127.0.0.2\\n127.0.0.1\\n"\n'


@dataclass
class Job:
    """A job under way, in the folder of its output."""

    process: subprocess.Popen
    folder: Path

    def wait(self, seconds: float = 300) -> tuple[int, str]:
        """(exit code, output); a job that takes longer is ended, and its tasks with it."""
        try:
            code = self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.kill(0)
                self.kill(1)
        return code, (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def kill(self, node: int) -> None:
        """The node loses its power: every process of it, whoever started it, is gone at once."""
        marks = {f"STANDIN={self.folder}".encode(), f"SLURM_NODEID={node}".encode()}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if marks <= set((place / "environ").read_bytes().split(b"\0")):
                    os.kill(int(place.name), signal.SIGKILL)

    def code(self, node: int) -> str:
        return (self.folder / f"code{node}").read_text()


@pytest.fixture
def sbatch(tmp_path, request):
    """sbatch(script, processes a node, **environment) -> a [`Job`], started in a folder like the repository's root."""
    count, jobs = iter(range(100)), []
    (tmp_path / "bin").mkdir()
    for name, text in {
        "scontrol": SCONTROL,
        "srun": f'#!/bin/sh\nexec {sys.executable} -SI {REPOSITORY}/tests/launch/slurm_srun.py "$@"\n',
    }.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "launch").symlink_to(REPOSITORY / "launch")

    def start(script: str, processes: int, **environment) -> Job:
        kind = "trl" if script == "accelerate" else "swift"
        commands = request.getfixturevalue(f"warm_{kind}")
        commands = (commands.server if kind == "trl" else commands).commands
        program = tmp_path / (".venv-trl" if kind == "trl" else ".venv") / "bin" / script
        program.parent.mkdir(parents=True, exist_ok=True)
        words = f"{commands}/python -m accelerate.commands.accelerate_cli" if kind == "trl" else f"{commands}/swift"
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
        folder = tmp_path / f"job{next(count)}"
        folder.mkdir()
        env = {
            **os.environ, **SETTINGS, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "STANDIN": str(folder),
            "SLURM_JOB_NODELIST": "cluster[1-2]", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": str(processes),
            "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo",
        } | {name: str(value) for name, value in environment.items()}  # fmt: skip
        with (folder / "output").open("w") as output:
            argv = ["bash", str(REPOSITORY / "launch" / "slurm" / f"{script}.sbatch")]
            job = Job(subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=output, stderr=output), folder)
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        if job.process.poll() is None:
            job.process.kill()
            job.kill(0)
            job.kill(1)


@pytest.fixture
def fp32(tmp_path) -> Path:
    """launch/accelerate/multi_gpu.yaml without its bf16, whose rounding would hide a difference."""
    text = (REPOSITORY / "launch" / "accelerate" / "multi_gpu.yaml").read_text()
    assert "mixed_precision: bf16" in text
    file = tmp_path / "multi_gpu.yaml"
    file.write_text(text.replace("mixed_precision: bf16", "mixed_precision: 'no'"))
    return file


def logged(folder: Path, name: str = "loss") -> list[float]:
    state = max(folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name.split("-")[1]))
    return [row[name] for row in json.loads(state.read_text())["log_history"] if name in row]


def run_file(path: Path, **settings) -> Path:
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    return path


CPU = {
    "use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": False, "disable_tqdm": True,
    "logging_steps": 1, "save_strategy": "steps",
}  # fmt: skip
LORA = {"use_peft": True, "lora_r": 4, "lora_alpha": 8, "lora_target_modules": ["q_proj", "v_proj"]}
# The cell's method, the processes of the run on one node, and settings. Answers are drawn by each rank for itself, so that a
# run which draws them is compared with one of as many ranks; of given pairs, one process is the same as four.
ON_TRL = {
    "modpo": ("MODPO (TRL)", 1, LORA | {
        "model_name_or_path": "model", "dataset_name": "rows.jsonl", "learning_rate": 1e-3, "max_length": 96, "w": 0.5,
        "lora_dropout": 0.0, "dtype": "float32", "train_sampling_strategy": "sequential",
        "margins": [{"function": "negative_response_tokens", "weight": 0.01}],
    }),
    "moodpo": ("MOODPO", 4, {
        "sft_model_path": "model", "csv_path": "rows.jsonl", "learning_rate": 1e-2, "max_length": 160, "max_new_tokens": 6,
        "min_prompt_tokens": 1, "max_prompt_tokens": 60, "temperature": 1.0, "beta": 0.3, "disable_wandb": True, "lora_rank": 4,
        "reward_models": [f"{name}=tests.moodpo.reward_functions:{name}" for name in ("first", "second")],
    }),
}  # fmt: skip


@pytest.mark.parametrize("method", ["modpo", pytest.param("moodpo", marks=pytest.mark.long)])
def test_two_nodes_of_two_processes_train_as_one_node(method, sbatch, fp32, warm_trl, tmp_path):
    """launch/slurm/accelerate.sbatch, four ranks of one row each."""
    named, processes, settings = ON_TRL[method]
    build_model(tmp_path / "model", end_gain=1.5)
    prompts = [{"prompt": f"{SENTENCES[i % 8]} ({i})"} for i in range(8)]
    write_rows(tmp_path / "rows.jsonl", trl_rows(preference_rows(8, seed=11)) if method == "modpo" else prompts)
    common = CPU | settings | {"max_steps": 2, "save_steps": 2, "seed": 7}

    def run(name: str, processes: int) -> Path:
        more = {"per_device_train_batch_size": 4 // processes, "ddp_backend": "gloo" if processes > 1 else None}
        return run_file(tmp_path / f"{name}.yaml", **common, **more, output_dir=name)

    flags = ["--config", run("one", processes)]
    warm_trl.run(f"trl_ext.{method}.script", flags, tmp_path / "one.log", folder=tmp_path, processes=processes)
    code, output = sbatch("accelerate", 2, METHOD=method, RUN=run("four", 4), ACCELERATE=fp32).wait()
    assert code == 0, output[-3000:]
    found, expected = (logged(tmp_path / name) for name in ("four", "one"))
    assert len(set(expected)) == 2 and found == pytest.approx(expected, abs=1e-5)
    assert len(list(tmp_path.glob("four/checkpoint-2/rng_state_*.pth"))) == 4
    saved, weights = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("four", "one"))
    assert all(saved[name].numpy() == pytest.approx(weights[name].numpy(), abs=1e-5) for name in weights)
    seen = f"launch/slurm/accelerate.sbatch on one machine with stand-ins for SLURM, two ranks a node: losses of {on_one_node(processes)}"
    record(
        named, "two nodes", "ran", f"{seen}, {apart(found, expected)} apart at most", ("trl", "transformers", "torch")
    )


def on_one_node(processes: int) -> str:
    return "one process" if processes == 1 else f"{processes} ranks of one node"


def settings_of(flags: list[str]) -> dict:
    """What a run file has for these flags."""
    found: dict[str, list[str]] = {}
    for word in flags:
        if word.startswith("--"):
            found[name := word.removeprefix("--")] = []
        else:
            found[name].append(word)
    return {name: words[0] if len(words) == 1 else words for name, words in found.items()}


GRPO = {
    "rlhf_type": "grpo", "num_generations": 2, "steps_per_generation": 2, "max_completion_length": 2, "temperature": 1.0,
    "beta": 0.04, "max_steps": 4,
}  # fmt: skip
# As above; rows of a step, over all ranks.
ON_SWIFT = {
    "modpo": ("MODPO (ms-swift)", 1, 2, {"dataset_shuffle": False, "train_dataloader_shuffle": False, "max_steps": 2}, {
        "MODPO_W": 0.5, "MODPO_MARGIN_FUNCTION": "negative_response_tokens", "MODPO_MARGIN_WEIGHT": 0.01,
    }),
    "bt_grpo": (
        "Generative reward model", 2, 4, GRPO | {"reward_funcs": "bt_pointwise_baseline"}, {"BT_DELTA_TEMP": 20},
    ),
    "pairwise_judge": ("Pairwise judge", 2, 4, GRPO | {
        "reward_funcs": ["pairwise_preference", "pairwise_consistency"], "reward_weights": [1, 0.5],
    }, {}),
}  # fmt: skip


@pytest.mark.parametrize(
    "method", ["modpo", *(pytest.param(name, marks=pytest.mark.long) for name in list(ON_SWIFT)[1:])]
)
@pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed in this environment")
def test_two_nodes_train_as_one_node_on_ms_swift(method, sbatch, run_swift, tiny, tmp_path):
    """launch/slurm/swift.sbatch, a rank on each node."""
    named, processes, rows, flags, environment = ON_SWIFT[method]
    judging = {"answers": VERDICTS} if method == "pairwise_judge" else {}
    model = tiny if method == "modpo" else build_scoring_model(tmp_path / "model", malformed=0.7, **judging)
    made = {"modpo": preference_rows, "bt_grpo": scoring_rows, "pairwise_judge": judging_rows}[method](8, seed=11)
    data = write_rows(tmp_path / "rows.jsonl", made)

    def of(name: str, ranks: int) -> list[str]:
        return swift_flags(model, data, tmp_path / name, **flags, per_device_train_batch_size=rows // ranks)

    one = run_swift(tmp_path / "one", of("one", processes), environment, method, processes)
    assert one.returncode == 0, one.output[-3000:]
    written = settings_of([*of("two", 2), "--ddp_backend", "gloo"])
    plugin = str(REPOSITORY / "swift_ext" / "plugins" / f"{method}.py")
    run = run_file(tmp_path / "two.yaml", **written, external_plugins=plugin, ENV=environment or None)
    code, output = sbatch("swift", 1, RUN=run).wait()
    assert code == 0, output[-3000:]
    two = SwiftRun(code, output, tmp_path / "two")
    assert len(set(one.series("loss"))) > 1 and two.series("loss") == pytest.approx(one.series("loss"), abs=1e-5)
    assert [row.get("reward") for row in two.steps] == pytest.approx([row.get("reward") for row in one.steps], abs=1e-6)
    assert "WORLD_SIZE" not in written and (method != "modpo" or output.count("MODPO: w = 0.5") >= 1)
    seen = f"launch/slurm/swift.sbatch on one machine with stand-ins for SLURM, a rank a node: losses of {on_one_node(processes)}"
    losses = apart(two.series("loss"), one.series("loss"))
    record(named, "two nodes", "ran", f"{seen}, {losses} apart at most", ("ms-swift", "trl", "transformers", "torch"))


@pytest.fixture
def server(warm, tmp_path):
    """server(name) -> the address of a D2PO discriminator's server on this machine, which runs until the test ends."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    build_classifier(tmp_path / "rm", labels=1)
    runs = []

    def start(name: str) -> str:
        port, log = free_port(), tmp_path / f"{name}.log"
        flags = ["discriminator-server", "--discriminator", tmp_path / "rm", "--state", tmp_path / name, "--port", port]
        flags += ["--learning_rate", 1e-3]
        runs.append(warm.start("launch", flags, {**os.environ, **SETTINGS}, tmp_path, log))
        deadline = time.monotonic() + 60
        while "running on" not in log.read_text().lower() and time.monotonic() < deadline:
            time.sleep(0.05)
        return f"http://127.0.0.1:{port}"

    yield start
    for run in runs:
        run.kill()


@pytest.mark.long
def test_a_node_dies_and_the_job_is_queued_again(sbatch, fp32, server, tmp_path):
    """D2PO with its discriminator's server beside two nodes of two processes: the other node ends by itself, with an error, and
    the second start goes on from the checkpoint to the weights and labels of a run that nobody disturbed."""
    build_model(tmp_path / "model", end_gain=1.5)
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"{SENTENCES[i % 8]} ({i})", "kind": i} for i in range(20)])
    common = CPU | LORA | {
        "model_name_or_path": "model", "dataset_name": "prompts.jsonl", "mode": "d2po", "gold": "tests.d2po.golds:letters",
        "window_pairs": 8, "labels_per_window": 3, "max_steps": 8, "save_steps": 1, "per_device_train_batch_size": 1,
        "learning_rate": 1e-2, "max_new_tokens": 6, "max_length": 160, "seed": 5, "temperature": 1.0, "beta": 0.3,
        "ddp_backend": "gloo", "resume_from_checkpoint": True,
    }  # fmt: skip

    def job(name: str, **more):
        run = run_file(tmp_path / f"{name}.yaml", **common, output_dir=name, discriminator_url=addresses[name])
        return sbatch("accelerate", 2, METHOD="d2po", RUN=run, ACCELERATE=fp32, **more)

    addresses = {name: server(f"server_{name}") for name in ("whole", "killed")}
    code, output = job("whole").wait()
    assert code == 0, output[-3000:]

    first = job("killed", STANDIN_PATIENCE=90)
    while not (tmp_path / "killed" / "checkpoint-3" / "d2po_state.json").is_file():
        assert first.process.poll() is None, first.wait()[1][-3000:]
        time.sleep(0.02)
    first.kill(1)
    code, output = first.wait(120)
    assert code != 0 and first.code(0) not in ("0", "killed"), (code, first.code(0), output[-3000:])

    code, output = job("killed").wait()  # what SLURM does by --requeue
    assert code == 0 and "checkpoint-" in output, output[-3000:]
    ledgers = [(tmp_path / name / "d2po_ledger.jsonl").read_text() for name in ("whole", "killed")]
    assert ledgers[0] == ledgers[1]
    saved, expected = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("killed", "whole"))
    assert all(bool((saved[name] == expected[name]).all()) for name in expected)
    seen = "launch/slurm/accelerate.sbatch on one machine with stand-ins for SLURM, two ranks a node, the discriminator's server beside them: "
    seen += "one node killed, the other ends with an error; queued again, labels and weights of an undisturbed run, bit for bit"
    record("D2PO", "two nodes", "ran", seen, ("trl", "transformers", "torch"))
