"""Pairs of which nothing is scored: their log-probs are 0, and with a margin the log looks alive all the same."""

MOST = 0.05  # largest share of pairs with a side without a scored token that a run, or the doctor, lets pass
FEW = 200


class UnscoredPairs:
    """Counts pairs with a side without a scored token, and refuses too many.

    A share says little of a few pairs: where the true one is 3%, one run in two would see two such pairs among its first
    39, and end. So `most` holds from `few` pairs on; before that the run ends by the number which is too many of `few`,
    or where no pair at all had both sides scored.

    Args:
        most: the largest share.
        few: pairs below which no share is taken.

    Attributes:
        seen, unscored: numbers of pairs so far.
    """

    def __init__(self, most: float = MOST, few: int = FEW):
        self.most, self.few, self.seen, self.unscored = most, few, 0, 0

    def count(self, tokens: list[int]) -> float:
        """Counts a batch; returns its share of pairs with a side without a scored token.

        Args:
            tokens: numbers of scored tokens of 2B sides, chosen half first.
        """
        half = len(tokens) // 2  # 0 for rows that are joined to one
        bad = sum(min(pair) == 0 for pair in zip(tokens[:half], tokens[half : 2 * half], strict=True))
        self.seen += half
        self.unscored += bad
        return bad / half if half else 0.0

    @property
    def too_many_so_far(self) -> bool:
        return self.unscored > self.most * max(self.seen, self.few) or self.unscored == self.seen >= 4

    @property
    def too_many_of_all(self) -> bool:
        """The share of the whole, however few they are; a single pair is never too many."""
        return self.unscored > max(1, self.most * self.seen)

    def add(self, tokens: list[int], advice: str) -> float:
        """`count`, with an end to the run.

        Args:
            advice: what the user can change, for the message.

        Raises:
            ValueError: too many of all pairs so far, with the numbers.
        """
        share = self.count(tokens)
        if self.too_many_so_far:
            self._refuse(advice)
        return share

    def end(self, advice: str) -> None:
        """After all rows.

        Raises:
            ValueError: too many of all pairs.
        """
        if self.too_many_of_all:
            self._refuse(advice)

    def _refuse(self, advice: str) -> None:
        raise ValueError(
            f"{self.unscored} of {self.seen} pairs have a side without a scored token (more than {self.most:.0%}): what "
            f"max_length cuts off is the response, and only the margin would train. {advice}"
        )
