"""What a stored value depends on, as digests: the content of models and adapters, of functions, and of margins."""

import ast
import hashlib
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

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
    """16 hex digits over the file of a text function and every file of its folder that it imports, directly or not.

    The file is that of the module that is named, and the one in which the function stands, where it is another one.
    What they import from elsewhere (installed packages) counts by the version of its package only.

    Raises:
        ValueError: see `trl_ext.objectives.text.get_text_function`.
    """
    from trl_ext.objectives.text import get_text_function

    found = get_text_function(function)
    while isinstance(found, partial):
        found = found.func
    modules = {name for name in (function.rpartition(".")[0], found.__module__) if name in sys.modules}
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted({path for name in modules for path in _own_files(sys.modules[name])}):
        digest.update(f"{path.name}:".encode() + path.read_bytes())
    return digest.hexdigest()


def _own_files(module: ModuleType) -> set[Path]:
    """The module's file and those below its folder that it imports, however deep, at once or when it is called."""
    if getattr(module, "__file__", None) is None:  # typed into an interpreter
        return set()
    first, package = Path(module.__file__).resolve(), module.__package__ or ""
    root = first.parents[len(package.split(".")) if package else 0]
    found, left = {first}, [(package, first)]
    while left:
        package, path = left.pop()
        for name in _imported(ast.parse(path.read_bytes()), package):
            place = _file_of(name, root)
            if place is not None and place.suffix == ".py" and place not in found and place.is_relative_to(first.parent):
                found.add(place)
                left.append((name if place.name == "__init__.py" else name.rpartition(".")[0], place))
    return found


def _file_of(name: str, root: Path) -> Path | None:
    """The file of a module: where it was loaded from, else where it would be found below `root`."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is not None:
        return Path(loaded).resolve()
    place = root.joinpath(*name.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if name and file.is_file()), None)


def _imported(tree: ast.Module, package: str) -> Iterable[str]:
    """Full names of the modules that a file imports, and of what it takes from them, which may be modules too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if node.level and package else []
            base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


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
