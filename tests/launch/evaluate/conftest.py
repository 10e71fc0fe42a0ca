"""A random two-layer Llama with a real tokenizer, and adapters of it, built in code: nothing is downloaded."""

import json
import os

import pytest

from tests.launch.evaluate.tiny_models import POLICY, llama_config, make_adapter, make_tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    import torch
    from transformers import LlamaForCausalLM

    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(llama_config(tokenizer))
    # A random model hardly ever ends an answer; a louder end token makes some answers short and some long.
    model.lm_head.weight.data[tokenizer.eos_token_id] *= 1.8
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


@pytest.fixture(scope="session")
def adapter_dir(model_dir, tmp_path_factory):
    return make_adapter(model_dir, tmp_path_factory.mktemp("adapter"), seed=1)


@pytest.fixture(scope="session")
def other_adapter_dir(model_dir, tmp_path_factory):
    return make_adapter(model_dir, tmp_path_factory.mktemp("other_adapter"), seed=2)


@pytest.fixture(scope="session")
def null_adapter_dir(model_dir, tmp_path_factory):
    """An adapter that changes nothing: every implicit reward is exactly 0."""
    return make_adapter(model_dir, tmp_path_factory.mktemp("null_adapter"), seed=3, scale=0.0)


@pytest.fixture(scope="session")
def policy(model_dir, adapter_dir, other_adapter_dir):
    from launch.evaluate.policy import Policy

    return Policy(model_dir, adapters={"one": adapter_dir, "two": other_adapter_dir}, **POLICY)


@pytest.fixture
def write_rows(tmp_path):
    """Writes JSON lines under the test's directory and returns the path as text."""

    def write(name, rows):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def record():
    """A generation record with chosen fields."""
    from launch.evaluate.records import prompt_id

    def make(text, response="the sea", label="sft", sample=0, **extra):
        messages = [{"role": "user", "content": text}]
        return {
            "prompt_id": prompt_id(messages),
            "sample": sample,
            "messages": messages,
            "prompt": text,
            "response": response,
            "response_tokens": 3,
            "prompt_tokens": 9,
            "prompt_truncated": False,
            "capped": False,
            "label": label,
        } | extra

    return make
