"""Golds that run models: two tiny language models, tiny classifiers."""

import json
import shutil

import pytest
import torch

from tests.tiny import build_classifier, build_model
from trl_ext.d2po.gold import get_gold

PROMPTS = ["Why is the sky blue?", "Name an animal.", "Tell me how to plant a tree in a small garden.", "Hello"]
RESPONSES = ["Because the air scatters short waves.", "A fox", "", "Good tools make light work of a heavy task. " * 5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    build_model(folder / "expert", seed=1)
    build_model(folder / "amateur", seed=2)
    build_classifier(folder / "judge", labels=1, seed=3)
    build_classifier(folder / "judge3", labels=3, seed=3)
    return folder


def mean_by_hand(path, text: str) -> float:
    """The definition: every token after the first, given all before it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(path)(text)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        logps = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(logps[place, token].item() for place, token in enumerate(ids[1:])) / (len(ids) - 1)


def distill(folder, expert="expert", amateur="amateur", **arguments):
    return get_gold("contrastivedistill", expert=str(folder / expert), amateur=str(folder / amateur), **arguments)


def test_the_expert_minus_the_amateur(folder):
    scores = distill(folder)(PROMPTS, RESPONSES)
    for score, prompt, response in zip(scores, PROMPTS, RESPONSES, strict=True):
        text = f"{prompt} {response}"
        assert score == pytest.approx(
            mean_by_hand(folder / "expert", text) - mean_by_hand(folder / "amateur", text), abs=1e-5
        )
    assert max(scores) - min(scores) > 0.01
    swapped = distill(folder, "amateur", "expert")(PROMPTS, RESPONSES)
    assert swapped == pytest.approx([-score for score in scores], abs=1e-5)
    assert distill(folder, "expert", "expert")(PROMPTS, RESPONSES) == [0.0] * 4


def test_padding_does_not_change_a_row(folder):
    together = distill(folder)(PROMPTS, RESPONSES)
    for batch_size in (1, 3):
        assert distill(folder, batch_size=batch_size)(PROMPTS, RESPONSES) == pytest.approx(together, abs=1e-5)
    gold = distill(folder)
    assert [
        gold([prompt], [response])[0] for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
    ] == pytest.approx(together, abs=1e-5)
    assert gold(PROMPTS[::-1], RESPONSES[::-1]) == pytest.approx(together[::-1], abs=1e-5)


def test_short_and_long_texts(folder):
    gold = distill(folder, max_length=8)
    assert gold([""], [""]) == [0.0]
    assert gold(["Why is the sky blue?"] * 2, ["a " * 50, "a " * 90]) == pytest.approx(
        gold(["Why is the sky blue?"], ["a " * 50]) * 2
    )
    assert gold([], []) == []
    with pytest.raises(ValueError, match="max_length 1"):
        distill(folder, max_length=1)
    with pytest.raises(ValueError, match="batch_size is 0"):
        distill(folder, batch_size=0)


def logit_by_hand(path, prompt: str, response: str) -> float:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(path)(f"[INST] {prompt} [\\INST] {response}", return_tensors="pt")["input_ids"]
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        return model(input_ids=ids).logits.item()


def test_a_classifier_scores_in_the_form_of_the_card(folder):
    gold = get_gold("eurusrm", model=str(folder / "judge"))
    scores = gold(PROMPTS, RESPONSES)
    wanted = [logit_by_hand(folder / "judge", *row) for row in zip(PROMPTS, RESPONSES, strict=True)]
    assert scores == pytest.approx(wanted, abs=1e-5)
    assert len({round(score, 5) for score in scores}) == 4
    assert gold(PROMPTS[1:2], RESPONSES[1:2]) == scores[1:2]
    assert not gold.costs_money


def test_a_text_that_is_too_long_loses_its_beginning(folder):
    gold = get_gold("eurusrm", model=str(folder / "judge"), max_length=10)
    long = "The river carries cold water from the mountains to the sea. " * 3
    assert gold(["one"], [long]) == gold(["two"], [long])
    assert gold(["one"], [long + "x"]) != gold(["one"], [long])


def test_models_with_code_of_their_own_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"Eurus-RM-7b comes with Python code.*trust_remote_code=True"):
        get_gold("eurusrm")
    copy = shutil.copytree(folder / "judge", tmp_path / "own")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "code.Judge"}}))
    (copy / "code.py").write_text("raise RuntimeError('this ran')\n")
    with pytest.raises(ValueError, match="comes with Python code"):
        get_gold("eurusrm", model=str(copy))


OWN_CODE = """
from transformers import LlamaModel, LlamaPreTrainedModel
from torch import nn


class Judge(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        return self.score(self.model(input_ids=input_ids, attention_mask=attention_mask)[0])[:, -1]
"""


def test_a_model_with_its_own_class_is_used_when_allowed(folder, tmp_path):
    """As the default model does: a bare model whose output is the number itself."""
    copy = shutil.copytree(folder / "judge", tmp_path / "own_allowed")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_own.Judge"}}))
    (copy / "modeling_own.py").write_text(OWN_CODE)
    gold = get_gold("eurusrm", model=str(copy), trust_remote_code=True)
    assert gold(PROMPTS, RESPONSES) == pytest.approx(
        get_gold("eurusrm", model=str(folder / "judge"))(PROMPTS, RESPONSES), abs=1e-5
    )


def test_models_that_are_no_reward_models_are_refused(folder):
    with pytest.raises(ValueError, match=r"gives 3 numbers"):
        get_gold("eurusrm", model=str(folder / "judge3"))(PROMPTS[:1], RESPONSES[:1])
    with pytest.raises(ValueError, match=r"not a trained reward model, its weights lack score.weight"):
        get_gold("eurusrm", model=str(folder / "expert"))
