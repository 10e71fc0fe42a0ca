"""Tiny models have the same weights wherever and whenever they are made."""

import pytest

from tests import tiny

MODELS = (tiny.build_model, tiny.build_classifier, tiny.build_scoring_model, tiny.build_tiny_judge)


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_a_model_is_the_same_in_every_run(tmp_path, build):
    import torch

    found = []
    for chance in (1, 2):  # whatever was drawn before
        torch.manual_seed(chance)
        folder = build(tmp_path / str(chance))
        found.append({name: (folder / name).read_bytes() for name in ("model.safetensors", "tokenizer.json")})
    assert found[0] == found[1]
