"""How well one policy follows its weights: generation for a fixed set of vectors. V vectors, N prompts, K objectives."""

from collections.abc import Callable, Sequence

import numpy as np
from transformers.utils import logging

from trl_ext.objectives.weights import mean_inner_product, spearman
from trl_ext.online_dpo.evaluation import sample_all
from trl_ext.online_dpo.trainer import OnlineTrainer

from .rewards import RewardBundle

logger = logging.get_logger(__name__)


def score_vectors(
    trainer: OnlineTrainer,
    rewards: RewardBundle,
    annotate: Callable[[list, list[tuple[float, ...]]], list],
    prompts: list,
    vectors: Sequence[tuple[float, ...]],
) -> np.ndarray:
    """(V, 2N, K) raw scores of two answers to each prompt under each vector, the same on every rank.

    Args:
        annotate: prompts and their weights -> the prompts with the weights written into them.
    """

    def score(places: list[int], completions: list, ids: list[list[int]]) -> np.ndarray:
        lengths, _ = trainer.answer_lengths(ids)
        return rewards.score([prompts[place] for place in places] * 2, completions, response_tokens=lengths)

    found = []
    for number, vector in enumerate(vectors):
        asked = annotate(prompts, [vector] * len(prompts))
        rows = sample_all(trainer, asked, trainer.args.seed + 1 + number, score)
        found.append([scores[side] for side in (0, 1) for scores in rows])
    return np.array(found)


def hypervolume(points: np.ndarray, reference: list[float]) -> float | None:
    """Volume between the reference and the (V, K) points, higher being better; None without the package moocore."""
    try:
        import moocore
    except ImportError:
        logger.warning_once("hypervolume is left out: install moocore (the extra `eval`) to have it")
        return None
    return float(moocore.hypervolume(points, ref=reference, maximise=True))


def vector_metrics(
    raw: np.ndarray, vectors: np.ndarray, names: Sequence[str], references: dict[str, list[float]], name: str
) -> dict[str, float]:
    """Metrics of the raw scores, averaged over prompts and answers, under each of the vectors.

    `scores/<objective>/<percentages>`, `mean_inner_product`, `spearman/<objective>` between asked weight and mean score,
    and `hypervolume` of the V mean points above the worst mean of each objective at the first evaluation of the run
    under that `name` (kept in the checkpoints, so that later evaluations are measured from the same point). A measure
    that is not defined, such as the correlation of a score that never moves, is left out.

    Args:
        raw: (V, 2N, K) of `score_vectors`.
        vectors: (V, K)
        names: of the objectives.
        references: by the name of an evaluation, where its hypervolume is measured from; a first one is put in.
    """
    finite = np.isfinite(raw).all(axis=2)
    metrics = {"not_finite": float((~finite).mean())}
    if not finite.any(axis=1).all():
        return metrics
    points = np.stack([scores[kept].mean(axis=0) for scores, kept in zip(raw, finite, strict=True)])  # (V, K)
    for vector, point in zip(vectors, points, strict=True):
        asked = "-".join(str(round(100 * weight)) for weight in vector)
        metrics |= {f"scores/{name}/{asked}": float(point[k]) for k, name in enumerate(names)}
    metrics["mean_inner_product"] = mean_inner_product(vectors, points)
    correlations = spearman(vectors, points)
    metrics |= {f"spearman/{n}": float(c) for n, c in zip(names, correlations, strict=True) if np.isfinite(c)}
    volume = hypervolume(points, references.setdefault(name, points.min(axis=0).tolist()))
    return metrics if volume is None else {**metrics, "hypervolume": volume}
