"""A language model as ms-swift trains it: the same loader, the same template, the same scored tokens.

Shapes: B rows, T tokens.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from launch.answers.records import Messages
from trl_ext.modpo.model_dir import check_dtype, check_finite, check_finite_weights, resolve_model

if TYPE_CHECKING:
    import torch

IGNORED = -100

EncodedRow = tuple[list[int], list[int]]


def resolve_adapter(path: str) -> str:
    """`path` itself.

    Raises:
        ValueError: there is no `adapter_config.json` in it, or a weight that is not finite.
    """
    if not os.path.isfile(os.path.join(path, "adapter_config.json")):
        raise ValueError(f"{path}: no adapter_config.json, this is not an adapter directory")
    check_finite_weights(path)
    return path


class Policy:
    """One model with its template and any number of named adapters, in eval mode.

    Args:
        path: model directory or hub name.
        adapters: name -> adapter directory.
        model_type, template_type, system, max_length, use_chat_template, enable_thinking: as `swift rlhf` takes them;
            None leaves ms-swift's choice.
        torch_dtype: float32, bfloat16 or float16; None takes the model's own.

    Raises:
        ValueError: a path that is no model or adapter, an unknown type, code in the model directory, or weights that are not finite.
    """

    def __init__(
        self,
        path: str,
        *,
        adapters: Mapping[str, str] | None = None,
        model_type: str | None = None,
        template_type: str | None = None,
        system: str | None = None,
        torch_dtype: str | None = None,
        max_length: int | None = None,
        use_chat_template: bool = True,
        enable_thinking: bool | None = None,
        trust_remote_code: bool = False,
    ):
        directory = resolve_model(path, trust_remote_code)
        adapters = {name: resolve_adapter(place) for name, place in (adapters or {}).items()}
        check_dtype(torch_dtype)

        import torch
        from swift.model import MODEL_MAPPING, get_model_processor
        from swift.template import get_template

        if model_type is not None and model_type not in MODEL_MAPPING:
            raise ValueError(f"model_type {model_type!r} is unknown to ms-swift")
        model, processor = get_model_processor(
            directory,
            torch_dtype=getattr(torch, torch_dtype) if torch_dtype else None,
            model_type=model_type,
            task_type="causal_lm",
        )
        # last_round: preference training scores the final answer only, whatever the conversation holds before it.
        self.template = get_template(
            processor,
            default_system=system,
            template_type=template_type,
            max_length=max_length,
            loss_scale="last_round",
            use_chat_template=use_chat_template,
            enable_thinking=enable_thinking,
        )
        self.tokenizer = self.template.tokenizer
        self.adapters = tuple(adapters)
        check_finite(model, path)
        self.model = _with_adapters(model, adapters).eval()

    @property
    def device(self) -> "torch.device":
        """Where the inputs go."""
        return self.model.device

    @property
    def max_length(self) -> int:
        """Longest encoded row, in tokens."""
        return self.template.max_length

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer: the template's end token and the tokenizer's."""
        ids = {self.template.template_meta.stop_token_id, self.tokenizer.eos_token_id}
        return sorted(token for token in ids if token is not None)

    @property
    def pad_id(self) -> int:
        """A token for masked places. Never an end token where there is a choice: a repetition penalty would see it."""
        candidates = [self.tokenizer.pad_token_id, *self.tokenizer.all_special_ids]
        ends = self.stop_ids
        return next((token for token in candidates if token is not None and token not in ends), ends[0])

    def encode_prompt(self, messages: Messages) -> list[int]:
        """Tokens (T,) of the conversation up to where the answer starts. Never truncated.

        Raises:
            ValueError: the messages do not fit the template.
        """
        self.template.set_mode("transformers")
        limit, self.template.max_length = self.template.max_length, None
        try:
            return self.template.encode({"messages": messages})["input_ids"]
        except AssertionError as error:
            raise ValueError(f"the messages do not fit the template: {error}") from error
        finally:
            self.template.max_length = limit

    def encode_pair_row(self, messages: Messages) -> EncodedRow:
        """Tokens and labels, both (T,), of a conversation that ends with the answer to score.

        Labels are -100 on the prompt; the answer and the end that training appends to it are scored.

        Raises:
            ValueError: no answer at the end, or more than `max_length` tokens.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError("a row to score must end with an assistant message")
        self.template.set_mode("train")
        try:
            encoded = self.template.encode({"messages": messages})
        except AssertionError as error:
            raise ValueError(f"the messages do not fit the template: {error}") from error
        return encoded["input_ids"], encoded["labels"]

    @staticmethod
    def response_tokens(row: EncodedRow) -> int:
        """Number of scored tokens of an encoded row, the template's whole ending included."""
        return sum(label != IGNORED for label in row[1])

    @contextmanager
    def using(self, adapter: str | None):
        """Within the block the model runs with `adapter`, or as the bare base model when None.

        Raises:
            ValueError: no adapter of that name was loaded.
        """
        if adapter is None:
            if not self.adapters:
                yield
                return
            with self.model.disable_adapter():
                yield
            return
        if adapter not in self.adapters:
            raise ValueError(f"no adapter {adapter!r}: loaded are {list(self.adapters)}")
        self.model.set_adapter(adapter)
        yield

    def sequence_logps(
        self, rows: Sequence[EncodedRow], adapter: str | None = None, batch_size: int = 8
    ) -> "torch.Tensor":
        """Sum of the log-probabilities of each row's scored tokens. Unit: nats.

        Args:
            rows: B rows of `encode_pair_row`.
            adapter: the name of a loaded adapter; None is the base model.
            batch_size: rows a forward pass; rows of similar length go together.

        Returns:
            (B,) fp32 on the CPU, in the order of `rows`. Logits are cast to fp32 before the softmax.

        Raises:
            ValueError: an unknown adapter or a batch size below one.
        """
        import torch

        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        result = torch.zeros(len(rows), dtype=torch.float32)
        order = sorted(range(len(rows)), key=lambda index: (len(rows[index][0]), index))
        with torch.no_grad(), self.using(adapter):
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                result[batch] = self._batch_logps([rows[index] for index in batch])
        return result

    def _batch_logps(self, rows: Sequence[EncodedRow]) -> "torch.Tensor":
        import torch

        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([tokens + [self.pad_id] * (longest - len(tokens)) for tokens, _ in rows])
        mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens, _ in rows])
        logits = self.model(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False
        ).logits  # (B, T, V)
        sums = []
        for row, (_, labels) in zip(logits, rows, strict=True):
            places = [place for place, label in enumerate(labels) if label != IGNORED]
            targets = torch.tensor([labels[place] for place in places], device=row.device, dtype=torch.long)
            # Only the scored places, one row at a time: the fp32 copy stays a fraction of the (B, T, V) logits.
            scored = row[torch.tensor(places, device=row.device, dtype=torch.long) - 1].float()
            sums.append(scored.log_softmax(-1).gather(1, targets[:, None]).sum())
        return torch.stack(sums).cpu()


def _with_adapters(model, adapters: Mapping[str, str]):
    if not adapters:
        return model
    from peft import PeftModel

    (first, place), *others = adapters.items()
    model = PeftModel.from_pretrained(model, place, adapter_name=first)
    for name, place in others:
        model.load_adapter(place, adapter_name=name)
    return model
