"""A CPU as verl's accelerator, for tests: verl imports this where `VERL_USE_EXTERNAL_MODULES` names it, and the pack never does.

verl 0.9.1 has platforms of NVIDIA, AMD and Huawei and takes others through its registry. Ray is told of one GPU that is not
there (`ray_kwargs.ray_init.num_gpus`); the engine that verl registers for CUDA then runs on CPU tensors, by gloo. What the registry
cannot carry is replaced in the last two statements, in the processes of the test alone; docs/scaling.md says so.
"""

import types
from contextlib import contextmanager

import torch
import verl.utils.distributed
from verl.plugin.platform import PlatformBase, PlatformRegistry


def nothing(*given, **named) -> None:
    """What a CPU has no need of."""


def cpu_module() -> types.ModuleType:
    """`torch.cpu` with what else verl calls of `torch.cuda`."""
    module = types.ModuleType("cpu_as_accelerator")
    module.__getattr__ = lambda name: getattr(torch.cpu, name)
    for name in (
        "empty_cache",
        "reset_peak_memory_stats",
        "ipc_collect",
        "manual_seed",
        "manual_seed_all",
        "set_device",
    ):
        setattr(module, name, nothing)
    for name in ("max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved"):
        setattr(module, name, lambda *given: 0)
    module.mem_get_info = lambda *given: (0, 0)
    module.device_count = lambda: 1
    module.get_device_name = lambda *given: "CPU"
    module.get_rng_state = lambda *given: torch.get_rng_state()
    module.set_rng_state = lambda state, *given: torch.set_rng_state(state)
    return module


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """Chosen by `VERL_PLATFORM=cpu`."""

    device_name = vendor_name = "cpu"
    device_module = cpu_module()
    set_device = synchronize = set_allocator_settings = empty_cache = profiler_start = profiler_stop = cudart = nothing

    def is_available(self):
        return True

    def current_device(self):
        return torch.device("cpu")

    def device_count(self):
        return 1

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg):
        yield

    def ray_resource_name(self):
        return "GPU"

    def ray_noset_envvars(self):
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self):
        return False  # weights reach vLLM by shared memory


# "cpu:gloo,cpu:gloo" is what verl would ask for, and torch refuses a device that is named twice.
verl.utils.distributed.initialize_global_process_group_ray.__defaults__ = (None, "gloo")
# The reference is offloaded to pinned memory, for which torch wants an accelerator.
torch.Tensor.pin_memory = lambda tensor, *given: tensor
