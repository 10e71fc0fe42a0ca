"""Digests that tell whether two folders hold the same model or adapter."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

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
