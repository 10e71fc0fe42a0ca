"""Where a model lies, and whether it may be loaded."""

import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets_builders.io import read_object
from datasets_builders.model_names import refuse_missing_folder

_STORED_BY_PYTORCH = ("adapter_model*.bin", "pytorch_model*.bin")
_SETTINGS = (
    "config.json", "adapter_config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json",
)  # fmt: skip
DTYPES = ("float32", "bfloat16", "float16")


def resolve_model(path: str, trust_remote_code: bool = False) -> str:
    """The local directory of a model: `path` itself, or the downloaded copy of the hub model it names.

    Raises:
        ValueError: nothing there (with HF_HUB_OFFLINE=1 the hub is not asked), a file that is not whole, or the directory
            brings its own Python code and `trust_remote_code` is off. Some loaders, that of ms-swift among them, run
            such code without asking.
    """
    refuse_missing_folder(path, "model")
    directory = path if os.path.isdir(path) else _from_hub(path)
    if not os.path.isfile(os.path.join(directory, "config.json")):
        raise ValueError(f"{path}: no config.json, this is not a model directory")
    check_whole(directory)
    for name in ("config.json", "tokenizer_config.json"):
        file = os.path.join(directory, name)
        if not trust_remote_code and os.path.isfile(file) and "auto_map" in read_object(Path(file)):
            raise ValueError(
                f"{file}: the model brings Python code ('auto_map'); use a model of a class that transformers holds, "
                "or, in a command that has the flag, --trust_remote_code to run that code"
            )
    return directory


def _from_hub(name: str) -> str:
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(name)
    # The hub client raises subclasses of OSError and ValueError for a name, a network or a cache it cannot use.
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: neither a model directory nor a hub model at hand: {error}") from error


def check_whole(folder: str | Path) -> None:
    """Refuses a folder of a model or an adapter with a file that was cut off or never fetched; reads no weights.

    Raises:
        ValueError: settings that are no JSON, weights that end too early or are a pointer to others, or a file that an
            index names and that is not there; the file is named. No folder, where the name can be no hub's; a hub's name
            passes.
    """
    from safetensors import SafetensorError, safe_open

    refuse_missing_folder(folder, "model")
    folder = Path(folder)
    if (index := _index_in_use(folder)) is not None:
        parts = read_object(index).get("weight_map")
        if not isinstance(parts, dict):
            raise ValueError(f"{index}: no weight_map, this is not an index of weights")
        if lost := sorted({str(part) for part in parts.values() if not (folder / str(part)).is_file()}):
            raise ValueError(
                f"{index} names {lost[0]}, which is not there ({len(lost)} missing): fetch the model again"
            )
    for name in _SETTINGS:
        if (folder / name).is_file():
            read_object(folder / name)
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file}: not a whole safetensors file: {error}") from error
    for file in sorted(path for kind in _STORED_BY_PYTORCH for path in folder.glob(kind)):
        with open(file, "rb") as stored:
            start = stored.read(4)
        if start[:2] not in (b"PK", b"\x80\x02") or (start[:2] == b"PK" and not zipfile.is_zipfile(file)):
            raise ValueError(f"{file}: not a whole file of weights")


def _index_in_use(folder: Path) -> Path | None:
    """The index that a loader would follow; one that a whole file or another format leaves unused may be out of date."""
    for name in (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ):
        if (folder / name).is_file():
            return folder / name if name.endswith(".index.json") else None
    return None


def check_dtype(name: str | None) -> None:
    """Refuses what is no name of a floating-point type that models are loaded in.

    Raises:
        ValueError: `name` is neither None nor one of DTYPES.
    """
    if name is not None and name not in DTYPES:
        raise ValueError(f"torch_dtype {name!r}: use one of {', '.join(DTYPES)}")


def check_finite(model: Any, what: str | Path = "the model") -> None:
    """Refuses weights that are not numbers or infinite.

    Raises:
        ValueError: names the first such tensor and how many of its values are meant.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and (bad := int((~tensor.isfinite()).sum())):
            raise ValueError(f"{what}: {bad} of {tensor.numel()} values of {name} are not finite")


def check_finite_weights(folder: str | Path) -> None:
    """Refuses a folder of weights, an adapter's for instance, with a value that is not finite; reads tensor by tensor.

    Read are the `.safetensors`, or, where there are none, what PyTorch stored (`adapter_model.bin`, `pytorch_model*.bin`),
    which a loader takes then.

    Raises:
        ValueError: such a value, or a file that cannot be read; both by name.
    """
    import torch

    check_whole(folder)
    files = sorted(Path(folder).glob("*.safetensors"))
    files = files or sorted(path for kind in _STORED_BY_PYTORCH for path in Path(folder).glob(kind))
    for file in files:
        for name, tensor in _tensors(file):
            if tensor.is_floating_point() and (bad := int((~torch.isfinite(tensor)).sum())):
                raise ValueError(f"{file}: {bad} of {tensor.numel()} values of {name} are not finite")


def _tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of a file of weights."""
    import torch
    from safetensors import SafetensorError, safe_open

    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    yield name, tensors.get_tensor(name)
        except SafetensorError as error:
            raise ValueError(f"{file}: not a whole safetensors file: {error}") from error
        return
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{file}: not a whole file of weights: {error}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{file}: a {type(stored).__name__}, no weights by name")
    yield from ((name, value) for name, value in stored.items() if isinstance(value, torch.Tensor))
