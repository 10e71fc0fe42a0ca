"""Buying gold labels: each once, written down before it is used, by one process for all."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .collective import on_main
from .ledger import Label, Ledger, price


class Request(NamedTuple):
    """Answers to one prompt that gold should judge together."""

    prompt: str
    responses: Sequence[str]
    metadata: dict[str, Any]


class GoldLabels:
    """Gold scores out of the ledger or, where it has none, of the gold function, asked for one request at a time.

    Called by all ranks alike; only the main process asks and writes.

    Args:
        gold: the gold function.
        ledger: the book, on the main process; None elsewhere.
        accelerator: None is a single process.
    """

    def __init__(self, gold: Any, ledger: Ledger | None, accelerator: Any = None):
        self.gold, self.ledger, self.accelerator = gold, ledger, accelerator
        self.spent = on_main(accelerator, lambda: ledger.spent)

    def get(self, requests: Sequence[Request], where: dict[str, int]) -> list[list[float] | None]:
        """Scores in the order of each request's answers; None from the first one on that the budget does not reach for.

        Args:
            where: noted beside each label that is bought.

        Raises:
            ValueError: a gold function that does not return one finite number an answer.
        """
        found, self.spent = on_main(self.accelerator, lambda: self._get_all(requests, where))
        return found

    def _get_all(self, requests: Sequence[Request], where: dict[str, int]) -> tuple[list[list[float] | None], int]:
        found: list[list[float] | None] = []
        for request in requests:
            known = self.ledger.find(request.prompt, request.responses)
            if known is None and price(len(request.responses)) > self.ledger.left:
                break
            if known is None:
                known = Label(request.prompt, tuple(request.responses), tuple(self._ask(request)))
                self.ledger.add(known, **where)
            found.append(list(known.gold))
        return found + [None] * (len(requests) - len(found)), self.ledger.spent

    def _ask(self, request: Request) -> list[float]:
        prompt, responses, metadata = request
        if len(responses) == 2 and hasattr(self.gold, "score_pairs"):
            (pair,) = self.gold.score_pairs([prompt], [responses[0]], [responses[1]], [metadata])
            # Answers that could not be rated are equal: the label is spent and says nothing.
            gold = [0.0, 0.0] if None in pair else list(pair)
        else:
            gold = self.gold([prompt] * len(responses), list(responses), [metadata] * len(responses))
            if self.gold.costs_money:
                gold = between_the_rated(gold)
        if len(gold) != len(responses) or not np.isfinite(np.array(gold, float)).all():
            raise ValueError(
                f"gold {self.gold.name!r} returned {gold} for {len(responses)} answers: one finite number each is valid"
            )
        return [float(value) for value in gold]

    def peek(self, prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[dict]) -> np.ndarray | None:
        """(M,) gold of any answers, for diagnosis and never for training; None for gold that costs money."""
        if self.gold.costs_money:
            return None
        return on_main(self.accelerator, lambda: np.array(self.gold(prompts, responses, metadata), float))


def between_the_rated(gold: Sequence[float]) -> list[float]:
    """Scores of one prompt's answers, in which those that a paid gold could not rate (NaN) get the mean of the others.

    Such an answer is neither the best nor the worst, and one of two ties with the other: the label is spent and invents
    nothing. Without any rating all are 0.
    """
    rated = [value for value in gold if not np.isnan(value)]
    middle = float(np.mean(rated)) if rated else 0.0
    return [middle if np.isnan(value) else value for value in gold]
