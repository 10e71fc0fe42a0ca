"""Pairs of which nothing is scored: their log-probs are 0, and with a margin the log looks alive all the same."""


class UnscoredPairs:
    """Counts pairs with a side without a scored token, and refuses too many.

    Args:
        most: the largest share. Above it, and from the second such pair on, the run ends.

    Attributes:
        seen, unscored: numbers of pairs so far.
    """

    def __init__(self, most: float = 0.05):
        self.most, self.seen, self.unscored = most, 0, 0

    def add(self, tokens: list[int], advice: str) -> float:
        """Counts a batch; returns its share of pairs with a side without a scored token.

        Args:
            tokens: numbers of scored tokens of 2B sides, chosen half first.
            advice: what the user can change, for the message.

        Raises:
            ValueError: too many of all pairs so far, with the numbers.
        """
        half = len(tokens) // 2  # 0 for rows that are joined to one
        bad = sum(min(pair) == 0 for pair in zip(tokens[:half], tokens[half : 2 * half], strict=True))
        self.seen += half
        self.unscored += bad
        if self.unscored > 1 and self.unscored > self.most * self.seen:
            raise ValueError(
                f"{self.unscored} of {self.seen} pairs have a side without a scored token (more than {self.most:.0%}): what "
                f"max_length cuts off is the response, and only the margin would train. {advice}"
            )
        return bad / half if half else 0.0
