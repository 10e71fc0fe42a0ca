"""A sampler that keeps the two sides of every pair in one rank's generation batch."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from .pair_index import PairIndex, index_pairs


class PairRepeatSampler(Sampler[int]):
    """Like TRL's RepeatSampler, with the pair as its unit.

    Row indices of pairs a, b, c, ... whose sides are a0 and a1, with K = mini_repeat_count = 2, pairs_per_batch = 2 and
    repeat_count = 3; two ranks with a generation batch of 2 K = 4 rows each:

                       rank 0           rank 1
        pass 1      a0 a0 a1 a1      b0 b0 b1 b1     generated here, both sides together
        pass 2      a0 a0 a1 a1      b0 b0 b1 b1     the trainer reuses what it generated
        pass 3      a0 a0 a1 a1      b0 b0 b1 b1
        pass 1      c0 c0 c1 c1      d0 d0 d1 d1     the next chunk
        ...

    The order is one global order: the data loader deals consecutive batches to ranks, so that a pair stays whole if the
    rows of a rank's batch are a multiple of 2 K (`PairGRPOConfig` checks it). The sampler itself never shards.

    The order of an epoch is a function of (seed, epoch) alone, so that a resumed run sees the order of the run that it
    continues. Pairs that do not fill a last chunk wait for another epoch.

    Args:
        data_source: rows with the columns pair_id, side and preferred_side; or a `PairIndex` made of them.
        mini_repeat_count: K, completions per row.
        pairs_per_batch: pairs that all ranks generate together: generation batch size / (2 K).
        repeat_count: how often the loader asks for a chunk: steps_per_generation x num_iterations.
        shuffle: a new order of the pairs in every epoch; else the order of the rows.
        seed: of the shuffling.
        current_epoch: asked for the epoch when an iteration begins, where `set_epoch` may not arrive: a resume in the
            middle of an epoch wraps the sampler once more, and on several ranks it is then out of reach.

    Raises:
        ValueError: a count under 1, a missing column, no whole pair, or fewer pairs than one chunk.
    """

    def __init__(
        self,
        data_source: Any,
        mini_repeat_count: int,
        pairs_per_batch: int = 1,
        repeat_count: int = 1,
        shuffle: bool = True,
        seed: int | None = None,
        current_epoch: Callable[[], int] | None = None,
    ):
        counts = {
            "mini_repeat_count": mini_repeat_count,
            "pairs_per_batch": pairs_per_batch,
            "repeat_count": repeat_count,
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.index = data_source if isinstance(data_source, PairIndex) else index_pairs(data_source)
        self.index.check(max_bad_share=float("inf"))  # the trainer judges the share; here a pair must be there
        if len(self.index) < pairs_per_batch:
            raise ValueError(
                f"{len(self.index)} pairs are fewer than the {pairs_per_batch} of one generation batch: at most "
                f"--generation_batch_size {2 * mini_repeat_count * len(self.index)} with --num_generations "
                f"{mini_repeat_count}"
            )
        self.mini_repeat_count = mini_repeat_count
        self.pairs_per_batch = pairs_per_batch
        self.repeat_count = repeat_count
        self.shuffle = shuffle
        self.seed = 0 if seed is None else seed
        self.epoch = 0
        self.current_epoch = current_epoch

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order the next iteration has; accelerate calls it."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """(P,) the pairs in the order of this epoch.

        Seed and epoch are two words of the generator's seed: their sum would give the run of seed + 1, which ms-swift
        uses to sample replacements for groups without spread, the order of this run's next epoch.
        """
        if not self.shuffle:
            return np.arange(len(self.index))
        epoch = self.epoch if self.current_epoch is None else max(self.epoch, self.current_epoch())
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.index))

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        for start in range(0, self._chunks * self.pairs_per_batch, self.pairs_per_batch):
            chunk = self.index.rows[order[start : start + self.pairs_per_batch]]  # (pairs, 2)
            rows = chunk.repeat(self.mini_repeat_count, axis=1).ravel().tolist()
            for _ in range(self.repeat_count):
                yield from rows

    @property
    def _chunks(self) -> int:
        return len(self.index) // self.pairs_per_batch

    def __len__(self) -> int:
        return self._chunks * self.pairs_per_batch * 2 * self.mini_repeat_count * self.repeat_count
