"""Decisions of D2PO over a window of N prompts with n answers each (Singhal et al., arXiv 2405.01511, algorithm 1).

Scores are higher-is-better. A pair is two places in a row of answers, the lower place first.
"""

import numpy as np

SELECTIONS = ("confidence", "random", "stratified", "clear")


def best_and_worst(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best against the worst answer of every prompt.

    Args:
        scores: (N, n) with n >= 2; the first of equal scores counts.

    Returns:
        (N, 2) places of the pair, ascending, and (N,) whether all answers of the prompt are tied: such a pair, the
        first two answers, must train nothing.
    """
    best, worst = scores.argmax(axis=1), scores.argmin(axis=1)
    tied = best == worst
    worst = np.where(tied, (best + 1) % scores.shape[1], worst)
    return np.sort(np.stack([best, worst], axis=1), axis=1), tied


def select_pairs(
    gaps: np.ndarray, budget: int, selection: str, generator: np.random.Generator, eligible: np.ndarray | None = None
) -> np.ndarray:
    """The pairs of a whole window that gold labels are spent on, at most `budget` of them.

    Args:
        gaps: (N,) absolute differences of the two scores of each pair.
        budget: labels that may be spent on this window.
        selection: `confidence` takes the least certain, that is the smallest gaps (of equal ones the earlier);
            `random` any; `stratified` one at random out of each of `budget` equally large groups by gap; `clear` the
            largest gaps, which gold ties least often, though they correct the scores least too.
        generator: of `random` and `stratified`.
        eligible: (N,) pairs that may be labelled; None is all.

    Returns:
        Their indices, in the order in which labels are bought.

    Raises:
        ValueError: an unknown selection.
    """
    candidates = np.flatnonzero(np.ones(len(gaps), bool) if eligible is None else eligible)
    count = min(budget, len(candidates))
    if selection == "random":
        return generator.permutation(candidates)[:count]
    ordered = candidates[np.argsort(gaps[candidates], kind="stable")]
    if selection == "confidence":
        return ordered[:count]
    if selection == "clear":
        return ordered[::-1][:count]
    if selection == "stratified":
        return np.array([generator.choice(group) for group in np.array_split(ordered, count)] if count else [], int)
    raise ValueError(f"selection is {selection!r}: valid are {list(SELECTIONS)}")


def correct_scores(scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """The two scores of labelled pairs, exchanged where gold disagrees: gold's winner has the larger one.

    Args:
        scores: (L, 2) of the discriminator.
        gold: (L, 2) gold scores. Where they are equal the label says nothing and the scores stay.

    Returns:
        (L, 2). Equal scores of a pair that gold decides are set a small step apart, so that its label is not lost.
    """
    high, low = scores.max(axis=1), scores.min(axis=1)
    # 2^-10 of the score survives float32 and the addition of shaping terms of the same size.
    high = np.where(high == low, high + np.maximum(np.abs(high), 1.0) * 2.0**-10, high)
    first_wins, second_wins = gold[:, 0] > gold[:, 1], gold[:, 0] < gold[:, 1]
    corrected = np.where(first_wins[:, None], np.stack([high, low], axis=1), np.stack([low, high], axis=1))
    return np.where((first_wins | second_wins)[:, None], corrected, scores)


def agreement(scores: np.ndarray, gold: np.ndarray) -> float:
    """Share of (N, 2) pairs that are ordered as by gold; pairs tied in gold are left out, a tied score is half right.

    NaN when no pair is left.
    """
    decided = gold[:, 0] != gold[:, 1]
    if not decided.any():
        return float("nan")
    product = (np.sign(scores[:, 0] - scores[:, 1]) * np.sign(gold[:, 0] - gold[:, 1]))[decided]
    return float(((product + 1) / 2).mean())
