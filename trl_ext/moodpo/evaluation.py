"""How well one policy follows its weights: generation for a fixed set of vectors. V vectors, N prompts, K objectives."""

from typing import TYPE_CHECKING

import numpy as np
from accelerate.utils import gather_object
from transformers.utils import logging

from trl_ext.objectives.weights import mean_inner_product, spearman

if TYPE_CHECKING:
    from .trainer import MOODPOOnlineDPOTrainer

logger = logging.get_logger(__name__)


def score_vectors(trainer: "MOODPOOnlineDPOTrainer", prompts: list) -> np.ndarray:
    """(V, 2N, K) raw scores of two answers to each prompt under each vector, the same on every rank.

    The prompts are shared out to the ranks; each takes equally many, so that all of them generate equally often, which
    sharded weights need. Sampling is seeded by the run's seed, the vector and the place of the batch: two evaluations
    of the same weights give the same scores.
    """
    ranks, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
    share = -(-len(prompts) // ranks)
    places = [place % len(prompts) for place in range(rank * share, (rank + 1) * share)]
    batch = trainer.args.per_device_eval_batch_size
    found = []
    for number, vector in enumerate(trainer.args.evaluation_vectors):
        rows = []
        for start in range(0, share, batch):
            originals = [prompts[place] for place in places[start : start + batch]]
            seed = trainer.args.seed + 1 + number + 1009 * (rank * share + start)
            completions, ids = trainer.sample(trainer.annotate(originals, [vector] * len(originals)), seed)
            lengths, _ = trainer.answer_lengths(ids)
            scores = trainer.rewards.score(originals * 2, completions, response_tokens=lengths)
            rows += list(zip(places[start : start + batch], *np.split(scores, 2), strict=True))
        found.append({place: (first, second) for place, first, second in gather_object(rows)})
    return np.array([[scores[place][side] for side in (0, 1) for place in range(len(prompts))] for scores in found])


def hypervolume(points: np.ndarray, reference: list[float]) -> float | None:
    """Volume between the reference and the (V, K) points, higher being better; None without the package moocore."""
    try:
        import moocore
    except ImportError:
        logger.warning_once("hypervolume is left out: install moocore (the extra `eval`) to have it")
        return None
    return float(moocore.hypervolume(points, ref=reference, maximise=True))


def evaluate_vectors(trainer: "MOODPOOnlineDPOTrainer", dataset, name: str) -> dict[str, float]:
    """Metrics of the raw scores, averaged over prompts and answers, under each of the run's evaluation vectors.

    `scores/<objective>/<percentages>`, `mean_inner_product`, `spearman/<objective>` between asked weight and mean score,
    and `hypervolume` of the V mean points above the worst mean of each objective at the first evaluation of the run
    under that `name` (kept in the checkpoints, so that later evaluations are measured from the same point). A measure
    that is not defined, such as the correlation of a score that never moves, is left out.
    """
    raw = score_vectors(trainer, list(dataset["prompt"]))
    vectors = np.array(trainer.args.evaluation_vectors)
    finite = np.isfinite(raw).all(axis=2)
    metrics = {"not_finite": float((~finite).mean())}
    if not finite.any(axis=1).all():
        return metrics
    points = np.stack([scores[kept].mean(axis=0) for scores, kept in zip(raw, finite, strict=True)])  # (V, K)
    for vector, point in zip(vectors, points, strict=True):
        asked = "-".join(str(round(100 * weight)) for weight in vector)
        metrics |= {f"scores/{name}/{asked}": float(point[k]) for k, name in enumerate(trainer.names)}
    metrics["mean_inner_product"] = mean_inner_product(vectors, points)
    correlations = spearman(vectors, points)
    metrics |= {f"spearman/{n}": float(c) for n, c in zip(trainer.names, correlations, strict=True) if np.isfinite(c)}
    volume = hypervolume(points, trainer.hypervolume_references.setdefault(name, points.min(axis=0).tolist()))
    return metrics if volume is None else {**metrics, "hypervolume": volume}
