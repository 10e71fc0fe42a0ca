"""Fixtures: a tiny model, adapters and preference rows; and one way to run the real `swift rlhf`."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import cpu
from tests.frozen import freeze_imports
from tests.warm_python import SWIFT, TRL, WarmPython, WarmRun

REPOSITORY = Path(__file__).resolve().parents[1]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


METER = cpu.Meter()
SETTINGS = ("MODPO_", "BT_", "JUDGE_", "PAIRWISE_JUDGE_", "SHARED_PREFIX")


def settings_of_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Before its fixtures: what a test draws without a seed of its own is the same in every run (imports of ms-swift seed torch
    by the clock)."""
    freeze_imports()
    if (torch := sys.modules.get("torch")) and hasattr(torch, "manual_seed"):
        torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    """Files that start trainers come first: a long one at the end would leave one of two workers without work."""
    dear = {item.path for item in items if item.get_closest_marker("integration")}
    items.sort(key=lambda item: item.path not in dear)


def pytest_addoption(parser):
    parser.addoption(
        "--dearest", type=int, default=0, metavar="N", help="list the N tests and files of most CPU seconds"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item):
    """After each of the three phases of a test; the report is made of these properties by the hooks that follow."""
    item.user_properties.append((cpu.PROPERTY, METER.lap()))


def pytest_terminal_summary(terminalreporter, config):
    """The CPU seconds, and the counts of the parity suites, which are here because the parent of several workers reads the
    conftest of no subfolder.
    """
    cpu.write_summary(terminalreporter, config.getoption("dearest"))
    found: dict[str, Counter] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "parity":
                found.setdefault(value[0], Counter())[value[1]] += 1
    for suite, counts in found.items():
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
        terminalreporter.write_line(f"parity, {suite}: {counts.total()} tried, {kinds}")


@pytest.fixture(autouse=True)
def settings_stay():
    """A setting that a test leaves in the environment would be seen by the next file of tests, where nobody would look for it."""
    before = settings_of_environment()
    yield
    assert settings_of_environment() == before, "this test left other settings in the environment than it found"


def free_port() -> str:
    """A port for the processes of one run to meet at; several test processes may ask at a time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@dataclass
class SwiftRun:
    """What a run of the real command line left behind."""

    returncode: int
    output: str
    folder: Path

    @property
    def steps(self) -> list[dict]:
        """The rows of logging.jsonl that carry a training loss."""
        rows = [json.loads(line) for line in (self.folder / "logging.jsonl").read_text().splitlines()]
        return [row for row in rows if "loss" in row]

    @property
    def evaluations(self) -> list[dict]:
        rows = [json.loads(line) for line in (self.folder / "logging.jsonl").read_text().splitlines()]
        return [row for row in rows if "eval_loss" in row]

    def series(self, name: str) -> list[float]:
        return [row[name] for row in self.steps]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    from tests.tiny import build_model

    return build_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def adapter(tiny, tmp_path_factory) -> Path:
    from tests.tiny import build_adapter

    return build_adapter(tiny, tmp_path_factory.mktemp("adapter") / "margin", seed=1)


@pytest.fixture(scope="session")
def second_adapter(tiny, tmp_path_factory) -> Path:
    from tests.tiny import build_adapter

    return build_adapter(tiny, tmp_path_factory.mktemp("adapter2") / "margin2", seed=2)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    from tests.tiny import preference_rows, write_rows

    return write_rows(tmp_path_factory.mktemp("data") / "pairs.jsonl", preference_rows())


def swift_flags(model: Path, data: Path, folder: Path, **overrides) -> list[str]:
    """Flags of a short DPO run on the CPU without a hub. An override of None leaves a flag out."""
    flags = {
        "rlhf_type": "dpo",
        "model": model,
        "model_type": "llama",
        "template": "chatml",
        "dataset": data,
        "split_dataset_ratio": 0,
        "output_dir": folder,
        "add_version": False,
        "torch_dtype": "float32",
        "max_length": 96,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3,
        "max_steps": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "eval_strategy": "no",
        "lr_scheduler_type": "constant",
        "warmup_ratio": 0,
        "beta": 0.1,
        "lora_rank": 4,
        "lora_dropout": 0,
        "dataloader_num_workers": 0,
        "dataset_num_proc": 1,
        "check_model": False,
        "report_to": "none",
        "seed": 7,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "load_from_cache_file": False,
        "logging_first_step": True,
    } | overrides
    argv = []
    for name, value in flags.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            argv += [f"--{name}", *(str(v).lower() if isinstance(v, bool) else str(v) for v in values)]
    return argv


def finish(runs: list[WarmRun], until: Path | None = None, seconds: float = 600) -> int:
    """Waits for the ranks of a run; 0 or the first other exit code. When one fails the others are killed, as by torchrun.

    With `until` all are killed, without a chance to tidy up, as soon as that file is there; 0 says that it was.
    """
    deadline = time.monotonic() + seconds
    try:
        while (codes := [run.poll() for run in runs]).count(None):
            if until is not None and until.exists():
                return 0
            if any(codes) or time.monotonic() > deadline:
                return next((code for code in codes if code), 1)
            time.sleep(0.005)
        return next((code for code in codes if code), int(until is not None))
    finally:
        for run in runs:
            run.kill()
            run.wait()


def ranks(count: int) -> list[dict[str, str]]:
    """The environments in which torchrun starts `count` processes of one machine; none is added for a single one."""
    if count == 1:
        return [{}]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


@pytest.fixture(scope="session")
def warm_swift():
    """Runs `python -m MODULE` with ms-swift imported already: `tests/warm_python.py`."""
    if find_spec("swift") is None:
        pytest.skip("ms-swift is not installed in this environment")
    server = WarmPython(SWIFT)
    yield server
    server.close()


@pytest.fixture(scope="session")
def warm_trl():
    """Runs TRL's scripts with TRL imported already: `tests/warm_trl.py`."""
    if find_spec("trl") is None:
        pytest.skip("TRL is not installed in this environment")
    from tests.warm_trl import WarmTrl

    server = WarmPython(TRL)
    yield WarmTrl(server)
    server.close()


