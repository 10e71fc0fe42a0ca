"""What `accelerate launch` would start, resolved by accelerate and torchrun themselves; nothing is started."""

from collections.abc import Sequence
from typing import Any

import torch.distributed.run as torchrun
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import _filter_args, prepare_deepspeed_cmd_env, prepare_multi_gpu_env


def resolve(argv: Sequence[str]) -> tuple[Any, list[str]]:
    """(torchrun's launch configuration, the script's command) of the arguments after `accelerate launch`.

    The configuration is None where one process is started without torchrun.

    Raises:
        ValueError: accelerate would hand the run to DeepSpeed's own launcher, which asks for a hostfile.
    """
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(list(argv)))
    script = [*(["-m"] if args.module else []), args.training_script, *args.training_script_args]
    if not (args.use_deepspeed or args.use_fsdp or args.multi_gpu) or args.cpu:
        return None, script
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ""
        command, _ = prepare_deepspeed_cmd_env(args)
        if command is not None:
            raise ValueError(f"not one launcher on each machine: {' '.join(command)}")
    else:
        prepare_multi_gpu_env(args)
    rest = ["--training_script", args.training_script, "--training_script_args", args.training_script_args]
    config, *_ = torchrun.config_from_args(_filter_args(args, torchrun.get_args_parser(), rest))
    return config, script
