"""Which files a result was made from: retrained weights under an old name must not pass for the old ones."""

import hashlib
import os
from pathlib import Path

_WEIGHTS = (".safetensors", ".bin")
_SMALL = (".json", ".jinja", ".model", ".txt")
# Training changes every tensor, so the two ends of a weight file tell it apart without reading hundreds of gigabytes.
_END = 1 << 20
# Written by the trainer beside the weights; they do not change what the model answers.
_NOT_MODEL = ("trainer_state.json", "args.json", "README.md")


def fingerprint(directory: str | os.PathLike[str]) -> str:
    """16 hexadecimal digits of a model or adapter directory: names, sizes, small files whole, both ends of weights."""
    digest = hashlib.sha256()
    for file in sorted(Path(directory).iterdir()):
        if file.name in _NOT_MODEL or not file.is_file() or not file.name.endswith(_WEIGHTS + _SMALL):
            continue
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with open(file, "rb") as handle:
            if file.name.endswith(_SMALL):
                digest.update(handle.read())
                continue
            digest.update(handle.read(_END))
            handle.seek(max(0, size - _END))
            digest.update(handle.read())
    return digest.hexdigest()[:16]
