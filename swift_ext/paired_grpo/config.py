"""Training arguments that refuse, before a model is loaded, batches that would cut pairs in two."""

from dataclasses import dataclass
from math import lcm
from typing import ClassVar

from swift.rlhf_trainers import GRPOConfig

from swift_ext.settings import read_settings
from swift_ext.shared_prefix.config import RefusesFlags
from trl_ext.weight_transfer import refuse_server_without_gpu

from .sampling import refuse_lost_sampling_flags
from .settings import PairedSettings


def nearest_multiples(value: int, step: int) -> list[int]:
    """The positive multiples of `step` next to `value`, below and above."""
    below = value // step * step
    return [one for one in (below, below + step) if one > 0]


def batch_advice(per_device: int, world_size: int, steps_per_generation: int, num_generations: int) -> str:
    """Valid batch numbers near those given, in the flags of ms-swift."""
    share = per_device * steps_per_generation
    sizes = [one * world_size for one in nearest_multiples(share, lcm(2 * num_generations, per_device))]
    counts = [k for k in range(2, share // 2 + 1) if share % (2 * k) == 0]
    nearest = sorted(sorted(counts, key=lambda k: abs(k - num_generations))[:2])
    advice = f"valid: --generation_batch_size {' or '.join(map(str, sizes))} with --num_generations {num_generations}"
    if nearest:
        advice += f", or --num_generations {' or '.join(map(str, nearest))} with {share * world_size}"
    return advice


@dataclass
class PairedGRPOConfig(RefusesFlags, GRPOConfig):
    """[`swift.rlhf_trainers.GRPOConfig`], with the divisibility that whole pairs need, and the method's environment read once.

    Raises:
        ValueError: a rank's share of the generation batch is no multiple of 2 x num_generations (the nearest valid
            numbers are given), the same in evaluation, a setting that stands in the way of pairs, a bad variable, a
            sampling flag that would not reach the generation, or one under which rows that must cannot share prefixes.
    """

    settings_class: ClassVar[type[PairedSettings]]

    def __post_init__(self):
        refuse_lost_sampling_flags(self)
        super().__post_init__()
        refuse_server_without_gpu(self)

    def _init_generation_batch_params(self):
        read_settings(self.settings_class)
        if (self.generation_batch_size or 0) % (self.per_device_train_batch_size * self.world_size) == 0:
            self._check_pairs()  # first, because its message knows about pairs
        super()._init_generation_batch_params()
        self._check_pairs()
        self._check_evaluation()

    def _check_pairs(self) -> None:
        per_rank = self.per_device_train_batch_size
        if self.generation_batch_size is not None:
            steps = self.generation_batch_size // (per_rank * self.world_size)
        else:
            steps = self.steps_per_generation or self.gradient_accumulation_steps
        share, group = per_rank * steps, 2 * self.num_generations
        if share % group:
            raise ValueError(
                f"each of {self.world_size} ranks generates {share} completions at a time (per_device_train_batch_size "
                f"{per_rank} x steps_per_generation {steps}), which is no multiple of {group} = 2 sides x "
                f"num_generations {self.num_generations}: pairs would be cut in two. "
                + batch_advice(per_rank, self.world_size, steps, self.num_generations)
            )

    def _check_evaluation(self) -> None:
        if self.eval_strategy == "no":
            return
        completions = self.num_generations_eval or self.num_generations
        if self.per_device_eval_batch_size % (2 * completions):
            valid = nearest_multiples(self.per_device_eval_batch_size, 2 * completions)
            raise ValueError(
                f"per_device_eval_batch_size {self.per_device_eval_batch_size} is no multiple of {2 * completions} = 2 "
                f"sides x {completions} completions: pairs would be cut in two. "
                f"Valid: --per_device_eval_batch_size {' or '.join(map(str, valid))}"
            )
