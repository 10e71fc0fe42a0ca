"""What a finished collection leaves: a row for each pair, and a summary."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from datasets_builders.comparisons import Comparison, digest_of
from datasets_builders.shares import wilson_interval
from datasets_builders.teacher.requests import Item

if TYPE_CHECKING:
    from datasets_builders.teacher.collect import Findings


def result_rows(
    comparisons: Sequence[Comparison],
    items: Sequence[Item],
    findings: "Findings",
    failed: Mapping[str, str],
    common: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """A row for each comparison.

    Args:
        failed: items without an answer in this run, with the reason.
        common: fields that all rows share, such as the name of the prompt.

    Returns:
        Rows with ``scores`` of side 0 and side 1, each the mean of the votes that have one or None, and ``reasons``,
        each that of the vote nearest to the mean; ``correct`` is null where a score is missing, and false for a draw.
        With several votes all of them stand under ``votes``.
    """
    of_pair: list[list[Item]] = [[] for _ in comparisons]
    for item in items:
        of_pair[item.pair].append(item)
    pairs = zip(comparisons, of_pair, strict=True)
    return [_row(comparison, asked, findings, failed, common) for comparison, asked in pairs]


def _row(
    comparison: Comparison,
    asked: Sequence[Item],
    findings: "Findings",
    failed: Mapping[str, str],
    common: Mapping[str, Any],
) -> dict[str, Any]:
    votes = [_vote([item for item in asked if item.vote == vote], findings) for vote in range(1 + asked[-1].vote)]
    scores, reasons = zip(*(_combined(votes, side) for side in (0, 1)), strict=True)
    unscored = {
        failed.get(item.key) or findings.problems[item.key] for item in asked if item.key not in findings.verdicts
    }
    row = {
        "index": comparison.index,
        "digest": digest_of(comparison),
        **common,
        "context": comparison.context,
        "responses": list(comparison.responses),
        "preferred": comparison.preferred,
        "scores": list(scores),
        "reasons": list(reasons),
        "correct": None if None in scores else scores[comparison.preferred] > scores[1 - comparison.preferred],
        "order": votes[0]["order"],
        "attempts": sum(findings.attempts[item.key] for item in asked),
        "error": "; ".join(sorted(unscored)) or None,
    }
    return row if len(votes) == 1 else row | {"votes": votes}


def _vote(items: Sequence[Item], findings: "Findings") -> dict[str, Any]:
    scores: list[float | None] = [None, None]
    reasons = ["", ""]
    for item in items:
        verdict = findings.verdicts.get(item.key)
        if verdict is not None:
            for side, score, reason in zip(item.sides, verdict.scores, verdict.reasons, strict=True):
                scores[side], reasons[side] = score, reason
    pairwise = len(items[0].sides) == 2
    order = None if not pairwise else "s0_first" if items[0].sides == (0, 1) else "s0_second"
    return {"scores": scores, "reasons": reasons, "order": order}


def _combined(votes: Sequence[Mapping[str, Any]], side: int) -> tuple[float | None, str]:
    given = [(vote["scores"][side], vote["reasons"][side]) for vote in votes if vote["scores"][side] is not None]
    if not given:
        return None, ""
    mean = fmean(score for score, _ in given)
    return mean, min(given, key=lambda one: abs(one[0] - mean))[1]


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of the rows, and how often the teacher agrees with the people who labelled the pairs."""
    scored = [row for row in rows if row["correct"] is not None]
    ties = sum(row["scores"][0] == row["scores"][1] for row in scored)
    correct = sum(row["correct"] for row in scored)
    return {
        "n_pairs": len(rows),
        "scored": len(scored),
        "correct": correct,
        "ties": ties,
        "accuracy_ties_half": _share(correct + ties / 2, len(scored)),
        "accuracy_strict": _share(correct, len(scored)),
    }


def _share(successes: float, n: int) -> dict[str, Any] | None:
    if not n:
        return None
    low, high = wilson_interval(successes, n)
    return {"value": successes / n, "low": low, "high": high, "n": n}
