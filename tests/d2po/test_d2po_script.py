"""The script from a run file: one process, two, and two that are killed again and again."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests import fsdp
from tests.conftest import REPOSITORY
from tests.engines.record import apart, record
from tests.tiny import SENTENCES, build_classifier, build_model, write_rows
from tests.warm_trl import TrlRun

pytestmark = [pytest.mark.integration, pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")]
SCRIPT, STEPS = "trl_ext.d2po.script", 12
LEDGER = "d2po_ledger.jsonl"
SHORT = {"max_steps": 4, "save_steps": 4}
PACKAGES = ("trl", "transformers", "torch")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("d2po")
    build_model(folder / "model", end_gain=1.5)
    build_classifier(folder / "rm", labels=1)
    write_rows(folder / "prompts.jsonl", [{"prompt": f"{SENTENCES[i % 8]} ({i})", "kind": i} for i in range(20)])
    return folder


def settings_file(world: Path, name: str, processes: int = 1, **overrides) -> Path:
    settings = {
        "model_name_or_path": str(world / "model"), "dataset_name": str(world / "prompts.jsonl"),
        "output_dir": str(world / name), "mode": "d2po", "gold": "tests.d2po.golds:letters",
        "discriminator": str(world / "rm"), "discriminator_learning_rate": 1e-3, "window_pairs": 8,
        "labels_per_window": 3, "max_steps": STEPS, "per_device_train_batch_size": 4 // processes,
        "learning_rate": 1e-2, "bf16": False, "use_cpu": True, "max_new_tokens": 6, "max_length": 160,
        "logging_steps": 1, "report_to": "none", "gradient_checkpointing": False, "save_strategy": "steps",
        "save_steps": 1, "seed": 5, "temperature": 1.0, "beta": 0.3, "use_peft": True, "lora_r": 4,
        "lora_alpha": 8, "lora_target_modules": ["q_proj", "v_proj"], "disable_tqdm": True,
        "ddp_backend": "gloo" if processes > 1 else None,
    } | overrides  # fmt: skip
    file = world / f"{name}.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    return file


def by_accelerate(world: Path, name: str, **overrides) -> str:
    """The output of a run that the real launcher starts, new interpreters all."""
    argv = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
    argv += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    argv += ["-m", SCRIPT, "--config", str(settings_file(world, name, **overrides))]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, env=env, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "terminate called" not in done.stderr, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def start(world, warm_trl):
    """start(name, processes=1, sharded=None, **overrides) -> a run under way, without a launcher."""

    def start(name: str, processes: int = 1, sharded: int | None = None, **overrides) -> TrlRun:
        if sharded:
            file = settings_file(world, name, processes, accelerator_config=fsdp.CONFIGURED, **overrides)
            flags = [SCRIPT, "--config", file]
            return warm_trl.start(fsdp.RANK, flags, world / f"{name}.log", processes=2, **fsdp.environment(sharded))
        flags = ["--config", settings_file(world, name, processes, **overrides)]
        return warm_trl.start(SCRIPT, flags, world / f"{name}.log", processes=processes)

    return start


def finish(run: TrlRun) -> str:
    code, output = run.finish()
    assert code == 0, output[-3000:]
    return output


def ledger(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()]


def adapter(folder: Path) -> dict:
    return load_file(folder / "adapter_model.safetensors")


def discriminator(folder: Path) -> dict:
    return load_file(folder / f"checkpoint-{STEPS}" / "discriminator" / "weights.safetensors")


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


def test_one_process_from_a_run_file_with_evaluation(world):
    output = by_accelerate(
        world, "one", resume_from_checkpoint=True, eval_strategy="steps", eval_steps=6, eval_prompts=3
    )
    assert "20 of 20 prompts kept" in output and "yet, a fresh start" in output
    state = json.loads((world / "one" / "trainer_state.json").read_text())
    found = [row for row in state["log_history"] if "eval_gold" in row]
    assert [row["eval_gold_labels"] for row in found] == [9, 18, 18]
    assert len(ledger(world / "one")) == 18 and adapter(world / "one")
    seen = f"accelerate launch, one CPU process, LoRA in fp32: {STEPS} steps, 18 labels bought, evaluated three times"
    record("D2PO", "transformers", "ran", seen, PACKAGES)


@pytest.fixture(scope="module")
def whole(world, warm_trl) -> Path:
    """By torchrun, two processes."""
    warm_trl.torchrun(2, SCRIPT, ["--config", settings_file(world, "whole", 2)], world / "whole.log")
    return world / "whole"


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.long)])
def test_two_processes_killed_at_random_moments(world, whole, start, kills):
    """Ends in the same weights, bit for bit; no label is lost or bought twice. Equal weights across ranks are asserted
    by the run itself after every update."""
    chance, name, killed = random.Random(kills), f"killed{kills}", 0
    folder = world / name
    while killed < kills:
        process = start(name, processes=2, resume_from_checkpoint=True)
        target = len(checkpoints(folder)) + chance.randint(1, 2)
        while process.poll() is None and len(checkpoints(folder)) < min(target, STEPS - kills + killed):
            time.sleep(0.02)
        time.sleep(chance.random() * 0.5)
        process.kill()
        killed += 1
    finish(start(name, processes=2, resume_from_checkpoint=True))
    assert ledger(folder) == ledger(whole)
    assert same(adapter(folder), adapter(whole)) and same(discriminator(folder), discriminator(whole))
    seen = f"two CPU ranks, LoRA in fp32, {STEPS} steps: killed {kills} times and resumed, labels and weights of a run by torchrun "
    record("D2PO", "DDP", "ran", f"{seen}that nobody disturbed, bit for bit", PACKAGES)


def test_two_processes_resume_in_the_middle_of_a_later_epoch(world, whole, start):
    """An epoch has two windows of two steps; after step 6 the second window of the second epoch follows."""
    folder = world / "later"
    shutil.copytree(whole / "checkpoint-6", folder / "checkpoint-6")
    bought = [line for line in (whole / LEDGER).read_text().splitlines() if json.loads(line)["step"] < 6]
    (folder / LEDGER).write_text("".join(f"{line}\n" for line in bought))
    finish(start("later", processes=2, resume_from_checkpoint="true"))
    assert len(bought) < len(ledger(whole)) and ledger(folder) == ledger(whole)
    assert same(adapter(folder), adapter(whole)) and same(discriminator(folder), discriminator(whole))


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob("checkpoint-*/d2po_state.json"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"gold": "bagofword"}, "bagofwords"),
        ({"dataset_name": "none.jsonl"}, "none.jsonl: no such file"),
        ({"dataset_name": "null.jsonl"}, "null.jsonl:2: message 1 of 'prompt' (user) has the content None"),
        ({"window_pairs": 6}, "--window_pairs is 6: a multiple of 4 is valid"),
        ({"max_length": 20}, "--max_length is 20: the longest prompt and an answer need"),
        ({"eval_strategy": "steps"}, "--eval_prompts"),
    ],
)
def test_mistakes_exit_with_2(start, overrides, message, tmp_path):
    if overrides.get("dataset_name") == "null.jsonl":
        lines = [{"prompt": [{"role": "user", "content": content}]} for content in ("Why?", None)]
        overrides = {"dataset_name": str(write_rows(tmp_path / "null.jsonl", lines))}
    code, output = start("wrong", **overrides).finish(200)
    assert code == 2 and message in output and "Traceback" not in output


@pytest.mark.skipif(version("trl").startswith("0."), reason="server mode is refused there for another reason")
def test_a_server_on_a_cpu_is_refused_before_the_model_is_looked_for(start):
    overrides = {"use_vllm": True, "vllm_mode": "server", "model_name_or_path": "nowhere"}
    code, output = start("served", **overrides).finish(200)
    assert code == 2 and "--vllm_mode server on the device cpu: the policy's weights" in output, output


def losses(output: str) -> list[float]:
    return [float(text) for text in re.findall(r"'loss': '?([\d.e-]+)", output)]


@pytest.fixture(scope="module")
def ddp(start) -> list[float]:
    """Four losses of two processes."""
    found = losses(finish(start("ddp", 2, **SHORT)))
    assert len(found) == 4
    return found


@pytest.mark.parametrize("stage", [pytest.param("zero1", marks=pytest.mark.long), "zero2", "zero3"])
def test_deepspeed_takes_the_steps_of_ddp(stage, world, start, ddp):
    """From launch/deepspeed, two processes, fp32: the same labels are bought and the losses agree."""
    pytest.importorskip("deepspeed")
    found = losses(finish(start(stage, 2, deepspeed=f"launch/deepspeed/{stage}.json", **SHORT)))
    assert found == pytest.approx(ddp, abs=1e-3)
    assert ledger(world / stage) == ledger(world / "ddp")
    seen = f"two CPU ranks in fp32, launch/deepspeed/{stage}.json: the labels of DDP, 4 losses {apart(found, ddp)} apart at most"
    record("D2PO", f"ZeRO-{stage[-1]}", "ran", seen, (*PACKAGES, "deepspeed"))


@pytest.mark.parametrize("version", [pytest.param(1, marks=pytest.mark.long), 2])
def test_fsdp_takes_the_steps_of_ddp(version, world, start, ddp):
    """Policy sharded, the discriminator whole on both ranks: the same labels, and 5e-7 in the weights."""
    name = f"fsdp{version}"
    code, output = start(name, 2, sharded=version, **SHORT).finish()
    assert code == 0 or version == 1, output[-3000:]  # see fsdp.environment: a CPU rank ends when it saves the whole
    found = losses(output)
    assert found == pytest.approx(ddp, abs=1e-4)
    assert ledger(world / name) == ledger(world / "ddp")
    seen = f"two CPU ranks in fp32, launch/accelerate/{name}.yaml: the labels of DDP, 4 losses {apart(found, ddp)} apart at most"
    if version == 1:
        seen += "; a CPU rank ends in torch when the whole model is saved"
    record("D2PO", f"FSDP{version}", "ran", seen, PACKAGES)
    if version == 2:
        saved, ours = adapter(world / "ddp"), adapter(world / name)
        assert all(ours[key].numpy() == pytest.approx(saved[key].numpy(), abs=1e-5) for key in saved)
