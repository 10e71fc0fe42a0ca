"""What decides the result of a stage: settings that change it, inputs by their content, versions of the upstreams.

Where things lie does not count, nor what is only logged or how often a run is saved: the folder of a run can be moved,
and a clone elsewhere goes on with it.
"""

import glob
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from trl_ext.modpo.digest import weights_digest

PACK = Path(__file__).parents[2]
UPSTREAMS = ("swift-trl-ext", "ms-swift", "trl", "transformers", "peft", "accelerate", "torch", "datasets")
# Flags and variables that change what is printed, kept, or how fast it goes, and not a weight or an answer.
UNDECIDING = {
    "logging_steps", "report_to", "save_steps", "save_total_limit", "per_device_eval_batch_size", "dataset_num_proc",
    "check_model", "out", "output_dir", "add_version", "store", "WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_TAGS",
}  # fmt: skip
_PLACES = ("base_model_name_or_path", "_name_or_path")


def versions() -> dict[str, str]:
    """Installed versions of what computes, by name."""
    found = {}
    for name in UPSTREAMS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def path_digest(path: Path) -> str:
    """16 hex digits over a file's content; over weights and configuration of a model or adapter; over all other files.

    Names of places inside a configuration do not count.
    """
    if path.is_file():
        digest = hashlib.blake2b(digest_size=8)
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    digest = hashlib.blake2b(digest_size=8)
    if any(child.suffix == ".safetensors" for child in path.iterdir()):
        digest.update(weights_digest(path).encode())
        for child in sorted(path.iterdir()):
            if child.name in ("config.json", "adapter_config.json", "generation_config.json", "tokenizer.json",
                              "tokenizer_config.json", "chat_template.jinja"):  # fmt: skip
                digest.update(f"{child.name}:{_configuration(child)}".encode())
        return digest.hexdigest()
    for child in sorted(path.rglob("*")):
        if child.is_file():
            digest.update(f"{child.relative_to(path)}:{path_digest(child)}".encode())
    return digest.hexdigest()


def _configuration(path: Path) -> str:
    if path.suffix != ".json" or path.name == "tokenizer.json":
        return path_digest(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    if path.name == "adapter_config.json":  # peft writes sets of names, in another order each time
        content = {name: sorted(value) if _is_names(value) else value for name, value in content.items()}
    return json.dumps({name: value for name, value in content.items() if name not in _PLACES}, sort_keys=True)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def settings_of(argv: Sequence[str], environment: Mapping[str, str], out: Path) -> dict[str, str]:
    """The deciding settings of one command line: flag or variable -> value, as a person reads it.

    Paths inside `out` are told from there; a file or folder elsewhere stands by its content.

    Args:
        out: folder of the run.
    """
    head = next((place for place, token in enumerate(argv) if token.startswith("--")), len(argv))
    settings = {"command": " ".join(_told(token, out) for token in argv[:head])}
    name, values = "", []
    for token in [*argv[head:], "--"]:
        if not token.startswith("--"):
            values.append(token)
            continue
        if name and name not in UNDECIDING:
            settings[name] = " ".join(_told(value, out) for value in values)
        name, values = token.removeprefix("--"), []
    for name, value in environment.items():
        if name not in UNDECIDING:
            settings[name] = _told(value, out) + (_source(value) if name == "MODPO_MARGIN_FUNCTION" else "")
    return settings


def _told(value: str, out: Path) -> str:
    """A value without the place that a path in it names; `NAME=PATH` keeps its name."""
    name, equals, path = value.rpartition("=")
    if os.sep not in path:
        return value
    place = Path(path)
    if place.is_relative_to(out):
        return f"{name}{equals}OUT/{place.relative_to(out)}"
    if place.is_relative_to(PACK / "swift_ext"):  # code of the pack: its version counts
        return f"{name}{equals}PACK/{place.relative_to(PACK)}"
    if place.exists():
        return f"{name}{equals}{place.name} with content {path_digest(place)}"
    if matches := sorted(glob.glob(path)):
        return f"{name}{equals}{place.name} with content {' '.join(path_digest(Path(match)) for match in matches)}"
    return value


def _source(function: str) -> str:
    """The content of the file that a dotted function stands in; nothing for a function of the pack."""
    module = function.rpartition(".")[0]
    found = find_spec(module) if module else None
    if found is None or found.origin is None or Path(found.origin).is_relative_to(PACK / "trl_ext"):
        return ""
    return f" with content {path_digest(Path(found.origin))}"


def difference(before: Mapping[str, str], now: Mapping[str, str], most: int = 4) -> str:
    """What differs between two sets of settings, in words: `learning_rate 0.0001 -> 1e-06`."""
    changes = [
        f"{name} {before.get(name, 'not set')} -> {now.get(name, 'not set')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    more = f" and {len(changes) - most} more" if len(changes) > most else ""
    return "; ".join(changes[:most]) + more
