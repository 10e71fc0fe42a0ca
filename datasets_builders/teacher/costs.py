"""What a collection has cost: requests, tokens, retries, malformed answers, and money where the prices are known."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MILLION = 1_000_000


@dataclass
class Costs:
    """Counters of all answers of a folder, earlier runs included.

    Attributes:
        price_in: money for a million tokens read, None where it is not known.
        price_out: money for a million tokens written, likewise.
        without_usage: answers whose tokens the server did not report.
        malformed: items whose answer could not be read, by reason.
    """

    price_in: float | None = None
    price_out: float | None = None
    requests: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    without_usage: int = 0
    malformed: Counter[str] = field(default_factory=Counter)

    def add(self, tries: int, tokens_in: int | None, tokens_out: int | None, malformed: list[str]) -> None:
        """Counts one answer."""
        self.requests += tries
        self.retries += tries - 1
        self.tokens_in += tokens_in or 0
        self.tokens_out += tokens_out or 0
        self.without_usage += tokens_in is None or tokens_out is None
        self.malformed.update(malformed)

    @property
    def money(self) -> float | None:
        """In the unit of the prices; None where a price is not known."""
        return price_of(self.tokens_in, self.tokens_out, self.price_in, self.price_out)

    def as_dict(self) -> dict[str, Any]:
        """For the summary."""
        return {
            "requests": self.requests,
            "retries": self.retries,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "answers_without_usage": self.without_usage,
            "cost": self.money,
            "malformed": dict(self.malformed),
        }

    def as_postfix(self) -> dict[str, Any]:
        """For the progress bar."""
        shown = {"requests": self.requests, "in": self.tokens_in, "out": self.tokens_out, "retries": self.retries}
        shown["malformed"] = self.malformed.total()
        return shown if self.money is None else shown | {"cost": f"{self.money:.4f}"}


def price_of(tokens_in: float, tokens_out: float, price_in: float | None, price_out: float | None) -> float | None:
    """Money for so many tokens at prices for a million; None where a price is not known."""
    if price_in is None or price_out is None:
        return None
    return (tokens_in * price_in + tokens_out * price_out) / MILLION
