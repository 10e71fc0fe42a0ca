"""Whether a policy's weights can reach a vLLM server from this machine. TRL and ms-swift are not imported."""

from typing import Any


def refuse_server_without_gpu(args: Any) -> None:
    """Refuses `--vllm_mode server` where the weights cannot follow. Called before a model is loaded.

    Both upstreams send them by NCCL alone. TRL stops once it has loaded the policy and reached the server; in ms-swift, vLLM
    switches a communicator off that finds no NCCL, and the server would go on answering with the weights of the start.

    Args:
        args: training arguments of either upstream.

    Raises:
        ValueError: with the reason.
    """
    if args.use_vllm and args.vllm_mode == "server" and args.device.type in ("cpu", "mps"):
        raise ValueError(
            f"--vllm_mode server on the device {args.device.type}: the policy's weights reach the server by NCCL, which needs "
            "a GPU on both sides; use --vllm_mode colocate, or leave out --use_vllm"
        )
