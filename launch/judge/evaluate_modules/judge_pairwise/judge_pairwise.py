"""A metric of the `evaluate` library: how often a judge names the better of two replies, in both orders."""

import datasets
import evaluate

import launch.judge.metrics
import launch.judge.verdicts

_DESCRIPTION = """
Accuracy, agreement between both orders and position bias of a judge of pairs. A row is one order of a pair; its labels
are A (the reply shown first), B or tie, in that order. None stands for an answer without a verdict.
"""

_KWARGS_DESCRIPTION = """
Args:
    pair_ids (`list[str]`): the same for both orders of a pair.
    sides (`list[int]`): 0 for the original order, 1 for the swapped one.
    verdicts (`list[list[str | None]]`): one for each answer on a row; the most frequent one counts.
    references (`list[str | None]`): the better reply; None where nobody has said.
    seed (`int`): of the bootstrap intervals. Defaults to 0.
Returns:
    The dictionary of `launch.judge.metrics.evaluate_rows`. Shares are dictionaries with `value`, the ends `low` and
    `high` of a 95% interval, and `n`; what is undefined is None.
Examples:
    >>> metric = evaluate.load(str(importlib.resources.files("launch.judge.evaluate_modules") / "judge_pairwise"))
    >>> rows = {"pair_ids": ["p", "p"], "sides": [0, 1], "verdicts": [["A"], ["A"]], "references": ["A", "B"]}
    >>> metric.compute(**rows)["position_bias"]["value"]
    1.0
"""


class JudgePairwise(evaluate.Metric):
    """See `_DESCRIPTION` and `_KWARGS_DESCRIPTION`."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = {
            "pair_ids": text,
            "sides": datasets.Value("int64"),
            "verdicts": datasets.Sequence(text),
            "references": text,
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(features),
        )

    def _compute(self, pair_ids, sides, verdicts, references, seed=0):
        rows = zip(pair_ids, sides, references, verdicts, strict=True)
        judged = [
            launch.judge.verdicts.JudgedRow(pair_id, side, truth, None, "", tuple(said))
            for pair_id, side, truth, said in rows
        ]
        return launch.judge.metrics.evaluate_rows(judged, seed)
