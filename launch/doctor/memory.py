"""Memory of a process: weights, gradients and optimiser states, which are sure, and logits; activations come on top.

Bytes per parameter, P of the frozen and T of the trained parameters, N processes, b the bytes of the run's dtype:

    weights     b P + b T   (a LoRA under mixed precision: 4 T)             over N under ZeRO-3
    gradients   b T         (4 T)                                           over N from ZeRO-2
    optimiser   2 b T, two states of AdamW (8 T); DeepSpeed: 12 T, fp32     over N from ZeRO-1
    logits      rows x tokens x vocabulary x (b + 8): the logits, their fp32 copy and its gradient; of whole rows,
                where an upstream keeps those of the answers alone it is less
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.setup import Setup, here
from launch.doctor.sizes import BYTES, gigabytes
from launch.doctor.weights import Part, parts_of, read_config

NAME = "memory"
TIGHT = 0.8  # of what is there; activations need the rest
CARDS = (16, 24, 40, 80, 141)  # GB of common cards


@dataclass(frozen=True)
class Zero:
    """DeepSpeed's stage (0 to 3; -1 without DeepSpeed), and whether optimiser and parameters are kept off the GPU."""

    stage: int = -1
    offload_optimizer: bool = False
    offload_parameters: bool = False


@dataclass(frozen=True)
class Need:
    """Bytes of one process."""

    weights: float
    gradients: float
    optimiser: float
    logits: float

    @property
    def sure(self) -> float:
        return self.weights + self.gradients + self.optimiser

    @property
    def total(self) -> float:
        return self.sure + self.logits

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimiser", "logits")
        return " + ".join(f"{name} {gigabytes(getattr(self, name))}" for name in parts)


def zero_of(given: Any) -> Zero:
    """The stage behind `zero2`, `zero3_offload`, a mapping or a JSON file.

    Raises:
        ValueError: neither a known name nor a file that is there.
    """
    if not given:
        return Zero()
    if isinstance(given, str) and given.startswith("zero"):
        stage, _, rest = given.removeprefix("zero").partition("_")
        if stage in ("0", "1", "2", "3") and rest in ("", "offload"):
            return Zero(int(stage), rest == "offload", rest == "offload" and stage == "3")
    if isinstance(given, str):
        if not given.lstrip().startswith("{") and not Path(given).is_file():
            raise ValueError(f"deepspeed {given!r} is neither zero0 ... zero3, zero2_offload, zero3_offload nor a file")
        given = json.loads(given if given.lstrip().startswith("{") else Path(given).read_text("utf-8"))
    if "zero_stage" in given:  # accelerate's own keys
        offloads = (
            given.get(f"offload_{what}_device", "none") not in ("none", None) for what in ("optimizer", "param")
        )
        return Zero(int(given["zero_stage"]), *offloads)
    zero = given.get("zero_optimization") or {}
    off = {
        name: (zero.get(name) or {}).get("device", "none") not in ("none", None)
        for name in ("offload_optimizer", "offload_param")
    }
    return Zero(int(zero.get("stage", 0)), off["offload_optimizer"], off["offload_param"])


def dtype_bytes(setup: Setup) -> int:
    """Bytes per parameter of the base has in memory."""
    if setup.run.method.name == "moodpo":
        return 2 if setup.value("bf16") and not setup.full else 4
    given = setup.value("torch_dtype") or setup.value("dtype")
    if given in (None, "auto"):
        config = read_config(here(setup.base)) if here(setup.base) else {}
        given = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    return BYTES.get(str(given), 2)


