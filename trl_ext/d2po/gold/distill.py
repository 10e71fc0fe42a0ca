"""Gold function `contrastivedistill`: what a large language model finds likelier than a small one does."""

from collections.abc import Sequence
from typing import Any

from datasets_builders.progress import progress
from trl_ext.modpo.model_dir import check_whole

from .base import BatchScore, Metadata


def contrastive_distill(
    expert: str = "facebook/opt-1.3b",
    amateur: str = "facebook/opt-125m",
    device: str = "cpu",
    batch_size: int = 8,
    max_length: int = 1024,
) -> BatchScore:
    """Mean log-probability of the tokens of prompt and response under `expert` minus that under `amateur`. Unit: nats.

    The text is the prompt, a blank and the response. Each model reads it through its own tokenizer.

    Args:
        expert: folder or hub name of a causal language model.
        amateur: likewise, usually a smaller one of the same family.
        max_length: tokens; what is longer loses its end.

    Raises:
        ValueError: `batch_size` or `max_length` is too small.
    """
    if batch_size < 1 or max_length < 2:
        raise ValueError(f"batch_size is {batch_size} and max_length {max_length}: at least 1 and 2 are valid")
    models = [_MeanLogProbability(path, device, batch_size, max_length) for path in (expert, amateur)]

    def scores(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        texts = [f"{prompt} {response}" for prompt, response in zip(prompts, responses, strict=True)]
        likely, less_likely = (model(texts) for model in models)
        return [high - low for high, low in zip(likely, less_likely, strict=True)]

    return scores


class _MeanLogProbability:
    """Texts -> mean log-probability of a token, each given those before it; 0 for a text without a second token."""

    def __init__(self, path: str, device: str, batch_size: int, max_length: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        check_whole(path)
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        # In half precision the score of a row would depend on the rows beside it in the second decimal.
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        self.model = model.to(device).eval().requires_grad_(False)
        self.batch_size, self.max_length = batch_size, max_length

    def __call__(self, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        rows = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        means = [0.0] * len(rows)
        order = sorted((place for place, row in enumerate(rows) if len(row) > 1), key=lambda place: len(rows[place]))
        with progress(len(order), "likelihoods", "texts") as bar:
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                for place, mean in zip(batch, self._means([rows[place] for place in batch]), strict=True):
                    means[place] = mean
                bar.update(len(batch))
        return means

    def _means(self, rows: list[list[int]]) -> list[float]:
        import torch

        from trl_ext.objectives.logps import completion_logps

        width = max(len(row) for row in rows)
        lengths = torch.tensor([len(row) for row in rows])
        there = (torch.arange(width) < lengths[:, None]).to(self.model.device)  # (B, T)
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self.model.device)
        with torch.no_grad():
            logits = self.model(input_ids=ids, attention_mask=there.long()).logits
        # The sum leaves out the first token and the padding, so the mean must too: lengths - 1, never the width.
        sums = completion_logps(logits, ids.masked_fill(~there, -100)).cpu()
        return (sums / (lengths - 1)).tolist()
