"""A prompt with several answers is read once, and the answers are those of a plain call."""

import pytest
import torch
from transformers import GenerationConfig

from trl_ext.shared_prefix.prefill import prefilled

from .test_architectures import EXACT, VOCABULARY, tiny
from .test_layout import padded


def prompts(counts=(3, 1, 2)):
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, VOCABULARY, (length,), generator=draw).tolist() for length in (20, 16, 1)]
    return padded([row for row, count in zip(rows, counts, strict=True) for _ in range(count)], left=True)


def answers(model, ids, mask, **given):
    config = GenerationConfig(max_new_tokens=12, do_sample=True, top_k=0, pad_token_id=0, eos_token_id=2)
    torch.manual_seed(1)
    with torch.no_grad():
        return model.generate(input_ids=ids, attention_mask=mask, generation_config=config, **given)


@pytest.mark.parametrize(
    "case", ["llama", "mistral, window", "qwen2, window", "gemma2, window", "gemma3, window", "opt"]
)
def test_answers_are_those_of_a_plain_call(case):
    name, settings = EXACT[case]
    model = tiny(name, **settings)
    seen = []
    model.register_forward_pre_hook(lambda module, args, given: seen.append(given["input_ids"].shape), with_kwargs=True)
    ids, mask = prompts()
    plain = answers(model, ids, mask)
    seen.clear()
    with torch.no_grad():
        given = prefilled(model, ids, mask)
    assert (answers(model, ids, mask, **given) == plain).all()
    assert seen[0] == (3, 19) and set(seen[1:]) == {(6, 1)}


def test_nothing_is_prefilled_without_gain_or_for_a_model_that_was_not_measured():
    model = tiny("Llama")
    ids, mask = prompts((1, 1, 1))
    assert prefilled(model, ids, mask) == {}
    assert prefilled(model, torch.ones(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.long)) == {}
    model.config.model_type = "mamba"
    assert prefilled(model, *prompts()) == {}
