"""Operations of a step by formula: against those that PyTorch counts, worked numbers, and what has no peak."""

import pytest

from datasets_builders.io import read_object
from launch.common.operations import (
    PEAKS,
    SHAPES,
    Rows,
    backward_operations,
    bytes_of_a_token,
    cache_bytes,
    forward_operations,
    parameters,
    step_operations,
    utilisation,
)
from tests.conftest import REPOSITORY

SMALL = {
    "vocab_size": 400, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2,
}  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["all weights", "frozen matrices"])
def counted(request) -> tuple[bool, float, float]:
    """(matrices are frozen, operations forward, backward) of two sequences of 24 tokens, by PyTorch's counter."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**SMALL, attn_implementation="eager"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not request.param or "embed" in name or "norm" in name)
    ids = torch.arange(48).view(2, 24)
    with FlopCounterMode(display=False) as forward:
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    return request.param, forward.get_total_flops(), backward.get_total_flops()


def test_the_formula_is_what_pytorch_counts(counted):
    frozen, forward, backward = counted
    rows = Rows(count=2, tokens=24, read=24)
    assert forward_operations(SMALL, rows) == pytest.approx(forward, rel=1e-3)
    assert backward_operations(SMALL, rows, lora=frozen) == pytest.approx(backward, rel=1e-3)


def test_a_step_by_hand():
    """Width 2, one head and layer, 3 words: 16 weights of q, k, v and o, 12 of the MLP, 6 of the head."""
    shape = dict.fromkeys(("hidden_size", "intermediate_size"), 2) | {"vocab_size": 3} | dict.fromkeys(
        ("num_hidden_layers", "num_attention_heads", "num_key_value_heads"), 1
    )  # fmt: skip
    rows = Rows(count=1, tokens=5, read=2)
    weights, attention = 2 * (5 * (16 + 12) + 2 * 6), 4 * 25 * 2
    assert forward_operations(shape, rows) == weights + attention
    assert step_operations(shape, rows, lora=False) == 3 * (weights + attention)
    assert step_operations(shape, rows, lora=True, forwards=2) == 4 * weights + 5 * attention


def test_a_prompt_that_is_shared_counts_once():
    plain, shared = (Rows.of(prompts=3, answers=8, prompt=100, answer=10, shared=shared) for shared in (False, True))
    assert (plain.count * plain.tokens, shared.count * shared.tokens) == (3 * 8 * 110, 3 * 180)
    assert plain.count * plain.read == shared.count * shared.read == 3 * 8 * 10
    assert forward_operations(SHAPES["7B"], shared) < 0.25 * forward_operations(SHAPES["7B"], plain)


def test_a_gpu_that_is_not_known_has_no_utilisation():
    assert utilisation(989e12, 2.0, "NVIDIA H200") == 0.5
    for name in ("NVIDIA H200 NVL", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "x86_64"):
        assert utilisation(1e12, 1.0, name) is None
    assert all(name.startswith("NVIDIA ") and 1e14 < peak < 1e15 for name, peak in PEAKS.items())


def test_weights_and_cache_are_those_that_were_counted():
    """docs/results/scaling.json: counted with the modelling code on the meta device."""
    counted = read_object(REPOSITORY / "docs" / "results" / "scaling.json")["parts"]
    for name, parts in counted.items():
        assert parameters(SHAPES[name]) == pytest.approx(parts["parameters"], rel=1e-3)
        assert cache_bytes(SHAPES[name]) == parts["cache"]
    assert parameters(SHAPES["0.5B"]) == pytest.approx(
        494e6, rel=2e-3
    )  # the model's card: 0.49B, 0.36B without embedding


def test_a_drawn_token_reads_the_weights_and_half_of_the_answers_caches():
    assert bytes_of_a_token(weights=1000, answers=3, tokens=20, answer=8, cache=10) == 1000 + 3 * 16 * 10
