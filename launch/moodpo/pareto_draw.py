"""`python -m launch pareto-draw`: the picture and the tables out of the scores that `pareto` left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_bytes, write_json, write_text
from launch.cli.flags import parse_number
from launch.cli.verbs import verb_parser
from launch.common.table import markdown, significant, write_csv
from launch.moodpo.pareto_page import policy_columns, render_page
from launch.moodpo.pareto_picture import draw
from launch.moodpo.points import UNTOUCHED, Point, read_points
from launch.scores.score_files import read_score_file

if TYPE_CHECKING:
    import numpy as np


def read_tables(folder: Path, names: Sequence[str], points: Sequence[Point]) -> tuple[dict[str, "np.ndarray"], int]:
    """({label: (P, S, K) raw scores}, number of prompts left out).

    A prompt of which any answer of any point has a score that is not finite is left out everywhere, so that all points
    are means over the same prompts.

    Raises:
        ValueError: a file that is missing, points that answer different prompts, or no prompt left.
    """
    import numpy as np

    found: dict[str, dict[tuple[str, int], list[float]]] = {}
    for point in points:
        file = folder / "scores" / f"{point.label}.jsonl"
        if not file.is_file():
            raise ValueError(f"{file}: no scores of {point.label!r}; `python -m launch pareto` writes them")
        rows = read_score_file(file)
        for (prompt, sample), row in rows.items():
            if lacking := [name for name in names if name not in row["scores"]]:
                raise ValueError(f"{file}: prompt {prompt} sample {sample}: no score {lacking[0]!r}")
        found[point.label] = {key: [row["scores"][name] for name in names] for key, row in rows.items()}
    keys = list(found[points[0].label])
    for label, rows in found.items():
        if rows.keys() != set(keys):
            raise ValueError(
                f"{label!r} and {points[0].label!r} answer different prompts or samples: run `pareto` again"
            )
    samples = 1 + max(sample for _, sample in keys)
    prompts = list(dict.fromkeys(key for key, _ in keys))
    tables = {
        label: np.array([[rows[prompt, sample] for sample in range(samples)] for prompt in prompts], dtype=float)
        for label, rows in found.items()
    }
    kept = np.all([np.isfinite(table).all(axis=(1, 2)) for table in tables.values()], axis=0)
    if not kept.any():
        raise ValueError(f"{folder}: every prompt has an answer with a score that is not finite")
    return {label: table[kept] for label, table in tables.items()}, int((~kept).sum())


def build_summary(
    names: Sequence[str],
    vectors: Sequence[Sequence[float]],
    points: Sequence[Point],
    tables: Mapping[str, "np.ndarray"],
    *,
    reference: Sequence[float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """`points` [{label, policy, kind, weights, scores {name: {value, low, high, n}}}] in raw units, and `policies`
    {name: measures of `summarise_policy`} in normalised ones.

    Args:
        tables: label -> (P, S, K) raw scores.
        reference: (K,) of the hypervolume in raw units; None takes `reference_point`.

    Raises:
        ValueError: a reference of another length.
    """
    import numpy as np

    from launch.moodpo.analysis import PolicyScores, reference_point, resample_shares, summarise_policy
    from trl_ext.moodpo.normaliser import Normaliser

    count = len(names)
    if reference is not None and len(reference) != count:
        raise ValueError(f"--hv_reference has {len(reference)} numbers for the {count} objectives {', '.join(names)}")
    # mean and standard deviation of the untouched model's answers
    scale = Normaliser(names)
    scale.update(tables[UNTOUCHED].reshape(-1, count))
    normal = {label: scale.apply(table.reshape(-1, count)).reshape(table.shape) for label, table in tables.items()}
    corner = reference_point([table[None] for table in normal.values()])
    if reference is not None:
        corner = scale.apply(np.array([reference], dtype=float))[0].tolist()
    mean, std = np.array(list(scale.statistics().values())).T
    shares = resample_shares(len(tables[UNTOUCHED]), resamples, seed)
    policies: dict[str, list[Point]] = {}
    for point in points:
        policies.setdefault(point.policy, []).append(point)
    measures = {}
    for name, own in policies.items():
        weights = None if own[0].weights is None else np.array([point.weights for point in own])
        scores = PolicyScores(weights, np.stack([normal[point.label] for point in own]))
        measures[name] = {"kind": own[0].kind, **summarise_policy(scores, np.array(vectors), corner, shares)}
    return {
        "objectives": list(names),
        "prompts": len(tables[UNTOUCHED]),
        "samples": tables[UNTOUCHED].shape[1],
        "resamples": resamples,
        "seed": seed,
        "normalisation": {n: {"mean": m, "std": s} for n, m, s in zip(names, mean.tolist(), std.tolist(), strict=True)},
        "hv_reference": {
            "normalised": corner,
            "raw": (np.array(corner) * np.where(std > 0, std, 1.0) + mean).tolist(),
            "given": reference is not None,
        },
        "policies": measures,
        "points": [_point_row(point, names, tables[point.label], shares) for point in points],
    }


def _point_row(point: Point, names: Sequence[str], table: "np.ndarray", shares: "np.ndarray") -> dict[str, Any]:
    from launch.moodpo.analysis import estimates

    found = estimates(lambda means: means[0], table[None], shares)
    scores = {name: one.as_json() for name, one in zip(names, found, strict=True)}
    weights = None if point.weights is None else list(point.weights)
    return {"label": point.label, "policy": point.policy, "kind": point.kind, "weights": weights, "scores": scores}


def _number(cell: Mapping[str, Any]) -> str:
    if cell["value"] is None:
        return "not defined"
    ends = "" if cell["low"] is None else f" ({significant(cell['low'], 3)}, {significant(cell['high'], 3)})"
    return f"{significant(cell['value'], 3)}{ends}"


def write_markdown(summary: Mapping[str, Any]) -> str:
    """Two tables, policies and points, with 95% intervals in brackets."""
    names = summary["objectives"]
    raw = ", ".join(f"{n} {significant(v, 4)}" for n, v in zip(names, summary["hv_reference"]["raw"], strict=True))
    head = policy_columns(names)
    rows = [
        [
            name, m["kind"], str(m["points"]), _number(m["hypervolume"]), _number(m["mean_inner_product"]),
            "" if m["dispersion"] is None else significant(m["dispersion"], 3),
            *([""] * len(names) if m["spearman"] is None else map(_number, m["spearman"])),
        ]
        for name, m in summary["policies"].items()
    ]  # fmt: skip
    about = (
        f"{summary['prompts']} prompts, {summary['samples']} answers each; 95% bootstrap intervals over prompts in "
        "brackets. Hypervolume, mean inner product and dispersion are in standard deviations of the untouched model's "
        f"scores; the hypervolume is above the reference point ({raw})."
    )
    points = [
        ["point", *names],
        *([row["label"], *(_number(row["scores"][name]) for name in names)] for row in summary["points"]),
    ]
    return f"{about}\n\n{markdown([head, *rows])}\n{markdown(points)}"


def table_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `summary.csv`, one a point: label, policy, kind, a weight, mean, low and high of each objective."""
    names, ends = summary["objectives"], {"mean": "value", "low": "low", "high": "high"}
    return [
        {
            **{key: row[key] for key in ("label", "policy", "kind")},
            **{f"weight_{name}": w for name, w in zip(names, row["weights"] or [None] * len(names), strict=True)},
            **{f"{name}_{end}": row["scores"][name][key] for name in names for end, key in ends.items()},
        }
        for row in summary["points"]
    ]


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("pareto-draw", __doc__)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the --out of `pareto`")
    parser.add_argument(
        "--hv_reference", metavar="X,Y,...", help="raw scores (default: the worst means minus a tenth of their range)"
    )
    parser.add_argument("--resamples", type=positive_integer, default=1000, help="resamples of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--title", default="What conditioning on weights buys", help="title of the picture")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when picture and tables are written."""
    options = make_parser().parse_args(argv)
    reference = None
    if options.hv_reference is not None:
        reference = [parse_number(part, "--hv_reference") for part in options.hv_reference.split(",")]
    names, vectors, points = read_points(options.out)
    tables, left_out = read_tables(options.out, names, points)
    summary = build_summary(
        names, vectors, points, tables, reference=reference, resamples=options.resamples, seed=options.seed
    )
    summary["prompts_left_out"] = left_out
    picture = draw(summary, options.title)
    write_json(options.out / "summary.json", summary)
    table = table_rows(summary)
    write_csv(options.out / "summary.csv", list(table[0]), table)
    write_text(options.out / "summary.md", write_markdown(summary))
    write_bytes(options.out / "pareto.png", picture)
    shapes = (draw(summary, "", narrow) for narrow in (False, True))
    write_text(options.out / "pareto.html", render_page(summary, options.title, *shapes))
    print(write_markdown(summary), end="")
    if left_out:
        print(f"{left_out} prompts left out: a score of some answer is not finite")
    return 0
