"""What every seam looked like in the versions that were seen: `seams_seen.json`, which `bash launch/compat.sh` writes.

With it the doctor says in which versions a seam was there, and which seams moved in a version that nobody has tried.
"""

import importlib
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Any

from packaging.version import Version

from datasets_builders.io import read_object, write_json
from launch.doctor.seam_table import SEAMS, Seam
from launch.doctor.versions import installed

SEEN = Path(__file__).with_name("seams_seen.json")
ABSENT, PRESENT = "absent", "there"
WRAPPED = (
    "args, kwargs"  # ms-swift puts such functions around some of PEFT's: what those take cannot be seen behind them
)
_UPSTREAMS = {"trl": "trl", "swift": "ms-swift", "peft": "peft"}

# {distribution: {path of the seam: {what it takes: versions}}}
Seen = dict[str, dict[str, dict[str, list[str]]]]


def upstream(seam: Seam) -> str:
    """The distribution that a seam is looked for in. What TRL's trainers inherit from transformers counts as TRL's."""
    return _UPSTREAMS[seam.path.partition(":")[0].partition(".")[0]]


def walk(seam: Seam) -> tuple[Any, Any]:
    """The object at the seam's path, and what holds it.

    Raises:
        LookupError: no such module or attribute, in words.
    """
    module, _, attributes = seam.path.partition(":")
    try:
        owner = target = importlib.import_module(module)
    except ImportError as problem:
        raise LookupError(f"{module} cannot be imported ({problem})") from problem
    for name in attributes.split("."):
        if not hasattr(target, name):
            raise LookupError(f"no {seam.path.replace(':', '.')}")
        owner, target = target, getattr(target, name)
    return owner, target


def has_lost_its_constructor(seam: Seam) -> bool:
    """Whether ms-swift has deleted this constructor of TRL's in this process: nothing can be said about it here."""
    return seam.path.startswith("trl") and seam.path.endswith(".__init__") and "swift.rlhf_trainers" in sys.modules


def takes(seam: Seam) -> str:
    """The names of its parameters; `there` for what is no function, `absent` where it cannot be found."""
    try:
        target = walk(seam)[1]
    except LookupError:
        return ABSENT
    if seam.entry is not None:
        return PRESENT if seam.entry in target else ABSENT
    if not callable(target):
        return PRESENT
    try:
        return ", ".join(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return PRESENT


@cache
def seen() -> Seen:
    """The stored table; empty where there is none."""
    return read_object(SEEN) if SEEN.is_file() else {}


def versions_of(seam: Seam, table: Seen) -> dict[str, str]:
    """{version: what the seam took there}, oldest first."""
    kinds = table.get(upstream(seam), {}).get(seam.path, {})
    found = {version: kind for kind, versions in kinds.items() for version in versions}
    return {version: found[version] for version in sorted(found, key=Version)}


def seen_range(seam: Seam, table: Seen) -> str:
    """`seen in trl 0.29.1 to 1.16.0 (4 versions)`; empty for a seam that no version was recorded with."""
    found = [version for version, kind in versions_of(seam, table).items() if kind != ABSENT]
    if not found:
        return ""
    ends = found[0] if len(found) == 1 else f"{found[0]} to {found[-1]} ({len(found)} versions)"
    return f"seen in {upstream(seam)} {ends}"


def moved(seam: Seam, version: str, now: str, table: Seen) -> str | None:
    """What changed since the nearest older version that was seen, else the oldest; None: nothing did, or none was seen."""
    found = versions_of(seam, table)
    if not found or has_lost_its_constructor(seam):
        return None
    nearest = next((one for one in reversed(found) if Version(one) <= Version(version)), next(iter(found)))
    if now == found[nearest] or now.endswith(WRAPPED) or found[nearest].endswith(WRAPPED):
        return None
    return f"{seam.path.replace(':', '.')}: {now} in {upstream(seam)} {version}, {found[nearest]} in {nearest}"


def note(table: Seen, distributions: tuple[str, ...]) -> Seen:
    """The table with what the installed versions of these distributions hold; a version has one entry a seam."""
    made = {name: {path: dict(kinds) for path, kinds in paths.items()} for name, paths in table.items()}
    for seam in {one.path: one for seams in SEAMS.values() for one in seams}.values():
        name = upstream(seam)
        version = installed(name)
        if name not in distributions or version is None or has_lost_its_constructor(seam):
            continue
        kinds = made.setdefault(name, {}).get(seam.path, {})
        kinds = {kind: [one for one in versions if one != version] for kind, versions in kinds.items()}
        kinds.setdefault(takes(seam), []).append(version)
        made[name][seam.path] = {
            kind: sorted(versions, key=Version) for kind, versions in sorted(kinds.items()) if versions
        }
    return {name: dict(sorted(paths.items())) for name, paths in sorted(made.items())}


def write_seen(distributions: tuple[str, ...]) -> None:
    """Adds the installed versions to the stored table."""
    note(
        {}, distributions
    )  # imports the upstreams, which takes seconds: between reading and writing nothing is to take time
    write_json(SEEN, note(read_object(SEEN) if SEEN.is_file() else {}, distributions))
