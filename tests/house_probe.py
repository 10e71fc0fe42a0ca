"""Looks for upstream attributes that loading the plugins replaces. Run by test_house.py in a process of its own.

    python -m tests.house_probe PLUGIN.py ...   prints a JSON object: replaced, registries, modules, classes

Stock trainers are resolved first, as stock `swift rlhf` resolves them, because ms-swift's own imports change TRL.
"""

import importlib
import json
import sys
from types import ModuleType

UPSTREAM = {"accelerate", "deepspeed", "peft", "swift", "torch", "transformers", "trl"}
# Interpreter bookkeeping, not behaviour.
IGNORED = {"__warningregistry__", "__abstractmethods__", "_abc_impl", "__annotations_cache__", "__doc__"}
ABSENT = object()


def is_upstream(name) -> bool:
    return isinstance(name, str) and name.split(".")[0] in UPSTREAM


def owners() -> dict[str, object]:
    """Every loaded upstream module and every class that one of them defines, by dotted name."""
    found: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        if is_upstream(name) and isinstance(module, ModuleType):
            found[name] = module
            for value in list(vars(module).values()):
                if isinstance(value, type) and is_upstream(value.__module__):
                    found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


def snapshot() -> dict[str, tuple[object, dict]]:
    """The values themselves are kept, so that no identity is used twice."""
    return {name: (owner, dict(vars(owner))) for name, owner in owners().items()}


def from_upstream(value) -> bool:
    """A submodule, or what upstream's own lazy imports bring in."""
    return isinstance(value, ModuleType) or is_upstream(getattr(value, "__module__", None))


def differences(before: dict[str, tuple[object, dict]]) -> list[str]:
    """`owner.attribute` for everything replaced, deleted, or added by something that is not upstream."""
    found = []
    for name, (owner, attributes) in before.items():
        now = dict(vars(owner))
        for key in attributes.keys() | now.keys():
            if key in IGNORED:
                continue
            old, new = attributes.get(key, ABSENT), now.get(key, ABSENT)
            lazily_added = old is ABSENT and isinstance(owner, ModuleType) and from_upstream(new)
            if old is not new and not lazily_added:
                found.append(f"{name}.{key}")
    return sorted(found)


def resolve(mapping: dict[str, str], names) -> None:
    for name in names:
        module, attribute = mapping[name].rsplit(".", 1)
        getattr(importlib.import_module(module), attribute)


def main(plugins: list[str]) -> None:
    import accelerate
    import peft
    import transformers
    import trl
    from swift.pipelines.train import rlhf
    from swift.rewards import orms
    from swift.trainers.trainer_factory import TrainerFactory
    from swift.utils import import_external_file

    assert accelerate and peft and transformers and trl and rlhf
    methods = [
        name for name in TrainerFactory.TRAINER_MAPPING if name in ("dpo", "grpo", "kto", "rm", "causal_lm", "seq_cls")
    ]
    for mapping in (TrainerFactory.TRAINER_MAPPING, TrainerFactory.TRAINING_ARGS_MAPPING):
        resolve(mapping, methods)
    registries = {"TRAINER_MAPPING": TrainerFactory.TRAINER_MAPPING, "orms": orms}
    registries["TRAINING_ARGS_MAPPING"] = TrainerFactory.TRAINING_ARGS_MAPPING
    entries = {name: dict(registry) for name, registry in registries.items()}
    before = snapshot()
    for plugin in plugins:
        import_external_file(plugin)
    resolve(TrainerFactory.TRAINER_MAPPING, methods)
    changed = {
        name: sorted(
            key for key in registry.keys() | entries[name].keys() if registry.get(key) is not entries[name].get(key)
        )
        for name, registry in registries.items()
    }
    classes = sum(isinstance(owner, type) for owner, _ in before.values())
    counts = {"modules": len(before) - classes, "classes": classes}
    print(json.dumps({"replaced": differences(before), "registries": changed, **counts}))


if __name__ == "__main__":
    main(sys.argv[1:])
