"""Which files a name stands for: a file, a pattern, a folder of files, a saved or a downloaded data set."""

import glob
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

TEXT_ENDINGS = (".jsonl", ".json", ".csv", ".tsv")
PACKED = (".gz", ".zst")
SUFFIXES = (
    *TEXT_ENDINGS,
    *(f"{ending}{packed}" for packed in PACKED for ending in TEXT_ENDINGS),
    ".parquet",
    ".arrow",
)
REPORT_SUFFIX = ".report.json"
# `datasets` takes every file beside rows for rows, but passes over folders whose name begins with two underscores.
REPORTS, PAID = "__reports__", "__gold_answers__"
# What `datasets` and the hub write beside rows.
NO_ROWS = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
_SPLIT = re.compile(r"(train|validation|test)(?![A-Za-z0-9])")
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.")


def report_file(out: str | os.PathLike[str]) -> Path:
    """Where the report of an output is: in a folder beside it that `datasets` passes over."""
    return Path(out).parent / REPORTS / f"{Path(out).name}{REPORT_SUFFIX}"


def paid_folder(out: str | os.PathLike[str]) -> Path:
    """Where paid answers for an output are kept: in a folder beside it that `datasets` passes over.

    Earlier versions kept them in `OUT.gold_answers`; what is there already is not paid for again.
    """
    before = Path(f"{os.fspath(out)}.gold_answers")
    return before if before.is_dir() else Path(out).parent / PAID / Path(out).name


def list_files(source: str | os.PathLike[str]) -> list[Path]:
    """The data files that ``source`` names, sorted by path.

    Args:
        source: a file; a glob pattern; a folder of data files (reports and subfolders are passed over), one written by
            ``datasets.save_to_disk``, or a copy of a hub data set, whose files stand in ``data/``.

    Raises:
        ValueError: nothing matches, an ending that is not in ``SUFFIXES``, a link to nothing, a pipe or a device, or a
            folder that holds several splits, a part of one, or one name in two formats.
    """
    text = os.fspath(source)
    path = Path(text)
    try:
        if path.is_dir():
            files = _of_folder(path)
        elif path.exists():
            files = [path]
        else:
            files = [Path(match) for match in _matches(text) if Path(match).is_file()]
    except OSError as error:  # a name that no file can have
        raise ValueError(f"{text[:200]}: {error.strerror}") from error
    if not files:
        raise ValueError(f"{text}: no such file, and no file ending in {', '.join(SUFFIXES)} found there")
    for file in files:
        if not file.name.endswith(SUFFIXES):
            raise ValueError(f"{file}: the name must end in one of {', '.join(SUFFIXES)}")
        if not file.is_file():
            raise ValueError(f"{file}: a link to nothing, or no regular file")
    return sorted(files)


def splits_of(folder: str | os.PathLike[str]) -> list[str]:
    """The names of the splits of a folder that ``datasets.DatasetDict.save_to_disk`` wrote; empty for any other."""
    path = Path(folder)
    if not os.path.isfile(path / "dataset_dict.json"):
        return []
    return sorted(entry.name for entry in path.iterdir() if (entry / "state.json").is_file())


def is_saved(folder: str | os.PathLike[str]) -> bool:
    """Whether ``save_to_disk`` wrote the folder: a data set, or one with splits."""
    return bool(splits_of(folder)) or os.path.isfile(Path(folder) / "state.json")


def split_files(source: str | os.PathLike[str], alone: str = "train") -> dict[str, list[Path]]:
    """The splits of a local data set, each with its files. A file is of the split that its name begins with.

    Args:
        source: as for ``list_files``; a folder may hold several splits.
        alone: what a single file or a data set without splits is.

    Raises:
        ValueError: as ``list_files``, but for several splits.
    """
    folder = Path(source)
    if splits := splits_of(folder):
        return {split: _saved(folder / split) for split in splits}
    if not os.path.isdir(folder) or is_saved(folder):
        return {alone: list_files(source)}
    files = sorted(_data_files(folder) or (_data_files(folder / "data") if (folder / "data").is_dir() else []))
    if not files:
        list_files(source)  # says what is missing
    found: dict[str, list[Path]] = {}
    for file in files:
        match = _SPLIT.match(file.name)
        found.setdefault(match[1] if match else alone, []).append(file)
    for of_split in found.values():
        check_shards(of_split)
    return found


