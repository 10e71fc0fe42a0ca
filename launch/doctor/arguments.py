"""The values that a run will really have: upstream's own argument parser and defaults, without loading anything."""

import importlib
import json
import math
from argparse import Namespace
from importlib.util import find_spec
from typing import Any

from launch.doctor.methods import Method
from launch.doctor.run_file import Run

MODULES = {"ms-swift": "swift", "trl": "trl", "megatron": "megatron", "launch": "launch"}
# Of ms-swift's RLHFArguments: they fill in what was left open and read nothing but the arguments.
FILLING = ("_process_loss_type", "_init_grpo", "_set_default")


def is_here(method: Method) -> bool:
    """Whether the upstream that runs the method is installed in this environment."""
    return find_spec(MODULES[method.upstream]) is not None


def load(path: str) -> Any:
    """The object behind a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def argument_classes(method: Method) -> list[type]:
    return [load(path) for path in method.arguments]


def known_names(method: Method) -> list[str]:
    """The keys that the method's upstream takes."""
    if method.name == "modpo-pipeline":
        return list(load(method.arguments[0]).model_fields)
    names = (name for one in argument_classes(method) for name, item in one.__dataclass_fields__.items() if item.init)
    return list(dict.fromkeys(names))


def parse(run: Run) -> Namespace:
    """Every argument of the run by name, typed, defaults filled in; nothing is built.

    Raises:
        ValueError: a value that upstream refuses, in upstream's words.
    """
    if run.method.upstream == "trl":
        return _with_processes(_parse_trl(run)[0], run)
    return _with_processes(_parse_swift(run), run)


def _parser_class(base: type) -> type:
    def error(self, message):
        raise ValueError(message)

    return type("Parser", (base,), {"error": error})  # argparse would end the process


def _flags(values: dict[str, Any]) -> list[str]:
    argv = []
    for name, value in values.items():
        if value is not None:
            argv += [f"--{name}", *map(_text, value if isinstance(value, list) else [value])]
    return argv


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _parse_swift(run: Run) -> Namespace:
    from transformers import HfArgumentParser

    parser = _parser_class(HfArgumentParser)(argument_classes(run.method), allow_abbrev=False)
    known = set(known_names(run.method))
    values, _ = parser.parse_known_args(_flags({name: one for name, one in run.given.items() if name in known}))
    if hasattr(values, "rlhf_type"):
        owner = argument_classes(run.method)[0]
        for step in FILLING:
            try:
                getattr(owner, step)(values)
            except AssertionError as error:
                raise ValueError(str(error)) from error
    return values


def _trl_parser(run: Run) -> tuple[Any, list[str]]:
    from trl_ext.script import ScriptParser

    parser = _parser_class(ScriptParser)(argument_classes(run.method), allow_abbrev=False)
    known = set(known_names(run.method))
    parser.set_defaults_with_config(**{name: one for name, one in run.values.items() if name in known})
    return parser, _flags({name: one for name, one in run.overrides.items() if name in known})


def _parse_trl(run: Run) -> tuple[Namespace, list[str]]:
    parser, argv = _trl_parser(run)
    return parser.parse_known_args(argv)


def build_trl(run: Run) -> list[Any]:
    """The argument objects of a TRL script, with all checks that they make themselves; one a class.

    On a machine without a GPU they are built as for the CPU: what the GPU is needed for is another check's.

    Raises:
        ValueError: what one of them refuses.
    """
    import torch

    parser, argv = _trl_parser(run)
    if not torch.cuda.is_available():
        argv += ["--use_cpu", "true"]
    try:
        return list(parser.parse_args_into_dataclasses(argv))
    except (AssertionError, ImportError) as error:
        raise ValueError(str(error)) from error


def _with_processes(values: Namespace, run: Run) -> Namespace:
    values.world_size = run.processes
    if getattr(values, "gradient_accumulation_steps", 1) is None:  # as ms-swift fills it in
        rows = values.per_device_train_batch_size * run.processes
        values.gradient_accumulation_steps = max(1, math.ceil(16 / rows))
    return values
