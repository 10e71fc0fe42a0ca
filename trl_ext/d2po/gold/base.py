"""What every gold function is: a name, whether it costs money, and scores that depend on their own row alone."""

import random
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

Metadata = Mapping[str, Any]
RowScore = Callable[[str, str, Metadata], float]
BatchScore = Callable[[Sequence[str], Sequence[str], Sequence[Metadata]], list[float]]


class GoldFunction:
    """Scores responses; higher is better.

    Args:
        name: as it was asked for.
        scores: (prompts, responses, metadata), three equally long lists -> one number per response.
        costs_money: each call is paid for.
    """

    def __init__(self, name: str, scores: BatchScore, costs_money: bool = False) -> None:
        self.name, self.costs_money = name, costs_money
        self._scores = scores

    def __call__(
        self, prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata] | None = None
    ) -> list[float]:
        """One score a row, in order.

        Args:
            prompts: texts of the questions alone.
            responses: texts of the answers alone.
            metadata: what a row has beside its prompt; None where no row has anything.

        Raises:
            ValueError: lists of different length, or a row that lacks what this function needs.
        """
        rows = check_rows(prompts, responses, metadata)
        values = [float(value) for value in self._scores(prompts, responses, rows)]
        if len(values) != len(responses):
            raise ValueError(f"gold function {self.name!r} gave {len(values)} scores for {len(responses)} responses")
        return values

    def keep_answers(self, folder: Path, retry_failed: bool = False) -> None:
        """Where answers that were paid for are kept, and found again; a function that costs nothing keeps none.

        Args:
            retry_failed: ask again where earlier answers could not be read.
        """

    def close(self) -> None:
        """Lets another run use the folder of answers."""


def check_rows(
    prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata] | None
) -> Sequence[Metadata]:
    """The metadata, one mapping a row.

    Raises:
        ValueError: lists of different length.
    """
    rows = [{}] * len(prompts) if metadata is None else metadata
    if not len(prompts) == len(responses) == len(rows):
        raise ValueError(f"{len(prompts)} prompts, {len(responses)} responses and {len(rows)} rows of metadata")
    return rows


def by_row(score: RowScore) -> BatchScore:
    """A function of one row as one of a batch."""

    def scores(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        return [score(*row) for row in zip(prompts, responses, metadata, strict=True)]

    return scores


def by_response(score: Callable[[str], float]) -> BatchScore:
    """A function of the response alone as one of a batch."""
    return by_row(lambda prompt, response, row: score(response))


def with_noise(scores: BatchScore, noise: float, seed: int) -> BatchScore:
    """Adds a number from -noise to noise that depends on (seed, prompt, response), so a row keeps its score.

    Raises:
        ValueError: `noise` is negative.
    """
    if not noise >= 0:
        raise ValueError(f"noise is {noise}: a number of at least 0 is valid")
    if noise == 0:
        return scores

    def noisy(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        values = scores(prompts, responses, metadata)
        return [
            value + random.Random(_number(seed, prompt, response)).uniform(-noise, noise)
            for value, prompt, response in zip(values, prompts, responses, strict=True)
        ]

    return noisy


def _number(seed: int, *texts: str) -> int:
    # The lengths keep ("ab", "c") and ("a", "bc") apart.
    data = "|".join([str(seed), *(str(len(text)) for text in texts), *texts])
    return int.from_bytes(blake2b(data.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def field(row: Metadata, key: str, name: str) -> Any:
    """An entry of a row's metadata.

    Raises:
        ValueError: it is missing.
    """
    if key not in row:
        raise ValueError(f"gold function {name!r} needs metadata[{key!r}]; this row has {sorted(row)}")
    return row[key]
