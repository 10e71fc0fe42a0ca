"""A metric of the `evaluate` library: how well scores tell the preferred reply of a pair from the other."""

import datasets
import evaluate

import launch.bt.metrics
import launch.bt.scored

_DESCRIPTION = """
Accuracy, ties, parse rate and Bradley-Terry loss of a reward model on pairs of replies. A reply may have several
sampled scores; the mean of those that could be parsed counts, and None stands for one that could not.
"""

_KWARGS_DESCRIPTION = """
Args:
    first (`list[list[float | None]]`): sampled scores of the first reply of each pair.
    second (`list[list[float | None]]`): sampled scores of the second reply of each pair.
    references (`list[int]`): the preferred reply, 0 or 1.
    bt_temp (`float`): points of the scale for one unit of log-odds. Defaults to 1.
    require_all_samples (`bool`): one sample that could not be parsed voids its pair. Defaults to False.
    seed (`int`): of the bootstrap intervals. Defaults to 0.
Returns:
    The dictionary of `launch.bt.metrics.evaluate_pairs`. Rates and means are dictionaries with `value`, the ends `low`
    and `high` of a 95% interval, and `n`; what is undefined is None.
Examples:
    >>> metric = evaluate.load(str(importlib.resources.files("launch.bt.evaluate_modules") / "bt_pairwise"))
    >>> result = metric.compute(first=[[80.0], [40.0]], second=[[60.0], [70.0]], references=[0, 1], bt_temp=20)
    >>> result["accuracy"]["value"]
    1.0
"""


class BTPairwise(evaluate.Metric):
    """See `_DESCRIPTION` and `_KWARGS_DESCRIPTION`."""

    def _info(self) -> evaluate.MetricInfo:
        scores = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"first": scores, "second": scores, "references": datasets.Value("int64")}),
        )

    def _compute(self, first, second, references, bt_temp=1.0, require_all_samples=False, seed=0):
        sides = zip(first, second, references, strict=True)
        pairs = [launch.bt.scored.ScoredPair(label, (tuple(one), tuple(two))) for one, two, label in sides]
        return launch.bt.metrics.evaluate_pairs(
            pairs, bt_temp=bt_temp, require_all_samples=require_all_samples, seed=seed
        )
