"""What decides the result of a stage: settings that change it, inputs by their content, versions of the upstreams.

Where things lie does not count, nor what is only logged or how often a run is saved: the folder of a run can be moved,
and a clone elsewhere goes on with it.
"""

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from launch.common.installed import PACK as PACK
from trl_ext.modpo.digest import source_digest, weights_digest

UPSTREAMS = ("swift-trl-ext", "ms-swift", "trl", "transformers", "peft", "accelerate", "torch", "datasets")
# Flags and variables that change what is printed, kept, or how fast it goes, and not a weight or an answer.
UNDECIDING = {
    "logging_steps", "report_to", "save_steps", "save_total_limit", "per_device_eval_batch_size", "dataset_num_proc",
    "check_model", "out", "output_dir", "add_version", "store", "WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_TAGS",
}  # fmt: skip
COMMAND = "command"  # what stands before the flags
_PACKAGES = ("datasets_builders", "launch", "swift_ext", "trl_ext")
# What decides, beside the weights, what a model computes. A trainer writes more there, which names places and times.
_BESIDE_WEIGHTS = (
    "config.json", "adapter_config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip
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
            if child.name in _BESIDE_WEIGHTS:
                digest.update(f"{child.name}:{_configuration(child)}".encode())
        return digest.hexdigest()
    for child in sorted(path.rglob("*")):
        if child.is_file():
            digest.update(f"{child.relative_to(path)}:{path_digest(child)}".encode())
    return digest.hexdigest()


def _configuration(path: Path) -> str:
    if path.suffix != ".json" or path.name in ("tokenizer.json", "vocab.json"):
        return path_digest(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    if path.name == "adapter_config.json":  # peft writes sets of names, in another order each time
        content = {name: sorted(value) if _is_names(value) else value for name, value in content.items()}
    return json.dumps({name: value for name, value in content.items() if name not in _PLACES}, sort_keys=True)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _given(argv: Sequence[str], environment: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Names and values of one command line that decide: `command` (what stands before the flags), flags, variables."""
    head = next((place for place, token in enumerate(argv) if token.startswith("--")), len(argv))
    yield COMMAND, list(argv[:head])
    name, values = "", []
    for token in [*argv[head:], "--"]:
        if not token.startswith("--"):
            values.append(token)
            continue
        if name and name not in UNDECIDING:
            yield name, values
        name, values = token.removeprefix("--"), []
    yield from ((name, [value]) for name, value in environment.items() if name not in UNDECIDING)


def settings_of(argv: Sequence[str], environment: Mapping[str, str], out: Path) -> dict[str, str]:
    """The deciding settings of one command line: flag or variable -> value, as a person reads it.

    Paths inside `out` are told from there; a file or folder elsewhere, and the source of a function, stand by content.

    Args:
        out: folder of the run.
    """
    return {
        name: " ".join(_told(name, value, out) + _source_of(name, value) for value in values)
        for name, values in _given(argv, environment)
    }


def places_inside(argv: Sequence[str], environment: Mapping[str, str], out: Path) -> list[Path]:
    """The places in the folder of the run that the deciding values of a command line name."""
    values = [value for _, values in _given(argv, environment) for value in values]
    return [Path(path) for value in values for _, path, _ in _splits(value) if Path(path).is_relative_to(out)]


def _splits(value: str) -> Iterator[tuple[str, str, str]]:
    """How a value may hold a path, as (before, path, after): `PATH`, `NAME=PATH`, `KIND:PATH`, `NAME=KIND:PATH`, and each
    with ms-swift's `#ROWS` behind it.
    """
    rows = re.search(r"#\d+$", value)
    named = re.match(r"[^=]+=", value)
    begin = named.end() if named else 0
    kind = re.compile(r"[a-z]+:").match(value, begin)
    for end in (len(value), *([rows.start()] if rows else [])):
        for start in dict.fromkeys((0, begin, kind.end() if kind else begin)):
            if start < end:
                yield value[:start], value[start:end], value[end:]


def _told(name: str, value: str, out: Path) -> str:
    """A value without the place that a path in it names."""
    for before, path, after in _splits(value):
        place = Path(path)
        if place.is_relative_to(out):
            return f"{before}OUT/{place.relative_to(out)}{after}"
        if place.is_relative_to(PACK / "swift_ext"):  # code of the pack: its version counts
            return f"{before}PACK/{place.relative_to(PACK)}{after}"
        found = [path] if os.path.exists(path) else sorted(glob.glob(path))
        if os.sep not in path and (name == COMMAND or (found == [path] and not _is_no_word(place))):
            continue
        if found:
            return f"{before}{place.name}{after} with content {' '.join(path_digest(Path(one)) for one in found)}"
    return value


def _is_no_word(place: Path) -> bool:
    """Whether a name without a folder means what lies there: `--split train` does not mean a folder `train`."""
    if place.is_file():
        return place.suffix[1:2].isalpha()
    return any(True for kind in ("*.safetensors", "*.bin") for _ in place.glob(kind))


def _source_of(name: str, value: str) -> str:
    """The content of the files in which a function of the user stands; nothing for one of the pack or another value."""
    if name == "reward":
        function = value.partition("=function:")[2]
    else:
        function = value if name in ("function", "MODPO_MARGIN_FUNCTION") else ""
    package, dot, _ = function.partition(".")
    return f" with source {source_digest(function)}" if dot and package not in _PACKAGES else ""


def difference(before: Mapping[str, str], now: Mapping[str, str], most: int = 4) -> str:
    """What differs between two sets of settings, in words: `learning_rate 0.0001 -> 1e-06`."""
    changes = [
        f"{name} {before.get(name, 'not set')} -> {now.get(name, 'not set')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    more = f" and {len(changes) - most} more" if len(changes) > most else ""
    return "; ".join(changes[:most]) + more
