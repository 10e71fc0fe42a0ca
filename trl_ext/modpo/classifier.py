"""A sequence-classification reward model as a margin: frozen, batched, with its own tokenizer."""

from collections.abc import Sequence

import torch


class ClassifierReward:
    """Scores (prompt messages, response) with one logit of a classifier.

    The input is the classifier's own chat template over prompt and response when its tokenizer has one, otherwise the
    text pair (last user text, response).

    Args:
        path: folder or name of the model.
        head: index of the logit.
        device: where the model lives.
        max_length: longer inputs are truncated on the left, so that the response stays.

    Raises:
        ValueError: the head does not exist.
    """

    def __init__(self, path: str, head: int = 0, device: str | torch.device = "cpu", max_length: int = 2048):
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(path, truncation_side="left")
        self.model = AutoModelForSequenceClassification.from_pretrained(path).to(device).eval().requires_grad_(False)
        labels = self.model.config.num_labels
        if head >= labels:
            raise ValueError(f"classifier {path!r} has {labels} heads, head {head} does not exist")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if self.model.config.pad_token_id is None:
            self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.head = head
        limit = getattr(self.model.config, "max_position_embeddings", None) or max_length
        self.max_length = min(max_length, limit)

    def _encode(self, prompts: Sequence[list[dict]], responses: Sequence[str]) -> dict:
        options = {"padding": True, "truncation": True, "max_length": self.max_length, "return_tensors": "pt"}
        if self.tokenizer.chat_template:
            texts = [
                self.tokenizer.apply_chat_template(
                    [*prompt, {"role": "assistant", "content": response}], tokenize=False
                )
                for prompt, response in zip(prompts, responses, strict=True)
            ]
            # The template writes the special tokens itself: adding them again would double the first one.
            return self.tokenizer(texts, add_special_tokens=False, **options)
        questions = [prompt[-1]["content"] for prompt in prompts]
        return self.tokenizer(questions, list(responses), **options)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[list[dict]], responses: Sequence[str], batch_size: int = 32) -> torch.Tensor:
        """(N,) fp32 on the CPU."""
        scores = []
        for start in range(0, len(responses), batch_size):
            batch = self._encode(prompts[start : start + batch_size], responses[start : start + batch_size])
            logits = self.model(**{key: value.to(self.model.device) for key, value in batch.items()}).logits
            scores.append(logits[:, self.head].float().cpu())
        return torch.cat(scores)
