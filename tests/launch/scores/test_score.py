import json

import pytest
import torch

from launch.answers.policy import Policy
from launch.scores import score
from tests.launch.model_flags import MODEL_FLAGS, POLICY
from tests.tiny import build_classifier
from trl_ext.modpo.classifier import ClassifierReward

ANSWERS = [("Why?", "The sea is wide and blue."), ("How?", "salt"), ("Tell me about the sea.", ""), ("a", "the wind")]


@pytest.fixture
def gens(write_rows, record, tmp_path):
    rows = [
        record(text, answer, response_tokens=index + 2, capped=index == 1, prompt_truncated=index == 2)
        for index, (text, answer) in enumerate(ANSWERS)
    ]
    write_rows("gens/sft/00001-of-00001.jsonl", rows)
    return str(tmp_path / "gens/sft")


def scores(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def classifier_dir(tmp_path_factory):
    """A llama with three heads and a pad token of its own."""
    return str(build_classifier(tmp_path_factory.mktemp("classifier"), seed=5))


def test_functions_and_implicit_rewards_side_by_side(
    gens, model_dir, adapter_dir, other_adapter_dir, policy, tmp_path, capsys
):
    rewards = ["short=function:brevity", f"w0.5=implicit:{adapter_dir}", f"two=implicit:{other_adapter_dir}"]
    base = ["--gens", gens, "--out", str(tmp_path / "s"), "--beta", "0.3", "--batch_size", "3"]
    assert score.main([*base, "--model", model_dir, *MODEL_FLAGS, "--reward", *rewards]) == 0
    rows = scores(tmp_path / "s/sft.jsonl")
    assert [row["scores"]["short"] for row in rows] == [-6, -1, 0, -2]
    assert [row["words"] for row in rows] == [6, 1, 0, 2]
    assert [row["response_tokens"] for row in rows] == [2, 3, 4, 5]
    assert [row["capped"] for row in rows] == [False, True, False, False]
    assert [row["prompt_truncated"] for row in rows] == [False, False, True, False]
    for row, (text, answer) in zip(rows, ANSWERS, strict=True):
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
        encoded = [policy.encode_pair_row(messages)]
        for name, adapter in (("w0.5", "one"), ("two", "two")):
            expected = 0.3 * float(policy.sequence_logps(encoded, adapter) - policy.sequence_logps(encoded, None))
            assert row["scores"][name] == pytest.approx(expected, abs=1e-5)
    units = {
        name: spec["unit"] for name, spec in json.loads((tmp_path / "s/score.json").read_text())["rewards"].items()
    }
    assert units == {"short": "minus words", "w0.5": "0.3 × nats", "two": "0.3 × nats"}


def test_a_chat_classifier_sees_the_conversation_once_templated(gens, classifier_dir, tmp_path):
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    base = ["--gens", gens, "--out", str(tmp_path / "s"), "--reward", f"rm=classifier:{classifier_dir}"]
    score.main([*base, "--classifier_head", "2", "--batch_size", "3"])
    model = LlamaForSequenceClassification.from_pretrained(classifier_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier_dir)
    for row, (text, answer) in zip(scores(tmp_path / "s/sft.jsonl"), ANSWERS, strict=True):
        chat = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
        ids = tokenizer(chat, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            expected = model(ids).logits[0, 2]
        assert row["scores"]["rm"] == pytest.approx(float(expected), abs=1e-5)


def test_without_a_pad_token_of_its_own_the_score_does_not_depend_on_the_batch(classifier_dir, record, tmp_path):
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    model = LlamaForSequenceClassification.from_pretrained(classifier_dir)
    model.config.pad_token_id = None
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(classifier_dir).save_pretrained(tmp_path)
    records = [record(*answer) for answer in ANSWERS]
    together = score.classifier_scorer(str(tmp_path), batch_size=4)(records)
    alone = [score.classifier_scorer(str(tmp_path), batch_size=1)([item])[0] for item in records]
    assert together == pytest.approx(alone, abs=1e-5)


def test_a_pair_classifier_gets_prompt_and_response(classifier_dir, record, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(classifier_dir)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(classifier_dir).eval()
    model.save_pretrained(tmp_path)
    (found,) = score.classifier_scorer(str(tmp_path), head=1)([record("Tell me about the sea. " * 9, "salt")])
    with torch.no_grad():
        expected = model(**tokenizer("Tell me about the sea. " * 9, "salt", return_tensors="pt")).logits[0, 1]
    assert found == pytest.approx(float(expected), abs=1e-5)
    item = record("Tell me about the sea. " * 9, "salt")
    short = ClassifierReward(str(tmp_path), max_length=8, cut_overlong=False)
    kept = short.encode(item["messages"], item["response"])["input_ids"]
    assert len(kept) == 8
    assert tokenizer.decode(kept).endswith("salt")
    with pytest.raises(ValueError, match=r"label sft, prompt .* sample 0: .*--classifier_max_length"):
        score.classifier_scorer(str(tmp_path), max_length=8)([record("Why?", "the sea " * 9)])


def test_classifier_errors(classifier_dir, record):
    with pytest.raises(ValueError, match="has no head 3, which --classifier_head chose; it has 3"):
        score.classifier_scorer(classifier_dir, head=3)
    with pytest.raises(ValueError, match=r"label sft, prompt .* sample 0: .*--classifier_max_length"):
        score.classifier_scorer(classifier_dir, max_length=4)([record("Why?", "the sea")])


def test_a_score_that_is_not_finite_names_the_row(record):
    records = [record("Why?"), record("How?", label="w0.2", sample=3)]
    with pytest.raises(ValueError, match=rf"w0\.2.*{records[1]['prompt_id']}.*sample 3.*'bad' is nan"):
        score.score_records(records, {"good": lambda rows: [1.0] * 2, "bad": lambda rows: [0.0, float("nan")]})


def test_a_failed_run_leaves_no_scores(gens, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "function_scorer", lambda name: lambda rows: [float("inf")] * len(rows))
    with pytest.raises(ValueError, match="inf"):
        score.main(["--gens", gens, "--out", str(tmp_path / "s"), "--reward", "x=function:brevity"])
    assert not list((tmp_path / "s").glob("*")) if (tmp_path / "s").exists() else True


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["brevity"], "NAME=KIND:TARGET"),
        (["a=function:"], "NAME=KIND:TARGET"),
        (["a=magic:x"], "function, implicit, classifier"),
        (["a=function:brevitty"], "did you mean 'brevity'"),
        (["a=function:brevity", "a=function:brevity"], "used twice"),
    ],
)
def test_specs_that_mean_nothing_are_refused(specs, message):
    with pytest.raises(ValueError, match=message):
        score.parse_specs(specs)


def test_command_line_mistakes(gens, adapter_dir, tmp_path):
    out = ["--out", str(tmp_path / "s")]
    with pytest.raises(ValueError, match="needs --model"):
        score.main(["--gens", gens, *out, "--reward", f"a=implicit:{adapter_dir}"])
    with pytest.raises(ValueError, match="given twice"):
        score.main(["--gens", gens, gens, *out, "--reward", "a=function:brevity"])


def test_an_overlong_answer_is_named(model_dir, adapter_dir, record):
    policy = Policy(model_dir, adapters={"one": adapter_dir}, **POLICY)
    scorer = score.implicit_scorer(policy, "one", 0.1, 2)
    with pytest.raises(ValueError, match=r"label sft, prompt .* sample 0: .*max_length"):
        scorer([record("Why?", "the sea " * 600)])
