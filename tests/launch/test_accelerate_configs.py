"""The files of launch/accelerate and launch/deepspeed, read by accelerate and DeepSpeed themselves."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from tests.conftest import REPOSITORY, free_port
from tests.launch.accelerate_command import resolve

FILES = sorted((REPOSITORY / "launch" / "accelerate").glob("*.yaml"))
OF_NODES = [path for path in FILES if path.stem not in ("cpu", "single")]
DEEPSPEED = sorted((REPOSITORY / "launch" / "deepspeed").glob("*.json"))
NAMES = {
    "cpu",
    "single",
    "multi_gpu",
    "deepspeed_zero1",
    "deepspeed_zero2",
    "deepspeed_zero3",
    "zero3_offload",
    "fsdp1",
    "fsdp2",
}


def test_every_setup_is_there():
    assert {path.stem for path in FILES} == NAMES
    assert {path.stem for path in DEEPSPEED} == {"zero1", "zero2", "zero3", "zero3_offload"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerate_reads_the_file_and_knows_every_key(path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    text = path.read_text()
    assert (
        all(f"# {word}:" in text for word in ("Purpose", "Hardware", "Launch"))
        and f"launch/accelerate/{path.name}" in text
    )
    config = load_config_from_file(str(path))  # unknown keys are an error there
    assert config.num_machines == 1 and config.use_cpu == (path.stem == "cpu")
    parser = launch_command_parser()
    known = {action.dest for action in parser._actions}
    written = yaml.safe_load(text)
    assert set(written.get("fsdp_config", {})) <= known | {"fsdp_version"}
    args, *_ = _validate_launch_command(parser.parse_args(["--config_file", str(path), "script.py"]))
    deepspeed = written.get("deepspeed_config")
    assert args.use_deepspeed == bool(deepspeed) and args.use_fsdp == path.stem.startswith("fsdp")
    if deepspeed:
        assert (REPOSITORY / deepspeed["deepspeed_config_file"]).is_file()
        assert args.deepspeed_config_file == deepspeed["deepspeed_config_file"]


@pytest.mark.parametrize("path", DEEPSPEED, ids=lambda path: path.stem)
def test_deepspeed_knows_every_key(path):
    zero_config = pytest.importorskip("deepspeed.runtime.zero.config")
    written = json.loads(path.read_text())["zero_optimization"]
    numbers = {name: value for name, value in written.items() if value != "auto"}
    read = zero_config.DeepSpeedZeroConfig(**numbers)
    fields = set(type(read).model_fields) | {field.alias for field in type(read).model_fields.values()}
    assert set(written) <= fields and int(read.stage) == int(path.stem[4])
    assert bool(read.offload_param) == bool(read.offload_optimizer) == path.stem.endswith("offload")


@pytest.mark.parametrize("path", OF_NODES, ids=lambda path: path.stem)
@pytest.mark.parametrize("rank", [0, 1])
def test_two_machines_are_one_run(path, rank, monkeypatch):
    """As launch/slurm/accelerate.sbatch starts it: each machine its half of the processes, one meeting place."""
    monkeypatch.chdir(REPOSITORY)
    machines = ["--num_machines", "2", "--machine_rank", str(rank), "--num_processes", "4"]
    meeting = ["--main_process_ip", "127.0.0.1", "--main_process_port", "29713"]
    run = ["-m", "trl_ext.moodpo.script", "--config", "run.yaml"]
    config, script = resolve(["--config_file", str(path), *machines, *meeting, *run])
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (2, 2, 2)
    assert config.rdzv_configs["rank"] == rank and config.rdzv_endpoint == "127.0.0.1:29713"
    assert script == run


ADDRESS = """
import os, sys
name = "-".join(os.environ[key] for key in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
open(os.path.join(sys.argv[1], name), "w").close()
"""


@pytest.mark.integration
def test_two_machines_on_one_find_each_other_under_deepspeed(tmp_path):
    """The shipped ZeRO-3 file, two `accelerate launch` beside each other; the script only writes where it stands."""
    pytest.importorskip("deepspeed")
    script, port = tmp_path / "address.py", free_port()
    script.write_text(ADDRESS)
    (tmp_path / "found").mkdir()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "launch/accelerate/deepspeed_zero3.yaml",
             "--num_machines", "2", "--machine_rank", str(rank), "--num_processes", "2", "--main_process_ip", "127.0.0.1",
             "--main_process_port", port, str(script), str(tmp_path / "found")],
            cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in (1, 0)
    ]  # fmt: skip
    try:
        assert [one.wait(timeout=120) for one in started] == [0, 0]
    finally:
        for one in started:
            one.kill()
    assert {path.name for path in (tmp_path / "found").iterdir()} == {f"0-2-{port}", f"1-2-{port}"}
