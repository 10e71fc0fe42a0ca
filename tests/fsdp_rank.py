"""One rank of a run under FSDP on the CPU: `python -m tests.fsdp_rank MODULE ARGUMENT...`, as `python -m MODULE ...` otherwise.

accelerate takes FSDP up only on ranks that have an accelerator: those of CPUs run DDP with FSDP's settings, and nothing says
so. Here the process group of gloo is opened first, and its ranks are called those of GPUs. The run takes what it finds by
transformers' own `--accelerator_config '{"use_configured_state": true}'`.
"""

import runpy
import sys

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

if __name__ == "__main__":
    state = PartialState(cpu=True, backend="gloo")
    state.distributed_type, state.device = DistributedType.MULTI_GPU, torch.device("cpu")
    module = sys.argv[1]
    del sys.argv[:1]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
