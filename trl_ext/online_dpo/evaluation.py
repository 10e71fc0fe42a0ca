"""Answers to all prompts of an evaluation, shared out to the ranks. N prompts."""

from collections.abc import Callable, Sequence
from typing import Any

from accelerate.utils import gather_object

from .trainer import OnlineTrainer, Prompt


def sample_all(
    trainer: OnlineTrainer,
    prompts: list[Prompt],
    seed: int,
    read: Callable[[list[int], list[Prompt], list[list[int]]], Sequence[Any]],
) -> list[tuple[Any, Any]]:
    """What `read` makes of two completions of each prompt, in order, the same on every rank.

    The prompts are shared out to the ranks; each takes equally many, so that all of them generate equally often, which
    sharded weights need. Sampling is seeded by `seed` and the place of the batch: two evaluations of the same weights
    give the same completions.

    Args:
        read: (places of B prompts, their 2B completions with the first ones first, the tokens of those) -> 2B values.
    """
    ranks, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
    share, batch = -(-len(prompts) // ranks), trainer.args.per_device_eval_batch_size
    places, found = [place % len(prompts) for place in range(rank * share, (rank + 1) * share)], []
    for start in range(0, share, batch):
        part = places[start : start + batch]
        completions, ids = trainer.sample([prompts[place] for place in part], seed + 1009 * (rank * share + start))
        values = read(part, completions, ids)
        found += zip(part, values[: len(part)], values[len(part) :], strict=True)
    answers = {place: (first, second) for place, first, second in gather_object(found)}
    return [answers[place] for place in range(len(prompts))]
