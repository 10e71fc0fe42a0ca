"""JudgeBench (arXiv:2410.12784; https://huggingface.co/datasets/ScalerLab/JudgeBench, splits `gpt` 350, `claude` 270).

A row has `question`, `response_A`, `response_B`, `label` (`A>B` or `B>A`) and `source`, whose beginning names one of
four kinds of question. The published order is the original one. The authors' rule
(github.com/ScalerLab/JudgeBench @ e2c52c2, utils/metrics.py, `compute_final_metrics`) is followed: of the decisions in
both orders, each one that is the label adds 1, each that is the opposite takes 1 away, a tie or no decision is 0; the
pair is correct above 0, incorrect below, and undecided at 0. Accuracy is the share of correct pairs, so a judge that
always says A has 0.

What differs: a row whose replies have the same text is left out and counted (one of `claude`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets_builders.fields import RowError, require, require_text
from datasets_builders.judging.rows import PairToJudge
from launch.common.statistics import Summary, mean_of_means, share
from launch.judge.benchmarks.base import Benchmark, JudgedPair
from trl_ext.objectives.verdicts import swap_label

HUB_NAME = "ScalerLab/JudgeBench"
LABELS = {"A>B": "A", "B>A": "B"}
# Beginning of `source` -> kind of question, as in table 1 of the paper.
KINDS = {"mmlu-pro": "knowledge", "livebench-reasoning": "reasoning", "livebench-math": "math",
         "livecodebench": "coding"}  # fmt: skip


def read(row: Mapping[str, Any]) -> list[PairToJudge]:
    """The one pair of a row; its subset is the kind of question.

    Raises:
        RowError: a field that cannot be used, another label, or a source of none of the kinds.
    """
    label, source = require(row, "label"), require_text(row, "source")
    if label not in LABELS:
        raise RowError("unknown_label", f"label must be A>B or B>A, found {label!r}")
    kind = next((kind for beginning, kind in KINDS.items() if source.startswith(beginning)), None)
    if kind is None:
        raise RowError("unknown_source", f"source must begin with one of {', '.join(KINDS)}; found {source!r}")
    conversation = ({"role": "user", "content": require_text(row, "question")},)
    responses = require_text(row, "response_A"), require_text(row, "response_B")
    return [PairToJudge(conversation, responses, LABELS[label], subset=kind, source=HUB_NAME)]


def balance(judged: JudgedPair) -> int:
    """Right minus wrong votes over both orders, from -2 to 2."""
    rows = (judged.original, judged.swapped)
    return sum((row.vote == row.ground_truth) - (row.vote == swap_label(row.ground_truth)) for row in rows)


def score(items: Sequence[list[JudgedPair]], seed: int) -> Summary:
    """Accuracy over all pairs (micro: the headline), by kind of question, and their mean (macro).

    Intervals: Wilson, pairs being independent; for the macro mean a bootstrap of the pairs of each kind.
    """
    kinds: dict[str, list[int]] = {}
    for (judged,) in items:
        kinds.setdefault(judged.pair.subset, []).append(balance(judged))
    balances = [value for part in kinds.values() for value in part]
    by_kind = {kind: _share_of(kinds[kind]) for kind in sorted(kinds)}
    macro = mean_of_means([[float(value > 0) for value in kinds[kind]] for kind in sorted(kinds)], seed).as_json()
    return {
        "headline": {"overall": _share_of(balances), "mean of the kinds": macro, **by_kind},
        "micro_accuracy": _share_of(balances),
        "macro_accuracy": macro,
        "by_subset": by_kind,
        "correct": sum(value > 0 for value in balances),
        "undecided": sum(value == 0 for value in balances),
        "incorrect": sum(value < 0 for value in balances),
    }


def _share_of(balances: Sequence[int]) -> Summary:
    return share(sum(value > 0 for value in balances), len(balances)).as_json()


BENCHMARK = Benchmark("judgebench", HUB_NAME, ("gpt", "claude"), read, score, has_order=True)
