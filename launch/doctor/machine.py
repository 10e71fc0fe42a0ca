"""GPU, NCCL, vLLM, DeepSpeed and trackers, as far as the run asks for them."""

import json
from importlib.util import find_spec

from launch.doctor.findings import Finding, error, ok, warning
from launch.doctor.memory import zero_of
from launch.doctor.setup import Setup
from launch.doctor.sizes import gigabytes
from launch.doctor.versions import installed

NAME = "machine"
TRACKERS = {
    "wandb": "wandb",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "mlflow": "mlflow",
}


def describe_machine() -> str:
    """CUDA devices, NCCL, vLLM and DeepSpeed in one sentence."""
    import torch

    engines = ", ".join(f"{name} {installed(name) or 'not installed'}" for name in ("vllm", "deepspeed"))
    if not torch.cuda.is_available():
        why = (
            "torch is built without CUDA"
            if torch.version.cuda is None
            else f"torch is built for CUDA {torch.version.cuda}"
        )
        return f"no CUDA device ({why}), NCCL not usable; {engines}"
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    named = ", ".join(f"{one.name} {gigabytes(one.total_memory)} (sm_{one.major}{one.minor})" for one in devices)
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else "not built in"
    bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
    return f"{len(devices)} CUDA devices: {named}; CUDA {torch.version.cuda}, {bf16}, NCCL {nccl}; {engines}"


def check_machine(setup: Setup | None) -> list[Finding]:
    """The machine in words, then what the run needs of it and does not find."""
    findings = ok(NAME, describe_machine())
    if setup is None or setup.values is None:
        return findings
    for check in (_devices, _processes_on_cpu, _left_out, _launcher, _deepspeed, _vllm, _trackers):
        findings += check(setup)
    return findings


def _devices(setup: Setup) -> list[Finding]:
    import torch

    if setup.value("use_cpu"):
        return []
    if not torch.cuda.is_available():
        found = "the run wants a GPU (use_cpu is off) and there is none here"
        return warning(NAME, found, "right on a login node; to train here: use_cpu: true (and bf16: false)")
    here, wanted = torch.cuda.device_count(), -(-setup.run.processes // setup.run.nodes)
    if wanted > here:
        found = f"{wanted} processes per node and {here} CUDA devices: two would share a device, which NCCL refuses"
        return error(NAME, found, f"NPROC_PER_NODE={here}")
    if setup.value("bf16") and not torch.cuda.is_bf16_supported():
        return error(NAME, "bf16 is on and the device has none", "bf16: false, fp16: true")
    return []


def _processes_on_cpu(setup: Setup) -> list[Finding]:
    if not setup.value("use_cpu") or setup.run.processes == 1 or setup.value("ddp_backend") == "gloo":
        return []
    if setup.run.method.upstream == "trl":
        return []  # accelerate launch --cpu chooses gloo itself
    found = f"{setup.run.processes} processes on the CPU with ddp_backend {setup.value('ddp_backend')}: NCCL needs GPUs"
    return error(NAME, found, "--ddp_backend gloo")


def _left_out(setup: Setup) -> list[Finding]:
    if not setup.run.left_out:
        return []
    found = f"accelerate's file has {setup.run.left_out}: accelerate leaves it out, every rank holds the whole model as under DDP"
    fix = "distributed_type: DEEPSPEED (on CPUs with use_cpu in the run file, not here) or FSDP (on GPUs alone)"
    return warning(NAME, found, fix)


def _launcher(setup: Setup) -> list[Finding]:
    launcher, nodes = setup.run.launcher, setup.run.nodes
    if launcher in (None, "standard"):
        return []
    found = f"deepspeed_multinode_launcher is {launcher}: with {max(nodes, 2)} machines each may train alone into one folder"
    say = error if nodes > 1 else warning
    return say(NAME, found, "deepspeed_config: deepspeed_multinode_launcher: standard")


def _deepspeed(setup: Setup) -> list[Finding]:
    given = setup.value("deepspeed")
    if not given:
        return []
    zero = zero_of(given)
    if find_spec("deepspeed") is None:
        return error(
            NAME, f"deepspeed: {given} and DeepSpeed is not installed", "pip install 'swift-trl-ext[deepspeed]'"
        )
    findings: list[Finding] = []
    if setup.run.method.upstream == "ms-swift" and setup.value("use_cpu") and setup.value("torch_dtype") != "bfloat16":
        found = f"deepspeed on the CPU with torch_dtype {setup.value('torch_dtype')}: ms-swift turns to fp16, which CPUs refuse"
        findings += error(NAME, found, "torch_dtype: bfloat16")
    kwargs = setup.value("gradient_checkpointing_kwargs") or {}
    kwargs = json.loads(kwargs) if isinstance(kwargs, str) else kwargs
    if zero.stage == 3 and not setup.full and kwargs.get("use_reentrant") is False:
        found = "ZeRO-3 with a LoRA and use_reentrant false: recomputed parameters have shape [0] (CheckpointError)"
        findings += warning(NAME, found, "leave use_reentrant out, or use ZeRO-2")
    return findings


def _vllm(setup: Setup) -> list[Finding]:
    mode = setup.value("vllm_mode")
    if not setup.value("use_vllm"):
        if mode is None or setup.run.method.upstream != "ms-swift":
            return []  # TRL reads vllm_mode beside use_vllm alone
        found = (
            f"vllm_mode {mode} with use_vllm off: ms-swift refuses it, and no flag takes vllm_mode out of a run file"
        )
        return error(
            NAME, found, "a run file without the line vllm_mode (python -m launch runs copy makes one of your own)"
        )
    if mode == "server" and setup.value("use_cpu"):
        found = "vllm_mode server and use_cpu: the policy's weights reach the server by NCCL, which needs a GPU on both sides"
        return error(NAME, found, "vllm_mode: colocate, or use_vllm: false")
    if find_spec("vllm") is None and mode != "server":
        return error(
            NAME,
            f"use_vllm with vllm_mode {mode} and vLLM is not installed",
            "pip install 'swift-trl-ext[vllm]', or use_vllm: false",
        )
    share, tensor = setup.value("vllm_tensor_parallel_size", 1), setup.run.processes
    if mode == "colocate" and share > 1 and tensor % share:
        return error(
            NAME, f"vllm_tensor_parallel_size {share} does not divide {tensor} processes", "a divisor of the processes"
        )
    return []


def _trackers(setup: Setup) -> list[Finding]:
    given = setup.value("report_to") or []
    named = [given] if isinstance(given, str) else given
    lost = [name for name in named if name in TRACKERS and find_spec(TRACKERS[name]) is None]
    if lost:
        found = f"report_to names {len(lost)} of {len(named)} trackers that are not installed: {', '.join(lost)}"
        return error(NAME, found, f"pip install {lost[0]}, or report_to: none")
    return []
