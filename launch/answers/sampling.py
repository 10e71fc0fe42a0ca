"""Random draws that belong to a prompt, not to a batch."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def draw_seed(seed: int, prompt_id: str, sample: int) -> int:
    """A 63-bit seed, a function of its three arguments only."""
    digest = hashlib.sha256(f"{seed}:{prompt_id}:{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class RowwiseSampler:
    """A logits processor after which taking the largest score IS sampling, each row from its own random stream.

    Adding independent Gumbel noise to log-probabilities and taking the largest draws exactly from their softmax. The
    noise of a row depends on its seed and on how many tokens it has, so neither the other rows of the batch nor a
    restart nor the number of shards changes a draw; one generator a batch could not promise that.

    Args:
        seeds: one a row (B,).
        temperature, top_k, top_p: as in transformers, applied in this order before the noise; None leaves top_k out.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        device: "torch.device",
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int | None = None,
    ):
        import torch
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.warpers = [TemperatureLogitsWarper(temperature)] if temperature != 1.0 else []
        if top_k is not None:
            self.warpers.append(TopKLogitsWarper(top_k))
        if top_p < 1.0:
            self.warpers.append(TopPLogitsWarper(top_p))

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """Scores (B, V) with the noise added, fp32."""
        import torch

        scores = scores.float()
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        noise = torch.stack([torch.empty_like(scores[0]).exponential_(generator=g) for g in self.generators])
        # -log of an exponential draw is a Gumbel draw.
        return scores - noise.log()
