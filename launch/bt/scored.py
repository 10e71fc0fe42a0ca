"""Pairs of replies with their sampled scores, and the reading of one number per reply from them.

Higher is better. A margin is the score of the preferred reply minus that of the other, in points of the scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Scores = tuple[float | None, ...]
Summary = dict[str, Any]

# Means of equal scores may differ in the last bits.
TIE = 1e-9


@dataclass(frozen=True)
class ScoredPair:
    """Two replies, the sampled scores of each (None: not parsable), and the index of the preferred one.

    Raises:
        ValueError: `preferred` is neither 0 nor 1, a side has no sample, or a score is not a finite number.
    """

    preferred: int
    scores: tuple[Scores, Scores]

    def __post_init__(self) -> None:
        if isinstance(self.preferred, bool) or self.preferred not in (0, 1):
            raise ValueError(f"preferred must be 0 or 1, found {self.preferred!r}")
        if len(self.scores) != 2 or not all(self.scores):
            raise ValueError("a pair needs two sides with at least one sample each (None where it could not be parsed)")
        for score in (*self.scores[0], *self.scores[1]):
            if score is not None and not abs(score) < float("inf"):
                raise ValueError(f"a score must be a finite number or None, found {score!r}")

    def swap(self) -> "ScoredPair":
        """The same pair with its sides in the other order: every margin stays."""
        return ScoredPair(1 - self.preferred, self.scores[::-1])

    def flip(self) -> "ScoredPair":
        """The same replies with the other one preferred: every margin is negated."""
        return ScoredPair(1 - self.preferred, self.scores)

    @property
    def of_preferred(self) -> Scores:
        """Samples of the preferred reply."""
        return self.scores[self.preferred]

    @property
    def of_other(self) -> Scores:
        """Samples of the other reply."""
        return self.scores[1 - self.preferred]

    def margin(self, require_all_samples: bool = False) -> float | None:
        """Mean of the preferred reply's parsable samples minus that of the other's; exactly 0 for a tie.

        Args:
            require_all_samples: one unparsable sample makes the pair unparsable, instead of being left out of its mean.

        Returns:
            None where a reply has no score.
        """
        means = [mean_score(side, require_all_samples) for side in (self.of_preferred, self.of_other)]
        if means[0] is None or means[1] is None:
            return None
        margin = means[0] - means[1]
        return 0.0 if abs(margin) < TIE else margin


def parsed(samples: Sequence[float | None]) -> list[float]:
    """The samples that could be parsed."""
    return [score for score in samples if score is not None]


def mean_score(samples: Sequence[float | None], require_all_samples: bool = False) -> float | None:
    """Mean of the parsable samples; None where there is none, or with `require_all_samples` where one is missing."""
    found = parsed(samples)
    if not found or (require_all_samples and len(found) < len(samples)):
        return None
    return sum(found) / len(found)
