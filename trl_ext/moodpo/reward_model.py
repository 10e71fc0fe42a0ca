"""A sequence classifier as an objective: fed the way it was trained."""

import os
from collections.abc import Sequence
from typing import Any

import torch

from trl_ext.modpo.classifier import ClassifierReward, Encoded

from .specs import REGISTRY, RewardSpec
from .texts import Prompt, clean_response, post, remove_tokens, transcript

MOST_TOKENS = 1024  # of the known reward models, whatever their tokenizers allow


def _what_chose_the_head(spec: RewardSpec) -> str:
    """Of a known model its name, which the user may have given to a model of their own without meaning that one."""
    if spec.labels is None:
        return f"the #{spec.logit} of {spec.name}={spec.source}#{spec.logit}"
    return (
        f"the objective's name {spec.name!r} (the names {', '.join(REGISTRY)} stand for known models with their heads; "
        f"for a model of your own take another name: my_{spec.name}={spec.source})"
    )


class RewardModel(ClassifierReward):
    """ClassifierReward that reads prompt and response in the form of its specification.

    What is too long loses its context first: a transcript its beginning, a post its end. Only then is the response cut.

    Raises:
        ValueError: see ClassifierReward; or another number of logits than the form needs, several without a choice.
    """

    def __init__(
        self, spec: RewardSpec, *, device: Any = "cpu", torch_dtype: str | None = None, trust_remote_code: bool = False
    ):
        settings = {"torch_dtype": torch_dtype, "trust_remote_code": trust_remote_code}
        chosen_by = _what_chose_the_head(spec)
        try:
            super().__init__(spec.source, spec.logit or 0, device, chosen_by=chosen_by, **settings)
        except ValueError as error:
            copy = "" if os.path.isdir(spec.source) else f"; a copy on this machine is {spec.name}=FOLDER"
            raise ValueError(f"reward model {spec.name!r}: {error}{copy}") from error
        self.form, self.borrows_pad = spec.form, self.pad_id is None
        config = self.model.config
        if spec.labels not in (None, config.num_labels):
            raise ValueError(
                f"reward model {spec.name!r} at {spec.source}: {config.num_labels} logits {config.id2label}, expected "
                f"{spec.labels} by {_what_chose_the_head(spec)}"
            )
        if spec.logit is None and config.num_labels > 1:
            raise ValueError(
                f"reward model {spec.name!r} at {spec.source} has {config.num_labels} logits {config.id2label}: "
                f"choose one, such as {spec.name}={spec.source}#1"
            )
        if self.form == "conversation":
            return
        if self.form == "reversed" and self.tokenizer.bos_token is None:
            raise ValueError(
                f"reward model {spec.name!r} at {spec.source}: its tokenizer has no beginning-of-text token"
            )
        # Their spelling in a text would become the real ones, which mark where a text ends.
        self.special = [token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        self.tokenizer.truncation_side = "left" if self.form == "pair" else "right"
        self.max_length = min(self.max_length, MOST_TOKENS, getattr(config, "max_position_embeddings", MOST_TOKENS))

    def encode(self, prompt: Prompt, response: str) -> Encoded:
        """The tokens of one row in the form of this model, at most `max_length`; none for an empty text."""
        if self.form == "conversation":
            return super().encode(
                [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt, response
            )
        response = clean_response(remove_tokens(response, self.special), headings=self.form in ("pair", "response"))
        if self.form == "pair":
            return self._cut(remove_tokens(transcript(prompt), self.special), response, context="only_first")
        if self.form == "response":
            return self._cut(response)
        context = remove_tokens(post(prompt), self.special)
        if self.form == "reversed":
            return self._cut(f"{response} {self.tokenizer.bos_token} {context}")
        return self._cut(response, context, context="only_second")

    def _cut(self, *texts: str, context: str = "longest_first") -> Encoded:
        encoded = self.tokenizer(*texts)
        if (excess := self._excess(encoded)) > 0:
            if context != "longest_first":
                cut = texts[0 if context == "only_first" else 1]
                if excess >= len(self.tokenizer(cut, add_special_tokens=False)["input_ids"]):
                    context = "longest_first"
            encoded = self.tokenizer(*texts, truncation=context, max_length=self.max_length)
        return dict(encoded)

    def score(self, rows: Sequence[Encoded], batch_size: int = 32, what: str = "") -> torch.Tensor:
        """(N,) fp32 on the CPU, in the order of `rows`; NaN for a row without a token."""
        scores = torch.full((len(rows),), torch.nan)
        there = [place for place, row in enumerate(rows) if row["input_ids"]]
        rows = [rows[place] for place in there]
        if self.borrows_pad:
            # A model without a pad id scores its last token, and one row at a time. With an id that no row holds as the
            # pad id, the last token before the padding is the same one.
            used = {token for row in rows for token in row["input_ids"]}
            free = next((token for token in range(self.model.config.vocab_size) if token not in used), None)
            self.pad_id = self.model.config.pad_token_id = free
        scores[there] = super().score(rows, batch_size, what)
        return scores
