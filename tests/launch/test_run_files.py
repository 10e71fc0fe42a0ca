"""Every run file of launch/runs: headed, every key known upstream, its batches possible on its machine, parsed by its script."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import yaml
from packaging.version import Version

from tests.conftest import REPOSITORY

RUNS = REPOSITORY / "launch" / "runs"
HARDWARE = ("one_gpu", "eight_gpus", "two_nodes")
ONLINE = ("moodpo", "d2po", "bt_grpo", "pairwise_judge")
SCALED = sorted(path for path in RUNS.rglob("*.yaml") if path.stem in (*HARDWARE, "vllm_server"))
OF_TRL = [path for path in SCALED if path.parent.name in ("modpo_trl", "moodpo", "d2po")]
PROCESSES = {"one_gpu": 1, "eight_gpus": 8, "two_nodes": 16}
IN_SERVER_MODE = {"moodpo": 7, "bt_grpo": 4, "pairwise_judge": 1, "d2po": 7}


def name(path) -> str:
    return f"{path.parent.name}/{path.stem}"


def processes(path) -> int:
    return PROCESSES.get(path.stem) or IN_SERVER_MODE[path.parent.name]


def test_every_method_has_a_file_for_every_size():
    found = {name(path) for path in SCALED}
    wanted = {f"{method}/{size}" for method in ("modpo_swift", "modpo_trl", *ONLINE) for size in HARDWARE}
    wanted -= {"bt_grpo/one_gpu"}  # its presets are for one GPU
    assert found == wanted | {f"{method}/vllm_server" for method in ONLINE}


@pytest.mark.parametrize("path", SCALED, ids=name)
def test_a_header_says_what_for_on_what_and_how(path):
    text = path.read_text()
    header = re.match(r"(#.*\n)+", text)[0]
    assert all(f"# {word}:" in header for word in ("Purpose", "Hardware", "Data", "Launch"))
    assert re.search(rf"launch/runs/{name(path)}\.yaml", header)
    for file in re.findall(r"launch/[\w/]+\.(?:yaml|json|sbatch|sh)", header):
        assert (REPOSITORY / file).is_file(), file
    assert re.fullmatch(rf"runs/{name(path)}", yaml.safe_load(text)["output_dir"])


@pytest.mark.parametrize("path", [path for path in SCALED if path.parent.name == "modpo_swift"], ids=name)
def test_ms_swift_knows_every_key(path):
    arguments = pytest.importorskip("swift.arguments")
    from swift_ext.modpo.settings import MODPOSettings

    run = yaml.safe_load(path.read_text())
    assert {f"MODPO_{field.upper()}" for field in MODPOSettings.model_fields} >= set(run.pop("ENV"))
    assert not set(run) - set(arguments.RLHFArguments.__dataclass_fields__)


@pytest.mark.parametrize("method", ["modpo_swift", "modpo_trl", *ONLINE])
def test_more_gpus_take_the_same_step(method):
    """Pairs, prompts or completions of one optimiser step, over all processes."""
    steps = {}
    for path in (path for path in SCALED if path.parent.name == method):
        run = yaml.safe_load(path.read_text())
        steps[path.stem] = processes(path) * run["per_device_train_batch_size"] * run["gradient_accumulation_steps"]
    if method == "pairwise_judge":  # two recipes: LoRA on one GPU or with a server, the reference's numbers on nodes
        assert steps == {"one_gpu": 96, "vllm_server": 96, "eight_gpus": 96, "two_nodes": 96}
    elif method in ("moodpo", "d2po"):
        assert steps.pop("vllm_server") in (63, 56) and set(steps.values()) == {64}
    else:
        assert len(set(steps.values())) == 1


@pytest.mark.parametrize(
    "path", [path for path in SCALED if path.parent.name in ("bt_grpo", "pairwise_judge")], ids=name
)
def test_every_rank_generates_whole_pairs(path):
    run = yaml.safe_load(path.read_text())
    share, micro = run["generation_batch_size"] / processes(path), run["per_device_train_batch_size"]
    assert share % (2 * run["num_generations"]) == 0 and share % micro == 0
    assert (share / micro) % run["gradient_accumulation_steps"] == 0


PARSE = """
import sys
from importlib import import_module
from trl import TrlParser
DATACLASSES = {
    "modpo_trl": ("modpo.script", "ScriptArguments MODPOConfig ModelConfig DatasetMixtureConfig"),
    "moodpo": ("moodpo.script", "ScriptArguments MOODPOConfig"),
    "d2po": ("d2po.script", "ScriptArguments PromptArguments D2POConfig ModelConfig DatasetMixtureConfig"),
}
for path in sys.argv[1:]:
    module, names = DATACLASSES[path.split("/")[-2]]
    script = import_module(f"trl_ext.{module}")
    parser = TrlParser(tuple(getattr(script, name) for name in names.split()))
    try:
        free = ["--gold", "unique_nns", "--gold_arguments", "{}"] if "d2po" in module else []  # no model is loaded
        parser.parse_args_and_config(["--config", path, "--use_cpu", "true", *free])
        print("parsed", path)
    except ValueError as error:
        print("refused", path, error)
"""


@pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")
def test_the_arguments_of_the_scripts_take_their_files(tmp_path):
    """In a process that never sees ms-swift; there are no GPUs, so `use_cpu` is given on top. Margin and discriminator are looked for there."""
    for made in ("runs/margin/checkpoint-1000", "runs/rm_merged"):  # by earlier commands
        (tmp_path / made).mkdir(parents=True)
    argv = [sys.executable, "-c", PARSE, *map(str, OF_TRL)]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    old = Version(version("trl")) < Version("1.16.0")  # its server mode is refused
    for path in OF_TRL:
        assert f"{'refused' if path.stem == 'vllm_server' and old else 'parsed'} {path}" in done.stdout
    assert ("trains on meaningless pairs" in done.stdout) == old


@pytest.mark.parametrize("path", [path for path in SCALED if path.parent.name == "d2po"], ids=name)
def test_a_window_is_a_whole_number_of_steps(path):
    run = yaml.safe_load(path.read_text())
    assert (
        run["window_pairs"]
        % (processes(path) * run["per_device_train_batch_size"] * run["gradient_accumulation_steps"])
        == 0
    )
