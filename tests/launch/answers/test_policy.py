import json

import pytest
import torch

from launch.answers.forms import IGNORED
from launch.answers.policy import Policy, resolve_model

ROWS = [
    ("Tell me about the sea.", "The sea is wide and blue."),
    ("Why?", "Light of short waves is scattered more by the air, and the wind moves over it all day long."),
    ("How do I bake bread?", ""),
    ("How do I bake bread? " * 4, "Mix flour."),
    ("a", "b"),
]


def conversation(prompt, answer):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def reference_logp(model, row):
    """One row, no padding, float64 softmax written out."""
    ids, labels = row
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    total = 0.0
    for place in range(1, len(ids)):
        if labels[place] != IGNORED:
            line = logits[place - 1]
            total += float(line[labels[place]] - torch.logsumexp(line, 0))
    return total


def load_peft(model_dir, adapter=None):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    return (PeftModel.from_pretrained(model, adapter) if adapter else model).eval()


def test_the_answer_and_its_end_are_scored_and_the_prompt_is_not(policy):
    ids, labels = policy.encode_pair_row(conversation("Why?", "the sea"))
    scored = [label for label in labels if label != IGNORED]
    assert policy.tokenizer.decode(scored) == "the sea<|im_end|>\n"
    prompt = policy.encode_prompt(conversation("Why?", "the sea")[:1])
    assert ids[: len(prompt)] == prompt
    assert labels[: len(prompt)] == [IGNORED] * len(prompt)
    assert policy.tokenizer.decode(prompt) == (
        "<|im_start|>system\nYou are kind<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_only_the_last_answer_of_a_conversation_is_scored(policy):
    messages = conversation("Why?", "the sea") + conversation("And?", "the wind")
    _, labels = policy.encode_pair_row(messages)
    assert policy.tokenizer.decode([label for label in labels if label != IGNORED]) == "the wind<|im_end|>\n"


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_sums_equal_an_unpadded_computation(policy, model_dir, adapter_dir, other_adapter_dir, batch_size):
    rows = [policy.encode_pair_row(conversation(*row)) for row in ROWS]
    for name, adapter in ((None, None), ("one", adapter_dir), ("two", other_adapter_dir)):
        model = load_peft(model_dir, adapter)
        expected = torch.tensor([reference_logp(model, row) for row in rows])
        found = policy.sequence_logps(rows, name, batch_size)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


def test_no_adapter_means_the_base_model_even_after_an_adapter_ran(policy, model_dir):
    rows = [policy.encode_pair_row(conversation(*row)) for row in ROWS]
    tuned = policy.sequence_logps(rows, "one")
    base = policy.sequence_logps(rows, None)
    bare = Policy(model_dir, model_type="llama", template_type="chatml", system="You are kind", torch_dtype="float32")
    torch.testing.assert_close(base, bare.sequence_logps(rows), rtol=0, atol=1e-5)
    assert (tuned - base).abs().min() > 1e-3


def test_scoring_leaves_no_gradient(policy):
    assert not policy.sequence_logps([policy.encode_pair_row(conversation("a", "b"))], "one").requires_grad


def test_errors_name_what_was_found(policy, tmp_path):
    with pytest.raises(ValueError, match="no adapter 'three'"):
        policy.sequence_logps([], "three")
    with pytest.raises(ValueError, match="end with an assistant"):
        policy.encode_pair_row([{"role": "user", "content": "Why?"}])
    with pytest.raises(ValueError, match="max_length"):
        policy.encode_pair_row(conversation("Why?", "the sea " * 600))
    with pytest.raises(ValueError, match=r"no config\.json"):
        Policy(str(tmp_path))
    with pytest.raises(ValueError, match="nobody/nothing"):
        Policy("nobody/nothing")


def test_code_in_a_model_directory_is_refused_unless_asked_for(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(ValueError, match="trust_remote_code"):
        resolve_model(str(tmp_path))
    assert resolve_model(str(tmp_path), trust_remote_code=True) == str(tmp_path)


def test_a_prompt_with_two_answers_is_computed_once(policy):
    prompt = "Tell me about the sea. " * 4
    pairs = [
        conversation(f"{prompt}{n}", answer) for n in range(3) for answer in ("It is wide.", "It is blue and deep.")
    ]
    rows = [policy.encode_pair_row(one) for one in pairs]
    seen = []
    hook = policy.model.register_forward_pre_hook(
        lambda module, args, given: seen.append(given["input_ids"].shape), with_kwargs=True
    )
    policy.sequence_logps(rows, None, 6)
    hook.remove()
    (streams, places), tokens = seen[-1], sum(len(ids) for ids, _ in rows)
    assert streams == 3 and streams * places < 0.7 * tokens
    mixed = [0, 2, 4, 1, 3, 5]  # the two answers of a prompt need not be neighbours
    found = policy.sequence_logps([rows[index] for index in mixed], "one", 4)
    expected = torch.cat([policy.sequence_logps([rows[index]], "one") for index in mixed])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
