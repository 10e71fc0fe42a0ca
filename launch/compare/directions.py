"""Which scores a report shows, and which of them are better when they are lower."""

from collections.abc import Mapping, Sequence

from datasets_builders.choices import nearest
from launch.scores.score_files import Rows


def minus(name: str) -> str:
    """What a score is called after its sign was turned."""
    return f"minus {name}"


def direct_scores(table: Mapping[str, Rows], shown: Sequence[str], minimise: Sequence[str]) -> dict[str, Rows]:
    """The table with the scores of `minimise` turned around and renamed by `minus`, so that higher is better for all.

    Args:
        shown: the scores to keep, by their own names, in this order; none keeps all.
        minimise: scores of which less is better.

    Raises:
        ValueError: a name that was not scored; the nearest one is offered.
    """
    scored = list(next(iter(next(iter(table.values())).values()))["scores"])
    for flag, names in (("--show", shown), ("--minimise", minimise)):
        for name in names:
            if name not in scored:
                raise ValueError(f"{flag} {name}: not scored; {nearest(name, scored)}")
    kept = list(dict.fromkeys(shown)) or scored

    def turned(scores: Mapping[str, float]) -> dict[str, float]:
        # 0 - x: the minus sign makes -0.0 of a zero.
        return {minus(name) if name in minimise else name: 0 - scores[name] if name in minimise else scores[name]
                for name in kept}  # fmt: skip

    return {
        label: {key: {**row, "scores": turned(row["scores"])} for key, row in rows.items()}
        for label, rows in table.items()
    }
