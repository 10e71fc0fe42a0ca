"""GRPO of a pairwise judge. Shapes: N completions of all ranks."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow
import torch
from accelerate.utils import gather
from swift.utils import get_logger

from datasets_builders.choices import nearest
from datasets_builders.scoring.tags import EXAMPLES, refuse_swallowed_tags
from swift_ext.paired_grpo.checks import refuse_what_cuts_pairs
from swift_ext.paired_grpo.pair_index import PairColumns
from swift_ext.paired_grpo.trainer import PairedGRPOTrainer
from trl_ext.objectives.verdicts import LABELS, agreement_with_swapped, parse_verdict, swap_label

from .rewards import REWARDS, JudgeReward
from .scaling import scaling_warnings
from .settings import JudgeSettings

logger = get_logger()
COUNTS = (
    "answers", "right", "silent", "first", "second", "tie", "decided", "answers0", "right0", "answers1", "right1",
    "agreement",
)  # fmt: skip


def preferred_replies(column: Any, side: np.ndarray) -> np.ndarray:
    """(N,) 0 or 1 for the reply that is better in the pair's original order, 2 for a tie, -1 for no label."""
    column = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    labels = column.to_pylist()
    codes = {**{(0, label): code for code, label in enumerate(LABELS)}}
    codes |= {(1, swap_label(label)): code for (_, label), code in codes.items()}
    return np.array([codes.get(key, -1) for key in zip(side.tolist(), labels, strict=True)], dtype=np.int64)


def count_verdicts(
    verdicts: Sequence[str | None], truths: Sequence[str], pair_id: Sequence[Hashable], side: Sequence[int]
) -> list[float]:
    """The sums behind `metrics_of`, in the order of `COUNTS`, of answers that hold both orders of their pairs."""
    counts: Counter[str] = Counter(answers=len(verdicts))
    pairs: dict[Hashable, tuple[list, list]] = defaultdict(lambda: ([], []))
    for verdict, truth, identity, where in zip(verdicts, truths, pair_id, side, strict=True):
        right = verdict == truth
        counts.update({"right": right, "silent": verdict is None, f"answers{where}": 1, f"right{where}": right})
        counts.update(first=verdict == "A", second=verdict == "B", tie=verdict == "tie", decided=verdict in ("A", "B"))
        pairs[identity][where].append(verdict)
    counts["agreement"] = sum(sum(agreement_with_swapped(*orders)) for orders in pairs.values())
    return [float(counts[name]) for name in COUNTS]


def metrics_of(counts: Sequence[float]) -> dict[str, float]:
    """Shares of summed `COUNTS`; a share of nothing is left out.

    `judge/first` is the share of A among answers A and B: 0.5 for a judge without a favourite place, because every pair
    is there in both orders. `judge/share_...` are shares of all answers: one of them near 1 is a judge that says the same of
    everything. `judge/consistency` is the chance that an answer to each order say the same.
    """
    summed = dict(zip(COUNTS, counts, strict=True))
    shares = {
        "judge/accuracy": ("right", "answers"),
        "judge/accuracy_original_order": ("right0", "answers0"),
        "judge/accuracy_swapped_order": ("right1", "answers1"),
        "judge/no_verdict": ("silent", "answers"),
        "judge/share_A": ("first", "answers"),
        "judge/share_B": ("second", "answers"),
        "judge/share_tie": ("tie", "answers"),
        "judge/first": ("first", "decided"),
        "judge/consistency": ("agreement", "answers0"),
    }
    return {name: summed[part] / summed[whole] for name, (part, whole) in shares.items() if summed[whole]}


class JudgeGRPOTrainer(PairedGRPOTrainer):
    """GRPO of a judge that sees each pair in both orders at once.

    Beyond [`PairedGRPOTrainer`]: accuracy, by order too, and consistency in the trainer's log.

    Raises:
        ValueError: rows that are no whole pairs or have no label, a run without a reward of the judge, or a setup that
            would cut pairs in two.
    """

    _tag_names: ClassVar = [*PairedGRPOTrainer._tag_names, "ms-swift", "pairwise-judge"]
    claim = "judge-consistency"
    pair_columns = PairColumns("ground_truth", preferred_replies, "helpsteer2-pairwise")
    settings_class = JudgeSettings

    def check_run(self, reward_classes, training_args, template, train_dataset):
        if not any(issubclass(one, JudgeReward) for one in reward_classes):
            raise ValueError(
                f"no reward function of this run reads verdicts; {nearest('pairwise_preference', REWARDS)}"
            )
        refuse_what_cuts_pairs(training_args, template, train_dataset)
        if (tokenizer := getattr(template, "tokenizer", None)) is not None:
            refuse_swallowed_tags(tokenizer, EXAMPLES["preference"])
        for warning in scaling_warnings(reward_classes, training_args):
            logger.warning(warning)

    def _compute_rewards_per_func(self, samples):
        rewards_per_func = super()._compute_rewards_per_func(samples)
        columns = [[sample.extra[name] for sample in samples] for name in ("ground_truth", "pair_id", "side")]
        verdicts = [parse_verdict(sample.messages[-1]["content"]) for sample in samples]
        counts = torch.tensor([count_verdicts(verdicts, *columns)], device=self.accelerator.device)
        mode = "train" if self.model.training else "eval"
        for name, value in metrics_of(gather(counts).sum(0).tolist()).items():
            self._metrics[mode][name].append(value)
        return rewards_per_func
