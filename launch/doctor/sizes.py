"""How large models and adapters are, out of the headers of their weight files: no tensor is read."""

import json
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
_STORED = {
    "F64": 8,
    "F32": 4,
    "BF16": 2,
    "F16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
_OF_NAME = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*([bBmM])(?![a-zA-Z])")
# Names of matrices that LoRA's "all linear layers" leaves out: embeddings, and heads.
_NO_LINEAR = re.compile(r"embed|wte|wpe|lm_head|score|classifier|norm|shared")
_BILLION = {"b": 1e9, "m": 1e6}


@dataclass(frozen=True)
class Tensor:
    """One entry of a safetensors header."""

    name: str
    shape: tuple[int, ...]
    bytes_each: int

    @property
    def count(self) -> int:
        return prod(self.shape)


def read_header(path: Path) -> list[Tensor]:
    """The tensors of one safetensors file (8 bytes of little-endian length, then JSON).

    Raises:
        ValueError: the file has no such header.
    """
    with path.open("rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= path.stat().st_size - 8:
            raise ValueError(
                f"{path}: no safetensors header; the file is damaged, or a pointer to one that was not fetched"
            )
        try:
            entries = json.loads(handle.read(length))
        except ValueError as problem:
            raise ValueError(f"{path}: no safetensors header ({problem})") from problem
    return [
        Tensor(name, tuple(entry["shape"]), _STORED.get(entry["dtype"], 4))
        for name, entry in entries.items()
        if name != "__metadata__"
    ]


def tensors_of(folder: Path) -> list[Tensor]:
    """All tensors of a model or adapter folder; an empty list where it holds no safetensors."""
    return [tensor for path in sorted(folder.glob("*.safetensors")) for tensor in read_header(path)]


def parameters(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.count for tensor in tensors)


def size_in_name(name: str) -> int | None:
    """Parameters that a hub name speaks of: `Qwen/Qwen2.5-7B-Instruct` -> 7e9."""
    found = _OF_NAME.findall(Path(name).name.replace("-", " ").replace("_", " "))
    return int(float(found[-1][0]) * _BILLION[found[-1][1].lower()]) if found else None


def lora_parameters(tensors: Iterable[Tensor], rank: int, targets: list[str] | None, whole: Iterable[str] = ()) -> int:
    """Parameters of a LoRA: rank x (in + out) of each matrix it is put on, and modules that are trained whole.

    Args:
        tensors: of the base model.
        targets: ends of module names; None is every linear layer.
        whole: names of modules that are saved and trained as they are.
    """
    count = 0
    for tensor in tensors:
        module = tensor.name.removesuffix(".weight")
        if any(module.endswith(name) for name in whole):
            count += tensor.count
        elif len(tensor.shape) == 2 and tensor.name.endswith(".weight") and _is_target(module, targets):
            count += rank * sum(tensor.shape)
    return count


def _is_target(module: str, targets: list[str] | None) -> bool:
    if targets is None:
        return not _NO_LINEAR.search(module)
    return any(module == name or module.endswith(f".{name}") for name in targets)


def gigabytes(size: float) -> str:
    """`3.21 GB`, `4.5 MB` (10^9 and 10^6 bytes)."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def human(count: float) -> str:
    """`7.6B`, `135M`, `5.4k` parameters."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"
