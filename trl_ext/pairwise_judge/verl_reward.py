"""The judge's reward for verl, named by the path of this file and `compute_score` (which key: docs/pairwise_judge.md).

verl loads this file by its path and calls `compute_score` for each answer; the package must be installed beside verl.
"""

import json
from typing import Any

from trl_ext.objectives.verdicts import check_label, is_correct, parse_verdict


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | str | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """1.0 or 0.0 as `score`, and what is logged beside it; every call returns the same keys.

    Args:
        ground_truth: A, B or tie, from the row's `reward_model.ground_truth`.
        extra_info: of the row, or its JSON text; `preference_strength` is passed on where it is there.

    Raises:
        ValueError: a truth that is no label. The reference took a tie for granted then.
    """
    info = json.loads(extra_info) if isinstance(extra_info, str) else extra_info or {}
    verdict, truth = parse_verdict(solution_str), check_label(ground_truth)
    score = is_correct(verdict, truth)
    return {
        "score": score,
        "accuracy": score,
        "acc": score,  # the name that verl's recipes filter groups by
        "predicted_preference": verdict or "none",  # verl averages numbers and passes texts over; None it cannot
        "true_preference": truth,
        "preference_strength": float(info.get("preference_strength") or 0),
        "task_type": "pairwise",
        "data_source": data_source,
    }
