"""Which files decide what a text function computes: found by reading them, so that it depends on no earlier import.

Imports are resolved by path, not through `sys.modules`: a process that has called the function before finds the same
files as one that has not, and none is imported for it.
"""

import ast
import functools
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import all_suffixes
from pathlib import Path
from types import ModuleType
from typing import Any

_INSTALLED = ("site-packages", "dist-packages")


def source_files(name: str, function: Callable[..., Any]) -> list[Path]:
    """The file of the module that the dotted path `name` names and those of the function's own module, with what they import.

    Followed are imports that stand anywhere in a file, also inside functions, to files below the folder that the module was
    found in. Left out are installed packages (of an installed function: other packages than its own), names that are
    computed, and files that are read as data.

    Returns:
        in an order that does not depend on where the folder lies.

    Raises:
        ValueError: there is no source file: a function that was typed into an interpreter or a notebook.
    """
    dotted = name.rpartition(".")[0]
    found: dict[Path, Path] = {}
    for owner in dict.fromkeys([*([dotted] if dotted else []), *_owners(function)]):
        module = sys.modules.get(owner)
        path = _file_of(module)
        if path is None:
            if owner == dotted or (module is not None and owner not in sys.builtin_module_names):
                raise ValueError(_without_source(name, owner))
            continue
        root, package = _place(module, path)
        if owner != dotted and dotted and _is_installed(root):
            continue
        found |= {file: file.relative_to(root) for file in _follow(path, root, package)}
    return sorted(found, key=lambda file: (found[file].as_posix(), file))


def _owners(function: Callable[..., Any]) -> Iterator[str]:
    """Names of the modules that a callable's code stands in: of a function, of a partial's function, of an instance's class."""
    while isinstance(function, functools.partial):
        function = function.func
    for one in (function, inspect.unwrap(function)):
        code = getattr(one, "__code__", None)
        if code is not None and _is_typed(code.co_filename):
            raise ValueError(_without_source(getattr(one, "__qualname__", repr(one)), code.co_filename))
        own = one if inspect.isroutine(one) or inspect.isclass(one) else type(one)
        if isinstance(own.__module__, str):
            yield own.__module__


def _is_typed(filename: str) -> bool:
    """Whether the file that code names is none: `<stdin>`, `<string>`, a cell of a notebook."""
    return filename.startswith("<") or (Path(filename).is_absolute() and not Path(filename).is_file())


def _without_source(name: str, where: str) -> str:
    return (
        f"function {name!r} ({where}) has no source file, so nobody can tell whether values that were stored before are still "
        "its own: put it into a .py file and name it as module.function, or store nothing "
        "(without precompute_ref_log_probs or a store it works as it is)"
    )


def _file_of(module: ModuleType | None) -> Path | None:
    path = Path(getattr(module, "__file__", None) or "")
    return path.absolute() if path.is_file() else None


def _place(module: ModuleType, path: Path) -> tuple[Path, str]:
    """The folder that a module's top-level name was found in, and that name."""
    spec = getattr(module, "__spec__", None)
    parts = (spec.name if spec is not None else path.stem).split(".")
    inner = parts if path.stem == "__init__" else parts[:-1]
    root = path.parent
    for part in reversed(inner):
        if root.name != part:  # a module under another name than that of its folder
            return path.parent, path.stem
        root = root.parent
    return root, parts[0]


def _is_installed(folder: Path) -> bool:
    """Whether what lies there was installed, or belongs to Python itself."""
    places = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(part in _INSTALLED for part in folder.parts) or any(folder.is_relative_to(place) for place in places)


def _bases(root: Path) -> list[Path]:
    """Where names are looked for: the root, and what else of `sys.path` lies below it without a virtual environment between."""
    bases = [root]
    for entry in (Path(entry).absolute() for entry in sys.path):
        if entry != root and entry.is_relative_to(root) and not _is_installed(entry):
            below = [folder for folder in (entry, *entry.parents) if folder != root and folder.is_relative_to(root)]
            if not any((folder / "pyvenv.cfg").is_file() for folder in below):
                bases.append(entry)
    return bases


def _follow(first: Path, root: Path, package: str) -> set[Path]:
    """A file and what it imports below `root`, however deep."""
    installed = _is_installed(root)
    bases = _bases(root)
    found, left = {first}, [first]
    while left:
        path = left.pop()
        if path.suffix != ".py":
            continue
        for level, name in _imported(path):
            if level:
                folder = path.parents[level - 1]
                new = [*filter(Path.is_file, [folder / "__init__.py"]), *_files(folder, name)]
            elif installed and name.split(".")[0] != package:
                continue
            else:
                new = next(filter(None, (_files(base, name) for base in [*bases, path.parent])), [])
            left += [file for file in new if file not in found]
            found.update(new)
    return {path for path in found if path.is_relative_to(root)}


def _imported(path: Path) -> Iterable[tuple[int, str]]:
    """(dots, dotted name) of what a file imports, and of what it takes from there, which may be modules too."""
    try:
        tree = ast.parse(path.read_bytes())
    except (
        SyntaxError,
        ValueError,
    ):  # a file that this Python cannot read imports nothing here; it counts by its bytes
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = f"{node.module}." if node.module else ""
            yield from ((node.level, base + alias.name) for alias in node.names)


def _files(folder: Path, name: str) -> list[Path]:
    """The files below a folder that an import of `name` runs, as far as the name leads to files; [] where it leads nowhere."""
    found: list[Path] = []
    for part in name.split("."):
        package = folder / part / "__init__.py"
        modules = [file for file in (folder / f"{part}{suffix}" for suffix in all_suffixes()) if file.is_file()]
        if package.is_file():
            found.append(package)
        elif modules:
            return found + modules
        folder /= part
    return found
