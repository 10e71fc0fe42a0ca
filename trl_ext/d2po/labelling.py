"""What happens to one window: scores, pairs, gold labels, the discriminator's update, corrected scores.

Every rank computes the same over the answers of all ranks. N prompts, n answers each; a pair is two places of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trl_ext.objectives.d2po import agreement, best_and_worst, correct_scores, select_pairs

from .discriminator_interface import Discriminator, LabelledPair
from .gold_labels import GoldLabels, Request
from .shaping import Shaping

Scores = Callable[[Sequence[str], Sequence[str]], list[float]]


class Window(NamedTuple):
    """Answers of all ranks: N prompts, (N, n) texts, (N, n) token counts and N rows of further columns."""

    prompts: list[str]
    responses: list[list[str]]
    lengths: np.ndarray
    metadata: list[dict[str, Any]]

    def flat(self) -> tuple[list[str], list[str]]:
        """(N n,) prompts and answers, answer by answer."""
        width = len(self.responses[0])
        return [p for p in self.prompts for _ in range(width)], [text for row in self.responses for text in row]


@dataclass
class Decision:
    """Which answers of each prompt are trained on, and how they are ordered.

    Attributes:
        places: (N, 2) the pair's places, ascending.
        scores: (N, 2) corrected and shaped scores of the pair, higher is better.
        weights: (N,) loss weight of the pair, 0 for a tie.
        labelled: (N,) whether gold decided.
        metrics: by name.
    """

    places: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    labelled: np.ndarray
    metrics: dict[str, float]


def score_all(window: Window, scores: Scores) -> np.ndarray:
    """(N, n) scores of a window.

    Raises:
        ValueError: a score that is not finite.
    """
    values = np.array(scores(*window.flat()), float).reshape(len(window.prompts), -1)
    if not np.isfinite(values).all():
        row, place = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"the score {values[row, place]} of {window.responses[row][place]!r:.80} is not finite")
    return values


def decide_by_gold(window: Window, gold: GoldLabels, shaping: Shaping, where: dict[str, int]) -> Decision:
    """OPO with gold: every prompt's answers are labelled; prompts that the budget does not reach train nothing."""
    found = gold.get(
        [Request(*row) for row in zip(window.prompts, window.responses, window.metadata, strict=True)], where
    )
    bought = np.array([row is not None for row in found])
    scores = np.array([row or [0.0] * len(window.responses[0]) for row in found])
    words = shaping.observe(scores, window.responses)
    decision = _pair_up(window, scores, shaping, words)
    decision.weights *= bought
    decision.labelled[:] = bought
    decision.metrics |= {
        "labels": float(gold.spent),
        "labelled": float(bought.mean()),
        "label_ties": share_tied(scores[bought]),
    }
    return decision


def decide_by_scores(window: Window, scores: np.ndarray, shaping: Shaping) -> Decision:
    """OPO with a fixed reward model: (N, n) scores decide, nothing is bought."""
    words = shaping.observe(scores, window.responses)
    return _pair_up(window, scores, shaping, words)


def decide_with_labels(
    window: Window,
    scores: np.ndarray,
    shaping: Shaping,
    gold: GoldLabels,
    *,
    budget: int,
    selection: str,
    generator: np.random.Generator,
    discriminator: Discriminator | None,
    number: int,
    where: dict[str, int],
) -> Decision:
    """D2PO: buy `budget` labels for pairs of the whole window, train the discriminator on them, score the rest anew.

    Args:
        scores: (N, n) of the discriminator, or of the policy itself.
        budget, selection, generator: see `select_pairs`.
        discriminator: trained on the labels if given, which scores the window anew; None leaves the scores as they are.
        number: updates of the discriminator so far.
        where: noted beside each label.
    """
    words = shaping.observe(scores, window.responses)
    before = _pair_up(window, scores, shaping, words)
    pairs = [[row[place] for place in places] for row, places in zip(window.responses, before.places, strict=True)]
    # Answers that read the same have the same gold: a label would say nothing.
    eligible = np.array([first != second for first, second in pairs])
    raw = np.take_along_axis(scores, before.places, axis=1)
    wanted = select_pairs(np.abs(raw[:, 0] - raw[:, 1]), budget, selection, generator, eligible)
    found = gold.get([Request(window.prompts[i], pairs[i], window.metadata[i]) for i in wanted], where)
    chosen = [int(index) for index, label in zip(wanted, found, strict=True) if label is not None]
    golds = np.array([label for label in found if label is not None], float).reshape(-1, 2)
    after, trained = scores, {}
    learnt = [
        _labelled(window.prompts[i], pairs[i], label)
        for i, label in zip(chosen, golds, strict=True)
        if label[0] != label[1]
    ]
    if discriminator is not None and learnt:
        trained = discriminator.update(learnt, number)
        after = score_all(window, discriminator.score)
    decision = _pair_up(window, after, shaping, words)
    decision.places[chosen] = before.places[chosen]
    corrected = after.copy()
    for index, label in zip(chosen, golds, strict=True):
        places = before.places[index]
        corrected[index, places] = correct_scores(after[index, places][None], label[None])[0]
    shaped = shaping.apply(corrected, window.responses, window.lengths, words)
    decision.scores = np.take_along_axis(shaped, decision.places, axis=1)
    decision.weights = (decision.scores[:, 0] != decision.scores[:, 1]).astype(float)
    decision.labelled[chosen] = True
    decision.metrics = {
        "labels": float(gold.spent),
        "labelled": float(decision.labelled.mean()),
        "label_ties": share_tied(golds),
        "updates": float(number + bool(trained)),
        "accuracy_before": agreement(raw[chosen], golds),
        "ties": float((decision.weights == 0).mean()),
        **{f"discriminator_{name}": value for name, value in trained.items()},
    }
    truth = gold.peek(*window.flat(), [row for row in window.metadata for _ in window.responses[0]])
    if truth is not None:
        truth = truth.reshape(scores.shape)
        rest = ~decision.labelled
        of_pairs = [np.take_along_axis(values, decision.places, axis=1)[rest] for values in (after, truth)]
        decision.metrics["silver_gold_agreement"] = agreement(*of_pairs)
    return decision


def share_tied(golds: np.ndarray) -> float:
    """Share of the (L, n) rows of gold whose scores are all equal: labels that are paid for and say nothing; NaN for L = 0."""
    return float((golds.max(axis=1) == golds.min(axis=1)).mean()) if len(golds) else float("nan")


def _pair_up(window: Window, scores: np.ndarray, shaping: Shaping, words: np.ndarray) -> Decision:
    shaped = shaping.apply(scores, window.responses, window.lengths, words)
    places, tied = best_and_worst(shaped)
    weights = (~tied).astype(float)
    metrics = {"ties": float(tied.mean())}
    return Decision(places, np.take_along_axis(shaped, places, axis=1), weights, np.zeros(len(tied), bool), metrics)


def _labelled(prompt: str, pair: Sequence[str], gold: np.ndarray) -> LabelledPair:
    best = int(gold[1] > gold[0])
    return LabelledPair(prompt, pair[best], pair[1 - best], float(abs(gold[0] - gold[1])))
