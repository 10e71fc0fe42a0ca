"""The rows of a window: in which order prompts come, and how one rank keeps the pairs it will train on."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Sampler

from datasets_builders.io import atomic_writer


class WindowSampler(Sampler[int]):
    """One global order of rows in which every chunk of `window` rows comes `repeats` times in a row.

    The loader deals consecutive batches of window / ranks rows to ranks: each rank has its share of a window in hand
    when the first batch comes, and is asked `repeats` times for it. Rows that do not fill a last chunk wait for another
    epoch. The order of an epoch is a function of (seed, epoch) alone, so that a resumed run sees the same.

    Raises:
        ValueError: fewer rows than one window.
    """

    def __init__(self, rows: int, window: int, repeats: int, seed: int, epoch: Callable[[], int], shuffle: bool = True):
        if rows < window:
            raise ValueError(f"{rows} prompts are fewer than one window: --window_pairs {window}")
        self.rows, self.window, self.repeats, self.seed, self.shuffle = rows, window, repeats, seed, shuffle
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.rows)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch()]).permutation(self.rows)
        for start in range(0, self.rows - self.window + 1, self.window):
            for _ in range(self.repeats):
                yield from order[start : start + self.window].tolist()

    def __len__(self) -> int:
        return self.rows // self.window * self.window * self.repeats


@dataclass
class Pairs:
    """One rank's pairs of a window, without padding: the place in a list is the pair.

    Attributes:
        prompt_ids: tokens of each prompt.
        completion_ids: tokens of each prompt's two answers, with their end token.
        scores: of the two answers.
        weights: loss weight of each pair.
    """

    prompt_ids: list[list[int]]
    completion_ids: list[list[list[int]]]
    scores: list[list[float]]
    weights: list[float]

    def part(self, number: int, size: int) -> "Pairs":
        """The `number`-th micro-batch of `size` pairs."""
        rows = slice(number * size, (number + 1) * size)
        return Pairs(*(values[rows] for values in (self.prompt_ids, self.completion_ids, self.scores, self.weights)))

    def tensors(self, pad: int, device: torch.device) -> tuple[torch.Tensor, ...]:
        """(2B, P) prompt tokens padded on the left, (2B, C) completion tokens padded on the right, each with its mask.

        First answers come first. The order of the result is prompt tokens, mask, completion tokens, mask.
        """
        completions = [pair[0] for pair in self.completion_ids] + [pair[1] for pair in self.completion_ids]
        prompt_ids, prompt_mask = padded(self.prompt_ids * 2, pad, left=True)
        completion_ids, completion_mask = padded(completions, pad, left=False)
        return tuple(value.to(device) for value in (prompt_ids, prompt_mask, completion_ids, completion_mask))

    def write(self, path: Path) -> None:
        with atomic_writer(path) as file:
            json.dump(asdict(self), file)

    @staticmethod
    def read(path: Path) -> "Pairs":
        return Pairs(**json.loads(path.read_text(encoding="utf-8")))


def padded(rows: Sequence[Sequence[int]], pad: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, T) tokens and mask."""
    width = max(len(row) for row in rows)
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for line, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[line, place] = torch.tensor(row, dtype=torch.long)
        mask[line, place] = 1
    return tokens, mask
