"""The divergence that the claims report, against PyTorch's own, one unpadded row after another."""

import pytest
import torch

from launch.reproduce.continuations import divergence, draw, load
from launch.reproduce.random_model import write_random_model

TEXTS = ["the sea is deep and the boat is old", "a garden has one rose"]
PROMPTS = ["the sea", "a garden has one rose and the old boat is"]  # of different length: the first is padded
TOKENS = 5


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    found = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("models") / str(seed)
        write_random_model(folder, TEXTS, seed, layers=1)
        model, tokenizer = load(folder)
        for weights in model.parameters():
            weights.data *= 3  # so that the two disagree
        found.append((model, tokenizer))
    return found


def by_the_row(one, other, drawn) -> list[float]:
    nats = []
    for ids, mask in zip(drawn.ids, drawn.mask, strict=True):
        row = ids[mask.bool()][None]
        ours, theirs = (
            torch.distributions.Categorical(logits=model(row).logits[0, -TOKENS - 1 : -1]) for model in (one, other)
        )
        nats.append(torch.distributions.kl_divergence(ours, theirs).sum().item())
    return nats


@torch.no_grad()
def test_it_is_that_from_what_drew_to_the_other_model_at_every_drawn_place(models):
    (policy, tokenizer), (base, _) = models
    (drawn,) = draw(policy, tokenizer, PROMPTS, 2, TOKENS, seed=0)
    found = divergence(base, drawn)
    assert found.tolist() == pytest.approx(by_the_row(policy, base, drawn), rel=1e-4)
    turned = torch.tensor(by_the_row(base, policy, drawn))
    assert ((found - turned).abs() / turned > 1e-2).all()  # the other direction is another number
    assert (found > 0.1).all()


def test_a_model_is_nowhere_from_itself(models):
    policy, tokenizer = models[0]
    (drawn,) = draw(policy, tokenizer, PROMPTS, 2, TOKENS, seed=0)
    assert divergence(policy, drawn).tolist() == pytest.approx([0] * 4, abs=1e-4)
