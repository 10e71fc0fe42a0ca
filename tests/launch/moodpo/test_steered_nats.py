"""The distance of steered policies over their own answers: against log-probs that transformers gives, and what is refused."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from launch.__main__ import main as launch
from launch.reproduce.steered_nats import main
from tests.launch.moodpo.conftest import NAMES
from trl_ext.moodpo.instruction import annotate, has_system_role


def log_prob(model, tokenizer, messages, answer) -> float:
    """Sum over the answer and the end of its turn."""
    start = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": answer}], tokenize=False)
    before, after = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (start, whole.removeprefix(start))
    )
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) - 1 + place, token]) for place, token in enumerate(after))


def test_it_is_the_mean_log_ratio_of_the_answer_as_it_was_asked_and_the_untouched_model_asked_plainly(
    base, steered, tmp_path
):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Name {n} animals."}) + "\n" for n in (1, 2)))
    out, file = tmp_path / "pareto", tmp_path / "nats.json"
    argv = ["--model", str(base), "--prompts", str(prompts), "--objectives", *NAMES, "--max_new_tokens", "6"]
    asked = [*argv, "--out", str(out), "--adapter", str(steered), "--policy", "prompted=moodpo", "--steps", "1"]
    assert launch(["pareto", *asked]) == 0
    assert main(["--model", str(base), "--pareto", str(out), "--out", str(file)]) == 0
    found = json.loads(file.read_text())
    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), steered).eval()
    for label, model, weights in (
        ("moodpo_100-0", tuned, [1.0, 0.0]),
        ("moodpo_0-100", tuned, [0.0, 1.0]),
        ("prompted_100-0", plain, [1.0, 0.0]),
    ):
        rows = [json.loads(line) for line in (out / "generations" / label / "00001-of-00001.jsonl").open()]
        ratios = []
        for row in rows:
            told = annotate(row["messages"], NAMES, weights, system_role=has_system_role(tokenizer))
            ratios.append(log_prob(model, tokenizer, told, row["response"]))
            ratios[-1] -= log_prob(plain, tokenizer, row["messages"], row["response"])
        assert found[label] == pytest.approx(sum(ratios) / len(ratios), abs=1e-3) and abs(found[label]) > 1e-4
    assert found["untouched"] == 0.0 and len(found) == 5


def test_a_policy_that_is_no_adapter_of_the_model_is_refused(base, tmp_path):
    note = {"objectives": list(NAMES), "vectors": [[1.0, 0.0]], "points": [
        {"label": "other", "policy": "other", "kind": "fixed", "weights": None, "path": str(tmp_path), "names": []},
    ]}  # fmt: skip
    (tmp_path / "points.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match=f"{tmp_path} is no adapter of"):
        main(["--model", str(base), "--pareto", str(tmp_path), "--out", str(tmp_path / "o.json")])
