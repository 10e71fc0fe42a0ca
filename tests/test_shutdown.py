"""A rank that ends well leaves well. The abort itself is a race; what ends it, the wait at exit, is not."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from trl_ext.shutdown import SECONDS_TO_LET_GO

SCRIPT = """
import atexit, time

import torch.distributed as dist

from trl_ext.shutdown import let_gloo_finish_at_exit

started = []
atexit.register(lambda: print(time.monotonic() - started[0]))  # runs last
let_gloo_finish_at_exit()
let_gloo_finish_at_exit()
if {gloo}:
    dist.init_process_group("gloo", init_method="file://{store}", rank=0, world_size=1)
started.append(time.monotonic())
"""


@pytest.mark.parametrize("gloo", [True, False])
def test_only_a_gloo_rank_waits_at_exit_and_only_once(gloo, tmp_path):
    source = SCRIPT.format(gloo=gloo, store=tmp_path / "store")
    done = subprocess.run([sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    waited = float(done.stdout)
    assert SECONDS_TO_LET_GO <= waited < 2 * SECONDS_TO_LET_GO if gloo else waited < SECONDS_TO_LET_GO
