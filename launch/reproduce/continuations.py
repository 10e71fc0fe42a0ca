"""Continuations of a fixed number of words by a small language model that never ends by itself. P prompts, G of each, T tokens."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from launch.answers.prompts import read_prompts

ROWS_AT_ONCE = 256


class Drawn(NamedTuple):
    """A batch: `ids` (N, L + T) with their `mask`, the texts of the last T tokens, and the logits (N, T, V) that drew them."""

    ids: torch.Tensor
    mask: torch.Tensor
    texts: list[str]
    logits: torch.Tensor


def read_texts(file: Path) -> list[str]:
    """The distinct prompts of a file, without anything around them. Errors: see `read_prompts`."""
    return [prompt.messages[-1]["content"] for prompt in read_prompts(file)]


def load(folder: Path, adapter: Path | None = None) -> tuple[Any, Any]:
    """Model in eval mode, with the adapter merged into it, and tokenizer that pads on the left."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)
    return model.eval(), tokenizer


@torch.no_grad()
def draw(model: Any, tokenizer: Any, prompts: Sequence[str], count: int, tokens: int, seed: int) -> Iterator[Drawn]:
    """`count` continuations of every prompt, those of one prompt side by side, from all of the distribution."""
    torch.manual_seed(seed)
    step = max(1, ROWS_AT_ONCE // count)
    how = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=tokens, num_return_sequences=count,
        pad_token_id=tokenizer.pad_token_id, return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    for start in range(0, len(prompts), step):
        batch = tokenizer(list(prompts[start : start + step]), return_tensors="pt", padding=True)
        found = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=how
        )
        mask = batch["attention_mask"].repeat_interleave(count, 0)
        mask = torch.cat([mask, mask.new_ones(len(mask), tokens)], 1)
        texts = tokenizer.batch_decode(found.sequences[:, -tokens:], skip_special_tokens=True)
        yield Drawn(found.sequences, mask, texts, torch.stack(found.logits, 1))


@torch.no_grad()
def divergence(model: Any, drawn: Drawn) -> torch.Tensor:
    """(N,) nats: for each continuation the sum over its T places of KL(drawn from || `model`), exact over the vocabulary."""
    tokens = drawn.logits.shape[1]
    places = (drawn.mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=drawn.ids, attention_mask=drawn.mask, position_ids=places, logits_to_keep=tokens + 1
    ).logits
    theirs, ours = logits[:, :-1].log_softmax(-1), drawn.logits.log_softmax(-1)
    return (ours.exp() * (ours - theirs)).sum((1, 2))
