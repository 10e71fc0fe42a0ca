"""What a stored value depends on, as digests: the content of models and adapters, of functions, and of margins."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .source_files import source_files

if TYPE_CHECKING:
    from .margins import Margin

_WEIGHT_SUFFIXES = (".safetensors", ".bin")
_SMALL_SUFFIXES = (".json", ".jinja", ".model", ".txt")
# Written by the trainer beside the weights; they do not change what the model answers.
_NOT_MODEL = ("trainer_state.json", "args.json")
_SAMPLES = 16
_BLOCK = 1 << 16
_END = 1 << 20


def _is_weights(path: Path) -> bool:
    return path.suffix in _WEIGHT_SUFFIXES and "training_args" not in path.name


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        if not _is_weights(path):
            digest.update(path.read_bytes())
            continue
        with path.open("rb") as handle:
            digest.update(handle.read(_END))
            for sample in range(1, _SAMPLES + 1):
                handle.seek(size * sample // (_SAMPLES + 1))
                digest.update(handle.read(_BLOCK))
            handle.seek(max(0, size - _END))
            digest.update(handle.read())
    return digest.hexdigest()


def weights_digest(folder: str | Path) -> str:
    """16 hex digits over the weight files of a model or adapter folder.

    Every file counts with its name, its size, its first and last megabyte and 16 blocks between: a training step
    changes all of them, and a 140 GB model is read in well under a second.

    Raises:
        ValueError: the folder holds no weight file.
    """
    files = sorted(path for path in Path(folder).iterdir() if _is_weights(path))
    if not files:
        raise ValueError(f"{folder} holds no weight file ({' or '.join(_WEIGHT_SUFFIXES)})")
    return _digest(files)


def model_digest(folder: str | Path) -> str:
    """16 hex digits over all that decides what a model or adapter answers.

    The weight files count as in `weights_digest`; configuration, tokenizer and chat template count whole.
    """
    files = (path for path in Path(folder).iterdir() if path.is_file() and path.name not in _NOT_MODEL)
    return _digest(sorted(path for path in files if _is_weights(path) or path.suffix in _SMALL_SUFFIXES))


def settings_digest(folder: str | Path) -> str:
    """16 hex digits over what stands beside the weights and decides what they compute: configuration, tokenizer, template."""
    files = (path for path in Path(folder).iterdir() if path.is_file() and path.name not in _NOT_MODEL)
    return _digest(sorted(path for path in files if path.suffix in _SMALL_SUFFIXES and not _is_weights(path)))


def source_digest(function: str) -> str:
    """16 hex digits over the files that decide what a text function computes, of which `source_files` tells which they are.

    Installed packages do not count.

    Raises:
        ValueError: no such function, or one without a source file (typed into an interpreter or a notebook).
    """
    from trl_ext.objectives.text import get_text_function

    digest = hashlib.blake2b(digest_size=8)
    for path in source_files(function, get_text_function(function)):
        digest.update(f"{path.name}:".encode() + path.read_bytes())
    return digest.hexdigest()


def describe_margin(margin: "Margin") -> dict[str, str | int]:
    """What the raw value of a margin depends on, each ingredient by its name; not its weight, role or beta."""
    entry: dict[str, str | int] = {"name": margin.name, "kind": margin.kind}
    if margin.kind == "function":
        return {**entry, "function": margin.source, "source": source_digest(margin.source)}
    if margin.kind == "classifier":
        entry["head"] = margin.head
    if not Path(margin.source).is_dir():
        return {**entry, "hub name": margin.source}
    beside = "configuration" if margin.kind == "adapter" else "configuration, tokenizer and template"
    return {**entry, "weights": weights_digest(margin.source), beside: settings_digest(margin.source)}


def describe_model(path: str) -> str:
    """The content of a model's folder, or the hub name that it is."""
    return model_digest(path) if Path(path).is_dir() else path
