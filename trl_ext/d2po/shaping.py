"""Terms added to scores before pairs are chosen, so that they decide about pairs. N prompts, n answers each."""

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SHORT_ANSWER = -20.0
SCALE_LIMIT = 0.3
HISTORY = 10  # windows that mean and sigma are taken over


@dataclass(frozen=True)
class ShapingSettings:
    """What is added; 0 and False leave a term out.

    Args:
        keep_long: answers with fewer words than this get -20.
        length_penalty: whether 2 sigma (1 - 0.01 L) is added, L being the tokens of an answer.
        scale_reward: whether a score becomes (score - mean) / sigma, cut to +-0.3.
        token_bonus: ratio r of r sigma sum_words (1 - sqrt(count / base)) over an answer's distinct words, which
            rewards words that were rare so far.
    """

    keep_long: int = 0
    length_penalty: bool = False
    scale_reward: bool = False
    token_bonus: float = 0.0


def length_bonus(lengths: np.ndarray, sigma: float) -> np.ndarray:
    """2 sigma (1 - 0.01 L): 0 at 100 tokens, negative beyond."""
    return 2 * sigma * (1 - 0.01 * lengths)


def scale(scores: np.ndarray, mean: float, sigma: float) -> np.ndarray:
    """(score - mean) / sigma, cut to +-0.3; what is cut is tied."""
    return np.clip((scores - mean) / sigma, -SCALE_LIMIT, SCALE_LIMIT)


def rare_word_bonus(responses: Sequence[str], counts: Counter) -> list[float]:
    """sum (1 - sqrt(count / base)) over an answer's distinct words; adds the answers to `counts` one by one.

    `count` includes the answer itself; base = number of answers + the largest count before them.
    """
    base = len(responses) + max(counts.values(), default=0)
    bonuses = []
    for response in responses:
        words = sorted(set(response.split()))
        counts.update(words)
        bonuses.append(sum(1 - math.sqrt(counts[word] / base) for word in words))
    return bonuses


class Shaping:
    """Shapes the scores of one window after another; mean and sigma are of the raw scores of the last ten windows."""

    def __init__(self, settings: ShapingSettings):
        self.settings = settings
        self.history: deque[list[float]] = deque(maxlen=HISTORY)
        self.counts: Counter = Counter()

    def observe(self, scores: np.ndarray, responses: Sequence[Sequence[str]]) -> np.ndarray:
        """Takes a new window's (N, n) raw scores and answers in; returns its (N, n) word bonus, before the sigma."""
        self.history.append(scores.ravel().tolist())
        if not self.settings.token_bonus:
            return np.zeros(scores.shape)
        return np.array(rare_word_bonus([text for row in responses for text in row], self.counts)).reshape(scores.shape)

    def apply(
        self, scores: np.ndarray, responses: Sequence[Sequence[str]], lengths: np.ndarray, words: np.ndarray
    ) -> np.ndarray:
        """(N, n) shaped scores.

        Args:
            scores: (N, n) raw ones, of a window that was observed.
            lengths: (N, n) tokens of the answers.
            words: (N, n) what `observe` returned.
        """
        chosen = self.settings
        seen = np.concatenate([np.array(window) for window in self.history])
        mean, sigma = float(seen.mean()), float(seen.std()) or 1.0
        shaped = scale(scores, mean, sigma) if chosen.scale_reward else scores.astype(float)
        if chosen.keep_long:
            short = np.array([[len(text.split()) < chosen.keep_long for text in row] for row in responses])
            shaped = shaped + SHORT_ANSWER * short
        if chosen.length_penalty:
            shaped = shaped + length_bonus(lengths, sigma)
        return shaped + chosen.token_bonus * sigma * words

    def state_dict(self) -> dict[str, Any]:
        return {"history": list(self.history), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = deque(state["history"], maxlen=HISTORY)
        self.counts = Counter(state["counts"])
