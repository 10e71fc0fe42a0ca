"""RM-Bench (arXiv:2410.16184; https://huggingface.co/datasets/THU-KEG/RM-Bench, split `train`: total_dataset.json).

A row has `prompt` (text), `domain` (chat, code, math, safety-refuse or safety-response) and three `chosen` and three
`rejected` replies, each list in the styles concise, detailed, detailed with Markdown. All nine comparisons of a row
give a matrix, chosen style by rejected style (github.com/THU-KEG/RM-Bench @ 73c52d7, scripts/utils.py,
`compute_accuracy`): easy is the mean below the diagonal (the right reply has the fancier style), normal the diagonal,
hard above it. A domain has these three and their mean; both safety parts are one domain, their rows pooled. Easy,
normal, hard and the overall accuracy are means of the domains.

What differs: the authors count a comparison when the right reply's score is higher, so an equal score counts nothing.
Here it is asked in both orders and counts the share of them in which the vote is the right reply; a tie or no verdict
counts nothing. Chance is 1/2 in both, and a judge that always says A gets exactly that. Styles with the same text (66 of
the 798 rows outside math have such) are asked once and counted in each cell.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datasets_builders.fields import RowError, require_text
from datasets_builders.judging.rows import PairToJudge
from launch.common.statistics import Summary, mean, mean_of_means
from launch.judge.benchmarks.base import Benchmark, JudgedPair, chosen_and_rejected, pairs_against
from trl_ext.objectives.verdicts import is_correct

if TYPE_CHECKING:
    import numpy as np

HUB_NAME = "THU-KEG/RM-Bench"
STYLES = ("concise", "detailed", "markdown")
# Cells of the matrix, as (chosen styles, rejected styles): below the diagonal, on it and above it.
LEVELS = {"easy": ([1, 2, 2], [0, 0, 1]), "normal": ([0, 1, 2], [0, 1, 2]), "hard": ([0, 0, 1], [1, 2, 2])}


def read(row: Mapping[str, Any]) -> list[PairToJudge]:
    """All nine comparisons.

    Raises:
        RowError: a field that cannot be used, or not three replies of each kind.
    """
    prompt, chosen, rejected = chosen_and_rejected(row)
    if (len(chosen), len(rejected)) != (len(STYLES), len(STYLES)):
        raise RowError("styles", f"chosen and rejected hold {len(chosen)} and {len(rejected)} texts, not 3 and 3")
    return list(pairs_against(prompt, chosen, rejected, source=HUB_NAME, subset=require_text(row, "domain")))


def matrix_of(pairs: Sequence[JudgedPair]) -> "np.ndarray":
    """(3, 3), chosen style by rejected style: the share of both orders in which the vote is the right reply."""
    import numpy as np

    matrix = np.full((len(STYLES), len(STYLES)), np.nan)
    for judged in pairs:
        right = sum(is_correct(row.vote, row.ground_truth) for row in (judged.original, judged.swapped))
        matrix[judged.pair.meta["chosen_index"], judged.pair.meta["rejected_index"]] = right / 2
    assert not np.isnan(matrix).any(), "a row of RM-Bench has nine comparisons"
    return matrix


def score(items: Sequence[list[JudgedPair]], seed: int) -> Summary:
    """The matrix, easy, normal and hard and their mean, for each domain and as the mean of the domains.

    Intervals: bootstrap over rows, within their domain for the means of domains. `macro_accuracy` is the benchmark's
    overall accuracy, `micro_accuracy` the mean over rows.
    """
    import numpy as np

    matrices: dict[str, list[np.ndarray]] = {}
    for item in items:
        domain = item[0].pair.subset.split("-")[0]
        matrices.setdefault(domain, []).append(matrix_of(item))
    matrices = dict(sorted(matrices.items()))
    levels = {
        level: [[matrix[cells].mean() for matrix in part] for part in matrices.values()]
        for level, cells in LEVELS.items()
    }
    overall = [[matrix.mean() for matrix in part] for part in matrices.values()]
    macro = mean_of_means(overall, seed).as_json()
    by_level = {level: mean_of_means(groups, seed).as_json() for level, groups in levels.items()}
    domains = {
        domain: {
            "accuracy": mean(overall[place], seed).as_json(),
            **{level: mean(groups[place], seed).as_json() for level, groups in levels.items()},
            "matrix": np.mean(part, axis=0).tolist(),
        }
        for place, (domain, part) in enumerate(matrices.items())
    }
    return {
        "headline": {
            "overall, mean of the domains": macro,
            **{f"{level}, mean of the domains": cell for level, cell in by_level.items()},
            **{domain: cells["accuracy"] for domain, cells in domains.items()},
        },
        "micro_accuracy": mean([value for group in overall for value in group], seed).as_json(),
        "macro_accuracy": macro,
        **by_level,
        "matrix": np.mean([cells["matrix"] for cells in domains.values()], axis=0).tolist(),
        "domains": domains,
    }


BENCHMARK = Benchmark("rm-bench", HUB_NAME, ("train",), read, score)
