"""The page of `pareto`: its picture, and what each policy and each point reaches."""

from collections.abc import Mapping, Sequence
from typing import Any

from launch.common.page import document, estimate, heading, joined, number, paragraph, picture, table


def policy_columns(names: Sequence[str]) -> list[str]:
    """Heads of the table of policies, here and in `summary.md`."""
    return [
        "policy",
        "kind",
        "points",
        "hypervolume",
        "mean inner product",
        "dispersion",
        *(f"Spearman {n}" for n in names),
    ]


def render_page(summary: Mapping[str, Any], title: str, wide: bytes, narrow: bytes) -> str:
    """The whole page.

    Args:
        summary: what `pareto-draw` writes to `summary.json`.
        wide, narrow: PNG without a title, for either shape of a window.
    """
    names = summary["objectives"]
    policies = [
        [name, one["kind"], str(one["points"]), estimate(one["hypervolume"]), estimate(one["mean_inner_product"]),
         "" if one["dispersion"] is None else number(one["dispersion"]),
         *([""] * len(names) if one["spearman"] is None else map(estimate, one["spearman"]))]
        for name, one in summary["policies"].items()
    ]  # fmt: skip
    corner = ", ".join(f"{n} = {number(v)}" for n, v in zip(names, summary["hv_reference"]["raw"], strict=True))
    points = [[row["label"], *(estimate(row["scores"][name]) for name in names)] for row in summary["points"]]
    body = [
        picture(f"Scores of {', '.join(names)}, one colour a policy; numbers in the tables below", wide, narrow),
        heading("Policies"),
        table(policy_columns(names), policies),
        paragraph(
            "Hypervolume, mean inner product and dispersion are in standard deviations of the untouched model's scores; the "
            f"hypervolume is above the reference point ({corner})."
        ),
        heading("Points"),
        table(("point", *names), points),
    ]
    if left_out := summary["prompts_left_out"]:
        body.append(paragraph(f"{left_out} prompts left out: a score of some answer is not finite."))
    subtitle = f"Means of {summary['prompts']} prompts, {summary['samples']} answers each; 95% bootstrap intervals over prompts."
    return document(title, subtitle, joined(body))
