"""Installed versions against the tested set and against what the upstreams themselves ask for."""

import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from launch.common.installed import PACK
from launch.doctor.findings import Finding, error, ok, warning

NAME = "versions"
FOLDER = PACK / "launch"
OURS = "swift-trl-ext"
# Packages whose other version changes what a run does; of the rest of the set only the count is told.
CORE = (
    "ms-swift",
    "trl",
    "transformers",
    "torch",
    "peft",
    "accelerate",
    "datasets",
    "deepspeed",
    "pydantic",
    "safetensors",
)


def installed(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    return _installed(name, tuple(sys.path))


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Name -> version, of those that are installed."""
    return {name: found for name in names if (found := installed(name)) is not None}


@cache
def _installed(name: str, search: tuple[str, ...]) -> str | None:
    # Reading metadata is slow, and every check asks; another search path is another answer.
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def tested_set() -> Path:
    """The constraint file of this environment: with ms-swift or without."""
    return FOLDER / f"constraints-{'trl' if installed('ms-swift') is None else 'swift'}.txt"


def read_constraints(path: Path) -> list[Requirement]:
    """The requirements of a constraint file.

    Raises:
        ValueError: no such file, or a line that is no requirement.
    """
    if not path.is_file():
        raise ValueError(f"no constraint file {path}")
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                found.append(Requirement(text))
            except InvalidRequirement as error_:
                raise ValueError(f"{path}:{number}: {error_}") from error_
    return found


def unmet(name: str) -> list[str]:
    """Requirements of an installed distribution that the environment does not meet, extras left out."""
    if installed(name) is None:
        return []
    broken = []
    for text in requires(name) or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = installed(needed.name)
        if found is None or not needed.specifier.contains(found, prereleases=True):
            wanted = f"{needed.name}{needed.specifier}"
            broken.append(f"{name} {installed(name)} needs {wanted}, found {found or 'none'}")
    return broken


def check_versions(constraints: Path | None = None) -> list[Finding]:
    """Errors for requirements that are not met, a warning for core packages other than the tested ones."""
    path = constraints or tested_set()
    lines = {one.name.lower().replace("_", "-"): one for one in read_constraints(path)}
    extra = "trl" if path.stem.endswith("trl") else "swift"
    fix = f"pip install '{OURS}[{extra}]' -c {path}"
    findings = [one for name in (OURS, "ms-swift", "trl") for text in unmet(name) for one in error(NAME, text, fix)]
    if installed("ms-swift") is not None and installed("msgspec") is None:
        findings += error(
            NAME, "ms-swift imports msgspec for GRPO and does not declare it; it is missing", "pip install msgspec"
        )
    other = []
    for name, needed in lines.items():
        found = installed(name)
        if found is not None and not needed.specifier.contains(found, prereleases=True):
            other.append((name, str(needed.specifier).removeprefix("=="), found))
    core = [f"{name} {found} (tested {tested})" for name, tested, found in other if name in CORE]
    if core:
        rest = f"; {len(other) - len(core)} further packages differ" if len(other) > len(core) else ""
        findings += warning(NAME, f"{len(core)} core packages differ from {path.name}: {', '.join(core)}{rest}", fix)
    if findings:
        return findings
    here = ", ".join(f"{name} {found}" for name in CORE if (found := installed(name)))
    return ok(
        NAME, f"{here}: as in {path.name}, {len(lines) - len(other)} of {len(lines)} packages alike or not installed"
    )
