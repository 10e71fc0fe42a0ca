"""The script on two processes from launch/deepspeed and by FSDP: the steps of DDP."""

import json
import re
from importlib.util import find_spec

import pytest
from safetensors.torch import load_file

from tests import fsdp
from tests.engines.record import apart, record
from tests.tiny import SENTENCES, build_model, write_rows

pytestmark = [pytest.mark.integration, pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")]
SCRIPT = "trl_ext.moodpo.script"


@pytest.fixture(scope="module")
def run(warm_trl, tmp_path_factory):
    """run(name, *flags) -> (losses, mean scores of the first objective, the run's folder); by torchrun if `launcher`."""
    world = tmp_path_factory.mktemp("moodpo_deepspeed")
    build_model(world / "model", end_gain=1.5)
    write_rows(world / "prompts.jsonl", [{"prompt": f"{SENTENCES[i % 8]} ({i})"} for i in range(8)])

    def start(name, *flags, launcher=False, sharded=None):
        if sharded:
            flags = (*flags, "--accelerator_config", json.dumps(fsdp.CONFIGURED))
        argv = [
            "--csv_path", world / "prompts.jsonl",
            "--sft_model_path", world / "model", "--output_dir", world / name, "--disable_wandb", "--lora_rank", 4,
            "--reward_models", "first=tests.moodpo.reward_functions:first", "second=tests.moodpo.reward_functions:second",
            "--min_prompt_tokens", 1, "--max_prompt_tokens", 60, "--max_steps", 4, "--per_device_train_batch_size", 2, "--learning_rate", 1e-2,
            "--bf16", "false", "--use_cpu", "true", "--max_new_tokens", 6, "--max_length", 160, "--temperature", 1.0,
            "--beta", 0.3, "--logging_steps", 1, "--report_to", "none", "--gradient_checkpointing", "false",
            "--save_strategy", "no", "--seed", 5, "--disable_tqdm", "true", "--ddp_backend", "gloo", *flags,
        ]  # fmt: skip
        if launcher:
            output = warm_trl.torchrun(2, SCRIPT, argv, world / f"{name}.log")
        elif sharded:
            log, env = world / f"{name}.log", fsdp.environment(sharded)
            code, output = warm_trl.start(fsdp.RANK, [SCRIPT, *argv], log, processes=2, **env).finish()
            assert code == 0 or sharded == 1, output[-3000:]  # see fsdp.environment: a CPU rank ends when it saves
        else:
            output = warm_trl.run(SCRIPT, argv, world / f"{name}.log", processes=2)
        series = [
            [float(text) for text in re.findall(rf"'{key}': '?(-?[\d.]+(?:e-?\d+)?)", output)]
            for key in ("loss", "objective/scores/first")
        ]
        return *series, world / name

    return start


@pytest.fixture(scope="module")
def ddp(run):
    return run("ddp", launcher=True)


@pytest.mark.parametrize("stage", [pytest.param("zero1", marks=pytest.mark.long), "zero2", "zero3"])
def test_deepspeed_takes_the_steps_of_ddp(stage, run, ddp):
    """In fp32; the answers are sampled by the same random numbers, so the scores agree to the last digit logged."""
    pytest.importorskip("deepspeed")
    losses, scores, folder = run(stage, "--deepspeed", f"launch/deepspeed/{stage}.json")
    assert len(losses) == 4 and len(set(losses)) > 1
    assert losses == pytest.approx(ddp[0], abs=1e-3)
    assert scores == pytest.approx(ddp[1], rel=1e-3)
    saved, expected = (load_file(path / "adapter_model.safetensors") for path in (folder, ddp[2]))
    assert saved.keys() == expected.keys()
    assert all(saved[name] == pytest.approx(expected[name], abs=1e-2) for name in saved)
    seen = f"two CPU ranks, LoRA in fp32, launch/deepspeed/{stage}.json: 4 losses of DDP, {apart(losses, ddp[0])} apart at most"
    record("MOODPO", f"ZeRO-{stage[-1]}", "ran", seen, ("trl", "transformers", "torch", "deepspeed"))


def test_fsdp2_takes_the_steps_of_ddp(run, ddp):
    """The answers are drawn from gathered layers. Found: 0 in losses and weights."""
    losses, scores, folder = run("fsdp2", sharded=2)
    assert losses == pytest.approx(ddp[0], abs=1e-5) and scores == pytest.approx(ddp[1], abs=1e-5)
    saved, expected = (load_file(path / "adapter_model.safetensors") for path in (folder, ddp[2]))
    assert saved.keys() == expected.keys()
    assert all(saved[name].numpy() == pytest.approx(expected[name].numpy(), abs=1e-5) for name in saved)
    seen = "two CPU ranks, LoRA in fp32, launch/accelerate/fsdp2.yaml: 4 losses of DDP, "
    record("MOODPO", "FSDP2", "ran", f"{seen}{apart(losses, ddp[0])} apart at most", ("trl", "transformers", "torch"))


@pytest.mark.long
def test_fsdp1_takes_the_steps_of_ddp(run, ddp):
    losses, scores, _ = run("fsdp1", sharded=1)
    assert losses == pytest.approx(ddp[0], abs=1e-5) and scores == pytest.approx(ddp[1], abs=1e-5)
    seen = f"two CPU ranks, LoRA in fp32, launch/accelerate/fsdp1.yaml: 4 losses of DDP, {apart(losses, ddp[0])} apart at most"
    seen += "; a CPU rank ends in torch when the whole model is saved"
    record("MOODPO", "FSDP1", "ran", seen, ("trl", "transformers", "torch"))


@pytest.mark.long
def test_fsdp2_with_all_weights_and_a_reference_of_its_own(run):
    all_weights = ("--use_lora", "false", "--learning_rate", 1e-4)
    losses, scores, folder = run("fsdp2_all", *all_weights, sharded=2)
    expected = run("ddp_all", *all_weights)
    assert losses == pytest.approx(expected[0], abs=1e-5) and scores == pytest.approx(expected[1], abs=1e-5)
    assert load_file(folder / "model.safetensors")
