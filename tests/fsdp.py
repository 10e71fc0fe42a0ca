"""Runs of the launch files' FSDP on two CPU ranks: what accelerate's launcher puts into their environment, and a flag."""

import json
import os
from pathlib import Path

from tests.conftest import REPOSITORY

RANK = "tests.fsdp_rank"  # the module that is run, with the script's module as the first argument
CONFIGURED = {"use_configured_state": True}  # the value of --accelerator_config
AS_JSON = json.dumps({"dispatch_batches": False} | CONFIGURED)  # for ms-swift, whose default the first key is
SWIFT_FILE = str(REPOSITORY / "launch" / "fsdp" / "fsdp2.json")


def swift_file_of_version_1(folder: Path) -> Path:
    """The same for FSDP1, which has another word for what it shards; each rank loads for itself, as sending needs a GPU."""
    settings = json.loads(Path(SWIFT_FILE).read_text())
    settings["fsdp_config"] |= {"fsdp_version": 1, "reshard_after_forward": "FULL_SHARD"}
    settings["fsdp_config"] |= {"cpu_ram_efficient_loading": False, "sync_module_states": False}
    file = folder / "fsdp1.json"
    file.write_text(json.dumps(settings))
    return file


def environment(version: int) -> dict[str, str]:
    """That of `accelerate launch --config_file launch/accelerate/fsdp<version>.yaml`, in fp32.

    On CPU ranks accelerate refuses to send FSDP1's weights around, and torch frees what it has gathered on the way to a whole
    state dict, which ends the process: version 1 has checkpoints of shards here, and dies when the whole model is saved.
    """
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    file = str(REPOSITORY / "launch" / "accelerate" / f"fsdp{version}.yaml")
    argv = ["--config_file", file, "--mixed_precision", "no", "--num_processes", "2", "script.py"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(argv))
    before = dict(os.environ)
    try:
        found = {name: value for name, value in prepare_multi_gpu_env(args).items() if before.get(name) != value}
    finally:
        os.environ.clear()
        os.environ.update(before)
    on_cpu = {"FSDP_SYNC_MODULE_STATES": "false", "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"} if version == 1 else {}
    return found | on_cpu