def _of_folder(folder: Path) -> list[Path]:
    if splits := splits_of(folder):
        if len(splits) > 1:
            raise ValueError(
                f"{folder}: a data set of several splits; name one: {', '.join(f'{folder}/{s}' for s in splits)}"
            )
        return _of_folder(folder / splits[0])
    if (folder / "state.json").is_file():
        return _saved(folder)
    files = _data_files(folder)
    if not files and (folder / "data").is_dir():
        files = _data_files(folder / "data")
    check_shards(files)
    return files


def _data_files(folder: Path) -> list[Path]:
    files = [entry for entry in folder.iterdir() if entry.name.endswith(SUFFIXES) and not entry.is_dir()]
    # Earlier versions wrote a builder's report beside its output, and a report is no row.
    rows = [file for file in files if not file.name.endswith(REPORT_SUFFIX) and file.name not in NO_ROWS]
    check_formats(rows)
    return rows


def check_formats(files: Iterable[Path]) -> None:
    """Refuses a folder with the same name in two formats: its rows would count twice.

    Raises:
        ValueError: naming both files.
    """
    seen: dict[str, Path] = {}
    for file in sorted(files):
        name = file.name.removesuffix(max((end for end in SUFFIXES if file.name.endswith(end)), key=len))
        if name in seen:
            raise ValueError(
                f"{file.parent}: {seen[name].name} and {file.name} look like the same rows in two formats, which would count "
                f"twice; name one of them, or those that you mean by a pattern: {file.parent}/*{file.name.removeprefix(name)}"
            )
        seen[name] = file


def _saved(folder: Path) -> list[Path]:
    """The Arrow files of one split that ``save_to_disk`` wrote."""
    state = folder / "state.json"
    try:
        found = json.loads(state.read_bytes())
        names = [one["filename"] for one in found["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{state}: not what save_to_disk writes: {error!r:.200}") from error
    if found.get("_indices_data_files"):
        raise ValueError(f"{folder}: saved with an index of its rows; load it and save it again: flatten_indices()")
    if odd := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise ValueError(f"{state}: names of files of this folder are valid, found {odd[0]!r:.100}")
    if absent := [name for name in names if not (folder / name).is_file()]:
        raise ValueError(f"{folder}: not a whole data set of save_to_disk, {absent[0]} is missing")
    return [folder / name for name in names]


def check_shards(files: Iterable[Path]) -> None:
    """Refuse files named ``train-00000-of-00002.parquet`` of which some are missing, or that are of several splits.

    Raises:
        ValueError: the splits, each as a pattern that names it, or the number of files that are there.
    """
    shards: dict[tuple[str, int], list[Path]] = {}
    for file in files:
        if match := _SHARD.match(file.name):
            shards.setdefault((match[1], int(match[2])), []).append(file)
    if len({name for name, _ in shards}) > 1:
        patterns = sorted({f"{found[0].parent}/{name}-*" for (name, _), found in shards.items()})
        raise ValueError(f"{patterns[0]}: the folder holds several splits; name one: {', '.join(patterns)}")
    for (name, number), found in shards.items():
        if len(found) != number:
            raise ValueError(f"{found[0].parent}/{name}-*: {len(found)} of {number} files are here; fetch the others")


def _matches(pattern: str) -> list[str]:
    """As ``glob.glob``, but a folder below ``**`` counts once: links that lead back up would be followed for ever."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return glob.glob(pattern)
    place = parts.index("**")
    found: dict[tuple[str, str], str] = {}
    seen: set[str] = set()
    for start in glob.glob(os.path.join(*parts[:place])) if place else [os.curdir]:
        for folder, below, _ in os.walk(start, followlinks=True):
            below[:] = sorted(name for name in below if not name.startswith("."))
            if (real := os.path.realpath(folder)) in seen:
                below.clear()
                continue
            seen.add(real)
            for match in _matches(os.path.join(glob.escape(folder), *(parts[place + 1 :] or ["*"]))):
                found.setdefault((os.path.realpath(os.path.dirname(match)), os.path.basename(match)), match)
    return list(found.values())
