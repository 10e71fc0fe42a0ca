"""Runs of the real command lines beside the real vLLM, on a CPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, free_port

HARNESS = Path(__file__).with_name("harness")
SWITCHES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HARNESS}{os.pathsep}{REPOSITORY}",
}  # fmt: skip


def take_switches() -> None:
    """Into this process, where tests build models, what those that it starts find on PYTHONPATH."""
    spec = importlib.util.spec_from_file_location("engines_harness", HARNESS / "sitecustomize.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


if importlib.util.find_spec("vllm") is not None:
    take_switches()


@pytest.fixture(scope="session")
def run_beside_vllm():
    """run(module, flags, log, dtype=None, code=0) -> what a new interpreter printed; the witness writes to the folder `log`."""

    def run(module: str, flags: list, log: Path, dtype: str | None = None, code: int = 0, **environment: str) -> str:
        log.mkdir()
        env = {**os.environ, **SWITCHES, **environment, "ENGINE_LOG": str(log), "MASTER_PORT": free_port()}
        env |= {"ENGINE_DTYPE": dtype} if dtype else {}
        argv = [sys.executable, "-m", module, *map(str, flags)]
        done = subprocess.run(argv, env=env, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
        output = done.stdout + done.stderr
        assert done.returncode == code, output[-6000:]
        return output

    return run