def need_of(setup: Setup, parts: list[Part], zero: Zero) -> Need:
    """Bytes of one process."""
    n, b = setup.run.processes, dtype_bytes(setup)
    over = [n if zero.stage >= stage else 1 for stage in (3, 2, 1)]
    weights = gradients = optimiser = 0.0
    for part in parts:
        count = part.parameters or 0
        if part.name == "discriminator" and part.trains:  # its own AdamW in fp32, never sharded
            weights, gradients, optimiser = weights + 4 * count, gradients + 4 * count, optimiser + 8 * count
        elif not part.trains:
            weights += 0 if zero.offload_parameters else b * count / over[0]
        else:
            t = b if part.name == "base" else 4
            states = 12 if zero.stage >= 0 else 2 * t
            weights += 0 if zero.offload_parameters else t * count / over[0]
            gradients += t * count / over[1]
            optimiser += 0 if zero.offload_optimizer else states * count / over[2]
    return Need(weights, gradients, optimiser, logits_bytes(setup, b))


def logits_bytes(setup: Setup, b: int) -> float:
    """Of one micro-batch: both sides of a pair go through the model together."""
    base = here(setup.base)
    vocabulary = read_config(base).get("vocab_size", 0) if base else 0
    method = setup.run.method
    sides = 1 if method.grouped or method.name.endswith("-sft") else 2
    tokens = setup.value("max_completion_length" if method.grouped else "max_length", 0) or 0
    if method.name in ("swift-rm", "trl-reward"):
        return 0.0
    if not method.grouped:
        tokens = min(tokens, setup.longest or tokens)
    return float(setup.value("per_device_train_batch_size", 1) * sides * tokens * vocabulary * (b + 8))


def room(setup: Setup) -> tuple[str, float, float] | None:
    """What a process may use, (where, free bytes, all bytes); None: the run wants a GPU and there is none here."""
    import torch

    if torch.cuda.is_available() and not setup.value("use_cpu"):
        free, total = min(torch.cuda.mem_get_info(device) for device in range(torch.cuda.device_count()))
        return "GPU", free, total
    if not setup.value("use_cpu"):
        return None
    import psutil

    memory = psutil.virtual_memory()
    return "CPU", memory.available / setup.run.processes, memory.total / setup.run.processes


def check_memory(setup: Setup) -> list[Finding]:
    """What is needed against what is here, or the smallest common card that holds it."""
    if setup.values is None:
        return skipped(NAME, "no argument could be read")
    parts = parts_of(setup)
    unknown = [part.name for part in parts if part.parameters is None and not part.name.startswith("adapter")]
    adapters = sum(part.parameters is None for part in parts) - len(unknown)
    if unknown:
        return skipped(NAME, f"size of {', '.join(unknown)} is not known", "run it where the models are")
    zero = zero_of(setup.value("deepspeed"))
    need = need_of(setup, parts, zero)
    engine = f"ZeRO-{zero.stage}" if zero.stage >= 0 else "no ZeRO"
    found = f"{gigabytes(need.total)} per process ({engine}, {setup.run.processes} in all): {need}; activations on top"
    found += f", and {adapters} adapter{'s' if adapters > 1 else ''} of unknown size" if adapters else ""
    guessed = any(part.guessed and part.parameters for part in parts)
    if guessed:  # then the vocabulary is not known either
        found = f"about, by the name of a model and without logits: {found}"
    there = room(setup)
    if there is None and (guessed or adapters):
        return ok(NAME, found)
    if there is None:
        card = next((size for size in CARDS if need.total <= TIGHT * size * 1e9), None)
        fits = f"a card of {card} GB" if card else f"no card of up to {CARDS[-1]} GB holds it alone"
        return ok(NAME, f"{found}; {fits}")
    where, free, total = there
    fix = "a LoRA (tuner_type: lora, use_peft), deepspeed: zero3, a smaller batch or max_length, bfloat16"
    reserved = (
        total * float(setup.value("vllm_gpu_memory_utilization", 0) or 0)
        if where == "GPU" and setup.value("use_vllm")
        else 0.0
    )
    if need.sure + reserved > total:
        return error(NAME, f"{found}, but the {where} has {gigabytes(total)} per process", fix)
    if need.total + reserved > TIGHT * free:
        return warning(NAME, f"{found}; {gigabytes(free)} are free on the {where}: tight", fix)
    return ok(NAME, f"{found}; {gigabytes(free)} are free on the {where}")
