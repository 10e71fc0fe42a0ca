"""The results and pictures in folders of finished runs, with everything that is left out counted by reason."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A model or adapter: its JSON files are no results, and its vocabulary alone is larger than any.
MODEL_FILES = ("config.json", "adapter_config.json", "tokenizer_config.json")
MOST_BYTES = {".json": 2_000_000, ".png": 3_000_000}


@dataclass
class Folder:
    """What one folder holds.

    Attributes:
        name: the given folder and the path below it.
        results: file name -> its JSON object, sorted by name.
        pictures: file name -> PNG bytes, sorted by name.
    """

    name: str
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)


def gather(roots: Sequence[str]) -> tuple[list[Folder], Counter[str]]:
    """The folders with results, in the order of `roots` and then by path; and why files were left out, counted.

    Hidden files and folders and those of models are passed over. A folder below two roots counts once.

    Raises:
        ValueError: a root that is no folder, a result that is not JSON, or no result at all.
    """
    found: list[Folder] = []
    left_out: Counter[str] = Counter()
    seen: set[Path] = set()
    for root in roots:
        if not Path(root).is_dir():
            raise ValueError(f"{root}: no such folder")
        for place in _folders(Path(root), left_out, seen):
            below = place.relative_to(root).as_posix()
            folder = _read(place, root.rstrip("/") if below == "." else f"{root.rstrip('/')}/{below}", left_out)
            if folder.results or folder.pictures:
                found.append(folder)
    if not any(folder.results for folder in found):
        raise ValueError(f"{', '.join(roots)}: no results (JSON objects) found")
    return found, left_out


def _folders(place: Path, left_out: Counter[str], seen: set[Path]) -> Iterator[Path]:
    # Before its children: a link that leads back to a folder above would be followed for ever.
    if (real := place.resolve()) in seen:
        return
    seen.add(real)
    if any((place / name).is_file() for name in MODEL_FILES):
        left_out["folder of a model"] += 1
        return
    yield place
    for child in sorted(place.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            yield from _folders(child, left_out, seen)


def _read(place: Path, name: str, left_out: Counter[str]) -> Folder:
    folder = Folder(name)
    for file in sorted(place.iterdir()):
        limit = MOST_BYTES.get(file.suffix)
        if limit is None or file.name.startswith(".") or not file.is_file():
            continue
        if file.stat().st_size > limit:
            left_out[f"{file.suffix[1:]} above {limit:,} bytes"] += 1
        elif file.suffix == ".png":
            folder.pictures[file.name] = file.read_bytes()
        else:
            try:
                document = json.loads(file.read_text("utf-8"))
                json.dumps(document, allow_nan=False)  # NaN and infinity, which Python reads, are no JSON
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{file}: not JSON: {error}") from error
            if isinstance(document, dict):
                folder.results[file.name] = document
            else:
                left_out["json that is no object"] += 1
    return folder
