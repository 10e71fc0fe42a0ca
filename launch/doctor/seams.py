"""Are the methods that the pack overrides still there, with the parameters that it hands over, and which of them moved?"""

import inspect
import sys

from packaging.version import Version

from launch.common.installed import page
from launch.doctor.arguments import is_here
from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.methods import METHODS, Method
from launch.doctor.seam_table import SEAMS, Seam
from launch.doctor.seams_seen import moved, seen, seen_range, takes, upstream, walk
from launch.doctor.versions import FOLDER, installed

NAME = "seams"


def missing(seam: Seam) -> str | None:
    """What the installed upstream lacks of a seam, in words; None: all there."""
    try:
        owner, target = walk(seam)
    except LookupError as problem:
        return str(problem)
    if seam.path.endswith(".__init__") and "__init__" not in vars(owner) and "swift.rlhf_trainers" in sys.modules:
        return None  # ms-swift deletes the constructors of TRL's trainers in its process
    if seam.entry is not None:
        return None if seam.entry in target else f"{seam.path.replace(':', '.')} has no entry {seam.entry!r}"
    if not seam.parameters:
        return None
    found = inspect.signature(target).parameters
    anything = [one.kind for one in found.values()]
    if inspect.Parameter.VAR_KEYWORD in anything and inspect.Parameter.VAR_POSITIONAL in anything:
        return None
    absent = [name for name in seam.parameters if name not in found]
    return f"{seam.path.replace(':', '.')} takes no {', '.join(absent)}, only {', '.join(found)}" if absent else None


def check_seams(method: Method | None) -> list[Finding]:
    """The seams of the method, or of every method whose upstream is installed."""
    findings = []
    for name in [method.name] if method else SEAMS:
        of = METHODS[name]
        if name not in SEAMS:
            findings += skipped(NAME, f"{name} is plain {of.upstream}: nothing of the pack hooks in")
        elif not is_here(of):
            findings += skipped(NAME, f"{name}: {of.upstream} is not installed in this environment")
        else:
            findings += _check(of)
    return findings


def _check(method: Method) -> list[Finding]:
    version = installed(method.upstream)
    seams = [one for one in SEAMS[method.name] if one.until is None or Version(version) < Version(one.until)]
    here = f"{method.upstream} {version}"
    lost = [(seam, text) for seam in seams if (text := missing(seam)) is not None]
    if not lost:
        return [*ok(NAME, f"{method.name}: all {len(seams)} seams are in {here}"), *_moved(method.name, seams)]
    tested = FOLDER / f"constraints-{'swift' if method.upstream == 'ms-swift' else 'trl'}.txt"
    fix = f"install a version of the tested set ({tested})"
    return [
        one
        for seam, text in lost
        for one in error(NAME, f"{_lost(method.name, seam, text, here)}; 1 of {len(seams)} seams", fix)
    ]


def _lost(method: str, seam: Seam, text: str, here: str) -> str:
    where = seen_range(seam, seen())
    return f"{method}: {text} in {here}, needed for: {seam.why}{f'; {where}' if where else ''}"


def _moved(method: str, seams: list[Seam]) -> list[Finding]:
    """A warning for each seam that takes something else than in the nearest version that was seen."""
    fix = f"the seam is there, so this may be fine; which versions were tried, and how to try this one: {page('compatibility')}"
    return [
        one
        for seam in seams
        if (text := moved(seam, installed(upstream(seam)) or "0", takes(seam), seen())) is not None
        for one in warning(NAME, f"{method}: moved: {text}; used for: {seam.why}", fix)
    ]
