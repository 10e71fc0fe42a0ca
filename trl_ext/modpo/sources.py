"""Raw margin values of a batch in TRL. Shapes: B pairs, K margins; chosen half first."""

from collections.abc import Callable, Sequence

import torch
import torch.nn as nn

from trl_ext.objectives.text import call_text_function

from .adapters import MarginAdapters
from .classifier import ClassifierReward
from .margins import Margin


def refuse_non_finite(rewards: torch.Tensor, margins: Sequence[Margin], where: Callable[[int], str]) -> None:
    """Stops at the first margin (2B, K) that is infinite or not a number.

    Args:
        where: says of a row index where it was and, if it can, its text.

    Raises:
        ValueError: the margin, its value, the side and the pair are named.
    """
    bad = (~torch.isfinite(rewards)).nonzero()
    if len(bad):
        row, k = bad[0].tolist()
        pairs = len(rewards) // 2
        side = ("chosen", "rejected")[row // pairs]
        raise ValueError(
            f"margin {margins[k].name!r} is {rewards[row, k].item()} for the {side} side of pair {row % pairs} {where(row)}"
        )


class MarginSources:
    """Adapters on `host` and classifiers beside it, ready to score.

    Args:
        margins: the margins, in the order of the columns.
        host: the policy when it is a PEFT model, otherwise the frozen reference model (its layers get the adapters, so
            that whatever wraps it still calls them). Unused without adapter margins.
        model_dir: folder or name of the base model.
        device: where classifiers live.

    Raises:
        ValueError: an adapter or a classifier that does not fit.
    """

    def __init__(self, margins: Sequence[Margin], host: nn.Module | None, model_dir: str, device: torch.device):
        self.margins, self.device = list(margins), device
        adapters = [margin for margin in margins if margin.kind == "adapter"]
        self.adapters = MarginAdapters(host, adapters, model_dir) if adapters else None
        self.classifiers = {
            m.name: ClassifierReward(m.source, m.head, device, chosen_by=f"margin {m.name!r}")
            for m in margins
            if m.kind == "classifier"
        }

    def restore(self) -> None:
        if self.adapters is not None:
            self.adapters.restore()

    def values(
        self, logps: Callable[[], torch.Tensor], base: torch.Tensor | None, texts: list | None, tokens: list[int]
    ) -> torch.Tensor:
        """Raw values (2B, K), fp32: log pi_adapter - log pi_base, a logit, or a function's value.

        Args:
            logps: gives the (2B,) log-probs of the host with whatever adapter is active.
            base: (2B,) log-probs of the host with every adapter off; None without adapter margins.
            texts: 2B pairs (prompt messages, response); None without margins that read text.
            tokens: numbers of response tokens that are scored, 2B.
        """
        columns = []
        for margin in self.margins:
            if margin.kind == "adapter":
                with self.adapters.scoring(margin):
                    columns.append(logps() - base)
                continue
            prompts, responses = [prompt for prompt, _ in texts], [response for _, response in texts]
            if margin.kind == "classifier":
                columns.append(self.classifiers[margin.name](prompts, responses))
            else:
                questions = [prompt[-1]["content"] if prompt else "" for prompt in prompts]
                columns.append(torch.tensor(call_text_function(margin.source, questions, responses, tokens)))
        return torch.stack([column.to(self.device, torch.float32) for column in columns], -1)
