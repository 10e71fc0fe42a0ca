"""The models and adapters that a run holds in memory, with their sizes and whether they are trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_builders.io import read_object
from launch.doctor.findings import Finding, error
from launch.doctor.setup import Setup, here
from launch.doctor.sizes import lora_parameters, parameters, size_in_name, tensors_of

NAME = "trainability"
# peft's own choice where a run names no target: query and value projections, for the families the pack is used with.
PEFT_DEFAULT = ["q_proj", "v_proj", "query_key_value", "c_attn"]


@dataclass(frozen=True)
class Part:
    """One model or adapter.

    Attributes:
        name: what it is, such as `base` or `adapter margin_brevity`.
        source: folder or hub name; empty for what the run makes.
        parameters: None where the folder is not here and its name says no size.
        trains: whether the run's trainer leaves `requires_grad` on.
        guessed: the size is that of a name, not of a file.
    """

    name: str
    source: str
    parameters: int | None
    trains: bool
    guessed: bool = False


def _part(name: str, source: str, trains: bool) -> Part:
    folder = here(source)
    if folder is not None:
        return Part(name, source, parameters(tensors_of(folder)) or None, trains)
    return Part(name, source, size_in_name(source), trains, guessed=True)


def targets_of(setup: Setup) -> list[str] | None:
    """The modules that the run's LoRA is put on; None: all linear layers."""
    if setup.run.method.name == "moodpo":
        return None
    given = setup.value("target_modules" if setup.run.method.upstream == "ms-swift" else "lora_target_modules")
    names = [given] if isinstance(given, str) else list(given or [])
    if setup.run.method.upstream == "trl" and not names:
        return PEFT_DEFAULT
    return None if not names or "all-linear" in names else names


def _policy_adapter(setup: Setup) -> Part:
    start = setup.value("adapters") or setup.value("model_path")
    if start:
        return _part("adapter of the policy", start[0] if isinstance(start, list) else str(start), True)
    swift = setup.run.method.upstream == "ms-swift"
    rank = setup.value("lora_rank" if swift or setup.run.method.name == "moodpo" else "lora_r", 8)
    whole = setup.value("modules_to_save" if swift else "lora_modules_to_save") or []
    base = here(setup.base)
    tensors = tensors_of(base) if base else []
    count = lora_parameters(tensors, rank, targets_of(setup), whole) if tensors and _can_count(setup) else None
    return Part(f"adapter of the policy (new, rank {rank})", "", count, True)


def _can_count(setup: Setup) -> bool:
    """Targets by a pattern, or by another word of ms-swift than `all-linear`, are upstream's to find."""
    words = [name for name in targets_of(setup) or [] if name.startswith("all-")]
    return not (setup.value("target_regex") or words)


def has_reference_copy(setup: Setup) -> bool:
    """Whether a second whole model is held as the reference."""
    if not (
        setup.full
        and (setup.run.method.dpo or setup.run.method.rows in ("prompt file", "prompts") or setup.run.method.grouped)
    ):
        return False
    if setup.run.method.name in ("swift-rm", "trl-reward"):
        return False
    return not (setup.run.method.grouped and setup.value("beta") == 0)


def parts_of(setup: Setup) -> list[Part]:
    """Every model and adapter of the run, the policy's base first."""
    full = setup.full
    parts = [_part("base", setup.base or "", full)]
    if not full:
        parts.append(_policy_adapter(setup))
    if has_reference_copy(setup):
        parts.append(_part("copy of the reference", str(setup.value("ref_model") or setup.base or ""), False))
    if setup.value("ref") == "previous" and setup.value("model_path"):
        parts.append(_part("adapter of the reference", str(setup.value("model_path")), False))
    for margin in setup.margins:
        if margin.kind != "function":
            kind = "adapter" if margin.kind == "adapter" else "classifier"
            parts.append(_part(f"{kind} of margin {margin.name!r}", margin.source, False))
    for config in setup.objects:
        for spec in getattr(config, "specs", []):
            if spec.kind == "classifier":
                parts.append(_part(f"reward model {spec.name!r}", spec.source, False))
    if setup.value("discriminator"):
        parts.append(
            _part("discriminator", str(setup.value("discriminator")), bool(setup.value("update_discriminator", True)))
        )
    return parts


def hollow(part: Part) -> list[Finding]:
    """An error for an adapter folder that is here and trains or holds nothing."""
    if not part.name.startswith("adapter") or part.guessed or not part.source:
        return []
    folder = Path(part.source)
    if not (folder / "adapter_config.json").is_file():
        if part.name.startswith("adapter of margin"):
            return []  # the finding of the check of its base
        found = f"{part.name}: {folder} holds no adapter_config.json"
        return error(NAME, found, "name the folder of a checkpoint, such as RUN/checkpoint-100")
    if not part.parameters:
        return error(NAME, f"{part.name}: {folder} holds 0 parameters in safetensors", "save the adapter again")
    return []


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder; empty where there is none."""
    path = folder / "config.json"
    return read_object(path) if path.is_file() else {}
