"""A tiny random classifier as a margin."""

import json

import pytest
import torch

from trl_ext.modpo.classifier import ClassifierReward

PROMPTS = [
    [{"role": "user", "content": "Name three animals."}],
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why is the sky blue?"}],
    [{"role": "user", "content": "Bread?"}],
]
RESPONSES = ["A bear.", "Because the air scatters short waves more than long ones.", "Flour, water, salt."]


@pytest.fixture(scope="module", params=["template", "pair"])
def folder(request, tmp_path_factory):
    from tests.tiny import build_classifier

    return build_classifier(tmp_path_factory.mktemp("classifier") / request.param, chat=request.param == "template")


def direct(folder, prompt, response, head) -> float:
    """One example at a time, the input written out by hand, without padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template:
        turns = [*prompt, {"role": "assistant", "content": response}]
        text = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in turns)
        ids = tokenizer.encode(text, add_special_tokens=False)
    else:
        ids = tokenizer.encode(prompt[-1]["content"], response)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, head].item()


@pytest.mark.parametrize("head", [0, 2])
def test_scores_are_the_logit_of_the_head_for_any_batch_size(folder, head):
    score = ClassifierReward(str(folder), head=head)
    expected = torch.tensor([direct(folder, p, r, head) for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    assert expected.std() > 1e-3
    for size in (1, 2, 32):
        found = score(PROMPTS, RESPONSES, batch_size=size)
        assert found.dtype == torch.float32 and found.shape == (3,)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_classifier_is_frozen_and_needs_no_gradient(folder):
    score = ClassifierReward(str(folder))
    assert not any(parameter.requires_grad for parameter in score.model.parameters()) and not score.model.training
    assert not score(PROMPTS, RESPONSES).requires_grad


def test_a_head_that_does_not_exist_is_refused(folder):
    with pytest.raises(
        ValueError, match=r"has no head 3; it has 3, counted from 0: 0 \(LABEL_0\), 1 \(LABEL_1\), 2 \(LABEL_2\)$"
    ):
        ClassifierReward(str(folder), head=3)


def test_long_inputs_lose_their_beginning_so_that_the_response_counts(folder):
    score = ClassifierReward(str(folder), max_length=24)
    long = [{"role": "user", "content": "word " * 200}]
    one, other = score([long, long], ["yes", "no"])
    assert abs(one - other) > 1e-4


def test_of_a_pair_the_prompt_is_cut_first_and_the_end_of_the_response_always_stays(tmp_path):
    from tests.tiny import build_classifier

    score = ClassifierReward(str(build_classifier(tmp_path, chat=False)), max_length=24)
    prompt = [{"role": "user", "content": "word " * 200}]
    response = "Flour, water, salt, flour, water, salt."
    tokens = score.tokenizer(response)["input_ids"]
    assert 12 < len(tokens) < 24, "longer than the half that cutting the longer side first would leave it"
    kept = score.encode(prompt, response)["input_ids"]
    assert len(kept) == 24 and kept[-len(tokens) :] == tokens
    assert kept[: -len(tokens)] == score.tokenizer(prompt[0]["content"])["input_ids"][len(tokens) - 24 :]
    kept = score.encode([{"role": "user", "content": "Bread?"}], response * 9)["input_ids"]
    assert len(kept) == 24 and score.tokenizer.decode(kept).endswith("salt.")


def test_a_model_with_code_of_its_own_is_refused(folder, tmp_path):
    """Without this rule transformers asks at the terminal, or fails with a message of its own."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "own.Model"}}))
    with pytest.raises(ValueError, match="brings Python code"):
        ClassifierReward(str(tmp_path))


def test_a_folder_that_holds_no_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json, this is not a model directory"):
        ClassifierReward(str(tmp_path))
