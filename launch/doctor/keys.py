"""Keys of the run that upstream does not know: a misspelt one is refused by the trainer, or worse, passed over."""

import re
from importlib.util import find_spec
from pathlib import Path

from datasets_builders.choices import did_you_mean
from launch.doctor.arguments import MODULES, is_here, known_names
from launch.doctor.findings import Finding, error, ok, skipped
from launch.doctor.run_file import Run

NAME = "keys"
# The same thing under ms-swift's name and under TRL's, which spelling alone does not find.
SAME = (
    ("model", "model_name_or_path"), ("dataset", "dataset_name"), ("torch_dtype", "dtype"), ("lora_rank", "lora_r"),
    ("target_modules", "lora_target_modules"), ("modules_to_save", "lora_modules_to_save"),
    ("max_completion_length", "max_new_tokens"),
)  # fmt: skip
_OTHER = {**dict(SAME), **{second: first for first, second in SAME}}


def megatron_names(folder: Path) -> list[str]:
    """Keys of `megatron rlhf` out of ms-swift's source, for an environment without megatron-core; Ray's groups too."""
    found = {name for file in folder.glob("*.py") for name in re.findall(r"^    (\w+):", file.read_text("utf-8"), re.M)}
    return sorted(found | {"colocate_groups", "train", "rollout", "gpus"})


def names_of(run: Run) -> list[str] | None:
    """The keys that the run may have; None where its upstream is not installed."""
    if run.method.upstream == "megatron":
        spec = find_spec("swift")
        if spec is None:
            return None
        from swift.arguments import RLHFArguments

        return [
            *RLHFArguments.__dataclass_fields__,
            *megatron_names(Path(spec.origin).parent / "megatron" / "arguments"),
        ]
    return known_names(run.method) if is_here(run.method) else None


def check_keys(run: Run) -> list[Finding]:
    """One error for each unknown key, with the nearest known one."""
    known = names_of(run)
    if known is None:
        module = MODULES[run.method.upstream]
        return skipped(NAME, f"{len(run.given)} keys not checked: {module} is not installed in this environment")
    groups = [one for one in run.values.values() if isinstance(one, dict)] if run.method.upstream == "megatron" else []
    given = [*run.given, *(key for group in groups for key in group)]
    unknown = [name for name in given if name not in known]
    if not unknown:
        return ok(NAME, f"all {len(given)} keys are known to {run.method.name} ({len(known)} names)")
    findings = []
    for name in unknown:
        where = "flag" if name in run.overrides else f"key of {run.file}"
        other = _OTHER.get(name)
        near = did_you_mean(name, known).removeprefix("; ")
        fix = (
            f"here it is called {other!r}"
            if other in known
            else near or f"leave it out, or say --method ({run.method.name}?)"
        )
        findings += error(
            NAME, f"{name!r} ({where}) is not an argument of {run.method.name}, 1 of {len(given)} keys", fix
        )
    return findings
