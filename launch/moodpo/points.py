"""What a trade-off picture is made of: policies, and one point for each wish that a policy can be asked."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from datasets_builders.io import read_object, write_json
from launch.answers.records import check_label
from launch.moodpo.soup import read_mixtures
from launch.moodpo.steered import STATE_FILE, read_settings
from launch.moodpo.weights import percentages

Kind = Literal["moodpo", "fixed", "soup", "untouched"]
Vector = tuple[float, ...]

UNTOUCHED = "untouched"
POINTS_FILE = "points.json"
_POLICY = re.compile(r"([^=]+)=(moodpo|fixed|soup)(?::(.+))?")


@dataclass(frozen=True)
class PolicySpec:
    """`name=KIND:PATH` taken apart; `path` None is the base model."""

    name: str
    kind: Kind
    path: str | None


@dataclass(frozen=True)
class Point:
    """One policy with one wish, which becomes one file of answers, one of scores and one point of the picture.

    Attributes:
        label: names the files.
        weights: (K,) what is asked, in the order of the run's objectives; None where nothing is.
        path: adapter or full checkpoint; None is the base model.
        names: objectives in the order of the instruction; empty when the weights are not written into the prompt.
    """

    label: str
    policy: str
    kind: Kind
    weights: Vector | None
    path: str | None
    names: tuple[str, ...]


def parse_policies(texts: Sequence[str]) -> list[PolicySpec]:
    """Reads `name=KIND:PATH` specs.

    | KIND | PATH | points |
    |---|---|---|
    | `moodpo` | a checkpoint; without PATH the base model | one per weight vector, written into the prompt |
    | `fixed` | a checkpoint trained for one weight vector | one |
    | `soup` | what `soup --grid` wrote | one a mixture |

    Raises:
        ValueError: another form, a name that cannot name files or is given twice, or no PATH where one is needed.
    """
    found: dict[str, PolicySpec] = {}
    for text in texts:
        match = _POLICY.fullmatch(text)
        if not match:
            raise ValueError(f"--policy {text!r}: write NAME=KIND:PATH with KIND one of moodpo, fixed, soup")
        name, kind, path = check_label(match[1]), match[2], match[3]
        if path is None and kind != "moodpo":
            raise ValueError(f"--policy {text!r}: {kind} needs a path, NAME={kind}:PATH")
        if name in found or name == UNTOUCHED:
            why = "names the base model without weights, always drawn" if name == UNTOUCHED else "is used twice"
            raise ValueError(f"--policy {text!r}: the name {name!r} {why}")
        found[name] = PolicySpec(name, kind, path)
    return list(found.values())


def _check_objectives(spec: PolicySpec, theirs: Iterable[str], names: Sequence[str]) -> tuple[str, ...]:
    theirs = tuple(theirs)
    if sorted(theirs) != sorted(names):
        raise ValueError(
            f"--policy {spec.name}: {spec.path} knows the objectives {list(theirs)}, --objectives are {list(names)}; "
            "NAME=SOURCE gives an objective the name that the training used"
        )
    return theirs


def points_of(spec: PolicySpec, names: Sequence[str], vectors: Sequence[Vector]) -> list[Point]:
    """All points of one policy.

    Args:
        names: K objectives in the order of the run.
        vectors: what steered policies are asked.

    Raises:
        ValueError: other objectives than the policy was trained with, or a steered policy that is called fixed.
    """
    if spec.path is not None and not Path(spec.path).is_dir():
        raise ValueError(f"--policy {spec.name}: {spec.path} is no folder")
    if spec.kind == "soup":
        theirs, mixtures = read_mixtures(Path(spec.path))
        order = [_check_objectives(spec, theirs, names).index(name) for name in names]
        pairs = [(tuple(weights[place] for place in order), str(folder)) for weights, folder in mixtures]
        return [_point(spec, weights, folder, ()) for weights, folder in pairs]
    settings = read_settings(spec.path) if spec.path is not None else None
    theirs = _check_objectives(spec, settings["objectives"], names) if settings else tuple(names)
    if spec.kind == "moodpo":
        return [_point(spec, vector, spec.path, theirs) for vector in vectors]
    fixed = settings.get("fixed_weights") if settings else None
    if settings and fixed is None:
        raise ValueError(
            f"--policy {spec.name}: {spec.path} was trained for many weights ({STATE_FILE}); its kind is moodpo"
        )
    if fixed is None:  # another trainer's: it never read weights
        return [Point(spec.name, spec.name, "fixed", None, spec.path, ())]
    weights = dict(zip(theirs, fixed, strict=True))
    return [Point(spec.name, spec.name, "fixed", tuple(weights[name] for name in names), spec.path, theirs)]


def _point(spec: PolicySpec, weights: Vector, path: str | None, names: tuple[str, ...]) -> Point:
    return Point(f"{spec.name}_{percentages(weights)}", spec.name, spec.kind, weights, path, names)


def all_points(specs: Sequence[PolicySpec], names: Sequence[str], vectors: Sequence[Vector]) -> list[Point]:
    """The points of all policies and, first, that of the base model without weights.

    Raises:
        ValueError: see `points_of`, and two points of one label, such as vectors that are equal in whole percent.
    """
    points = [Point(UNTOUCHED, UNTOUCHED, "untouched", None, None, ())]
    for spec in specs:
        points += points_of(spec, names, vectors)
    labels = [point.label for point in points]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"two points are called {label!r}: weights must differ in whole percent, names by more")
    return points


def asked_weights(point: Point, names: Sequence[str]) -> Vector:
    """The point's weights in the order of its instruction."""
    return tuple(point.weights[list(names).index(name)] for name in point.names)


def write_points(folder: Path, names: Sequence[str], vectors: Sequence[Vector], points: Sequence[Point]) -> None:
    """Notes what a picture of `folder` is to show."""
    note = {"objectives": list(names), "vectors": [list(vector) for vector in vectors]}
    write_json(folder / POINTS_FILE, note | {"points": [asdict(point) for point in points]})


def read_points(folder: Path) -> tuple[list[str], list[Vector], list[Point]]:
    """Objectives, vectors and points, as `write_points` noted them.

    Raises:
        ValueError: no note there.
    """
    file = folder / POINTS_FILE
    if not file.is_file():
        raise ValueError(f"{folder}: no {POINTS_FILE}, `python -m launch pareto --out {folder}` writes it")
    note = read_object(file)
    points = [
        Point(**entry | {"weights": entry["weights"] and tuple(entry["weights"]), "names": tuple(entry["names"])})
        for entry in note["points"]
    ]
    return note["objectives"], [tuple(vector) for vector in note["vectors"]], points