@pytest.fixture(scope="session")
def warm(request) -> WarmPython:
    """The warm server of this environment: with ms-swift where that is installed, else with TRL."""
    if find_spec("swift") is None:
        return request.getfixturevalue("warm_trl").server
    return request.getfixturevalue("warm_swift")


@pytest.fixture(scope="session")
def run_swift(warm_swift):
    """run_swift(folder, flags, environment, plugin="modpo", processes=1): what `swift rlhf` does with these flags.

    `plugin` False loads none, and nothing that opens gloo for DeepSpeed. `sharded` makes `--fsdp` work on ranks of CPUs. `until`, a file name in the run's folder, kills the run as soon as that file is there.
    With `command_line` it is started by the installed command line itself, which costs twenty seconds, or for several
    processes by that and `torchrun` in forks of the warm server; without, each rank runs the module that it starts.
    """

    from tests import fsdp

    def run(
        folder,
        flags,
        environment=None,
        plugin: bool | str = True,
        processes=1,
        until: str | None = None,
        command_line=False,
        sharded=False,
    ):
        flags, module = list(flags), "swift.cli.rlhf"
        if sharded:
            flags, module = [module, *flags, "--accelerator_config", fsdp.AS_JSON], fsdp.RANK
        if plugin:
            name = plugin if isinstance(plugin, str) else "modpo"
            flags += ["--external_plugins", str(REPOSITORY / "swift_ext" / "plugins" / f"{name}.py")]
            if "--deepspeed" in flags:
                flags.append(str(REPOSITORY / "tests" / "open_gloo.py"))
        if processes > 1:
            flags += ["--ddp_backend", "gloo"]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        env |= {name: str(value) for name, value in (environment or {}).items()}
        if command_line:
            assert until is None, "only the ranks of a run without the command line are known, so only those are killed"
            if processes > 1:
                env |= {"NPROC_PER_NODE": str(processes), "MASTER_PORT": free_port()}
                done = warm_swift.run("swift.cli.main", ["rlhf", *flags], env, folder.parent, warm_children=True)
            else:
                argv = [sys.executable, "-m", "swift.cli.main", "rlhf", *flags]
                done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600, cwd=folder.parent)
            return SwiftRun(done.returncode, done.stdout + done.stderr, folder)
        log = folder.parent / f"{folder.name}.log"
        log.unlink(missing_ok=True)
        runs = [warm_swift.start(module, flags, env | rank, folder.parent, log) for rank in ranks(processes)]
        code = finish(runs, folder / until if until else None)
        return SwiftRun(code, log.read_text(encoding="utf-8", errors="replace"), folder)

    return run


@pytest.fixture(scope="session")
def modpo_module():
    """`swift_ext.modpo.trainer`. Importing it makes ms-swift delete the constructors of TRL's trainers in this process,
    so tests that build a TRL trainer belong into a process of their own.
    """
    pytest.importorskip("swift")
    import importlib

    return importlib.import_module("swift_ext.modpo.trainer")


@pytest.fixture(scope="session")
def evaluate(tmp_path_factory):
    """The library `evaluate` with one folder for local modules: it imports them as a package, which can lie only once."""
    library = pytest.importorskip("evaluate")
    before, library.config.HF_MODULES_CACHE = library.config.HF_MODULES_CACHE, str(tmp_path_factory.mktemp("modules"))
    yield library
    library.config.HF_MODULES_CACHE = before
