"""Two runs on the same prompts: new minus old, answer by answer. Pure functions of score rows.

Shapes: P prompts. An answer is known by its prompt's hash and its occurrence among the answers to that prompt, in the
order of the samples. Intervals resample prompts, whole.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from launch.common.statistics import paired_difference
from launch.scores.score_files import LENGTHS, Rows

Answers = dict[str, dict[int, dict[str, Any]]]


class Pairing(NamedTuple):
    """Answers that both runs have, prompt by prompt, and the keys `hash:occurrence` that one run alone has."""

    both: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]
    only_old: list[str]
    only_new: list[str]

    @property
    def unpaired_share(self) -> float:
        """Share of all keys that one run alone has."""
        unpaired = len(self.only_old) + len(self.only_new)
        return unpaired / (unpaired + sum(len(old) for old, _ in self.both))


def by_occurrence(rows: Rows) -> Answers:
    """prompt hash -> occurrence, counted from 0 in the order of the samples -> row."""
    prompts: dict[str, list[int]] = defaultdict(list)
    for prompt, sample in rows:
        prompts[prompt].append(sample)
    return {
        prompt: {place: rows[prompt, sample] for place, sample in enumerate(sorted(samples))}
        for prompt, samples in prompts.items()
    }


def pair_answers(old: Rows, new: Rows, prompts: set[str] | None = None) -> Pairing:
    """Answers of the same prompt and occurrence side by side, in the order of the old run.

    Args:
        prompts: only these; None: all.
    """
    ours, theirs = by_occurrence(old), by_occurrence(new)
    both, only = [], {"old": [], "new": []}
    for prompt in dict.fromkeys([*ours, *theirs]):
        if prompts is not None and prompt not in prompts:
            continue
        first, second = ours.get(prompt, {}), theirs.get(prompt, {})
        only["old"] += [f"{prompt}:{place}" for place in first if place not in second]
        only["new"] += [f"{prompt}:{place}" for place in second if place not in first]
        if shared := sorted(first.keys() & second.keys()):
            both.append(([first[place] for place in shared], [second[place] for place in shared]))
    return Pairing(both, only["old"], only["new"])


def metrics_of(*tables: Rows) -> tuple[list[str], list[str]]:
    """(metrics that every table has, scores that some have): shared scores in order, then the lengths."""
    scored = [next(iter(table.values()))["scores"] for table in tables]
    shared = [name for name in scored[0] if all(name in names for names in scored)]
    others = sorted({name for names in scored for name in names} - set(shared))
    rows = [next(iter(table.values())) for table in tables]
    return shared + [name for name in LENGTHS if all(name in row for row in rows)], others


def compare(pairing: Pairing, metrics: Sequence[str], seed: int = 0, resamples: int = 5000) -> list[dict[str, Any]]:
    """One row a metric: `metric, prompts, old, new` (means), `difference` of the means, new minus old, its 95% paired
    bootstrap interval `low, high`, and `excludes_zero`.

    Raises:
        ValueError: no answers, or a score that is missing.
    """
    rows = []
    for metric in metrics:
        old, new = ([_mean(answers, metric) for answers in side] for side in zip(*pairing.both, strict=True))
        estimate = paired_difference(new, old, seed, resamples)
        means = {"old": sum(old) / len(old), "new": sum(new) / len(new)}
        interval = {"difference": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append(
            {"metric": metric, "prompts": estimate.n, **means, **interval, "excludes_zero": estimate.excludes(0)}
        )
    return rows


def _mean(answers: Sequence[Mapping[str, Any]], metric: str) -> float:
    values = [answer[metric] if metric in LENGTHS else answer["scores"][metric] for answer in answers]
    if None in values:
        raise ValueError(f"prompt {answers[0]['prompt_id']}: no score {metric!r}")
    return sum(values) / len(values)
