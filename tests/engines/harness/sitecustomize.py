"""Switches for vLLM on a CPU, and a witness of what the engine does. Python imports it where this folder is on PYTHONPATH: in the
processes that tests start, and nowhere else. The pack does not know of it.

vLLM's back end for CPUs packs the weights of linear layers and drops the originals, so that a second load fails; here it is
told to use torch's own layers. `ENGINE_LOG`, a folder, gets a file for each call of the engine: the weights that it has at
that moment, the tokens of prompts and answers, and the log-prob of each sampled token.
"""

import importlib.abc
import importlib.util
import os
import sys


def keep_weights_loadable(module):
    module._supports_onednn = False


def no_packed_kernel(module):
    module.check_cpu_sgl_kernel = lambda *given: False


def settings_without_a_flag(module):
    """No compilation, which takes minutes, and the dtype of `ENGINE_DTYPE`: TRL has no flag for either."""
    original, dtype = module.EngineArgs.__init__, os.environ.get("ENGINE_DTYPE")

    def __init__(self, *given, **settings):
        original(self, *given, **settings | {"enforce_eager": True} | ({"dtype": dtype} if dtype else {}))

    module.EngineArgs.__init__ = __init__


def operators_of_torchvision(module):
    """ms-swift imports torchvision, whose wheel is built for CUDA's torch: the names of its operators are enough."""
    import torch

    module.declared = torch.library.Library("torchvision", "DEF")
    module.declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    module.declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def witness(module):
    """The tokens' log-probs are asked for, and written down with the weights."""
    folder, original = os.environ.get("ENGINE_LOG"), module.LLM.generate

    def generate(self, prompts, sampling_params=None, **more):
        import torch

        sampling_params.logprobs = 0  # that of the sampled token alone
        outputs = original(self, prompts, sampling_params, **more)
        weights = self.llm_engine.model_executor.driver_worker.model_runner.model.state_dict()
        calls = [
            {
                "prompt": list(output.prompt_token_ids),
                "tokens": list(answer.token_ids),
                "logprobs": [one[token].logprob for one, token in zip(answer.logprobs, answer.token_ids, strict=True)],
            }
            for output in outputs
            for answer in output.outputs
        ]
        number = len(os.listdir(folder))
        copied = {name: weight.detach().clone() for name, weight in weights.items()}
        torch.save({"weights": copied, "answers": calls}, os.path.join(folder, f"{number:04d}.pt"))
        return outputs

    if folder:
        module.LLM.generate = generate


AFTER = {
    "vllm._custom_ops": keep_weights_loadable,
    "vllm.model_executor.layers.utils": no_packed_kernel,
    "vllm.engine.arg_utils": settings_without_a_flag,
    "vllm.entrypoints.llm": witness,
}
BEFORE = {"torchvision": operators_of_torchvision}


class Finder(importlib.abc.MetaPathFinder):
    """Changes a module once, when somebody imports it."""

    def find_spec(self, name, path=None, target=None):
        if name not in AFTER and name not in BEFORE:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            BEFORE.get(name, lambda module: None)(module)
            execute(module)
            AFTER.get(name, lambda module: None)(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
