"""Two ranks of GRPO on ms-swift under ZeRO and FSDP2, against DDP: the same pairs and sampled answers, so the same steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fsdp
from tests.conftest import REPOSITORY, SwiftRun
from tests.engines.record import apart, record

STEPS = {
    "processes": 2,
    "max_steps": 4,
    "fp16": False,
}  # ms-swift's default of fp16 is true for DeepSpeed and FSDP in fp32
SAVED = {"save_strategy": "steps", "save_steps": 4}
PACKAGES = ("ms-swift", "trl", "transformers", "torch")
ENGINES = [pytest.param("ZeRO-1", marks=pytest.mark.long), "ZeRO-2", "ZeRO-3", "FSDP2"]


def takes_the_steps_of_ddp(method: str, engine: str, train: Callable, ddp: SwiftRun, generations: Callable, **flags):
    """In fp32, from launch/deepspeed and launch/fsdp; under FSDP2 and ZeRO-3 transformers draws from gathered layers."""
    sharded = engine == "FSDP2"
    packages = PACKAGES if sharded else (*PACKAGES, "deepspeed")
    if not sharded:
        pytest.importorskip("deepspeed")
    file = Path(fsdp.SWIFT_FILE) if sharded else REPOSITORY / "launch/deepspeed" / f"zero{engine[-1]}.json"
    run = train(**STEPS, **({"fsdp": file, **SAVED} if sharded else {"deepspeed": file}), **flags)
    assert generations(run, ranks=2) == generations(ddp, ranks=2)
    rewards, expected = ([row["reward"] for row in one.steps if "reward" in row] for one in (run, ddp))
    assert len(set(expected)) > 1 and rewards == pytest.approx(expected, abs=1e-6)
    assert run.series("loss") == pytest.approx(ddp.series("loss"), abs=1e-6 if sharded else 1e-3)
    assert (run.folder / "checkpoint-4" / "adapter_model.safetensors").is_file() == sharded
    losses = apart(run.series("loss"), ddp.series("loss"))
    seen = f"two CPU ranks, LoRA in fp32, {file.relative_to(REPOSITORY)}: answers and rewards of DDP, 4 losses {losses} apart at most"
    record(method, engine, "ran", seen, packages)


def fsdp1_is_refused(method: str, train: Callable, folder: Path, **flags):
    """By ms-swift itself, when the trainer of whatever draws answers is made."""
    run = train(**STEPS, fsdp=fsdp.swift_file_of_version_1(folder), succeed=False, **flags)
    assert "NotImplementedError: FSDP1 is not supported. Please use FSDP2" in run.output, run.output[-3000:]
    record(
        method, "FSDP1", "refused", "by ms-swift, when the trainer is made: FSDP1 is not supported, FSDP2 is", PACKAGES
    )
