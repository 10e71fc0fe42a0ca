"""`--backend vllm` as far as it goes without vLLM: who may choose it, what is refused, prompts as tokens, resuming.

What the engine itself does is in `test_vllm_backend.py`.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from launch.__main__ import main
from launch.answers.backends import Answer, Decoding, Item, LocalBackend, TransformersBackend
from launch.answers.draw import draw
from launch.answers.engine import check_engine, own_dtype, why_merged
from launch.answers.local import backend_of
from launch.answers.policy import Policy, read_form
from launch.answers.prompts import asked
from tests import tiny
from tests.launch.model_flags import POLICY

without_vllm = pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed in this environment")
OBJECTIVES = ["--objectives", "brevity", "plain_words"]


def commands(model_dir, rows, pairs, out):
    """Every verb whose answers a model of this machine draws."""
    asks = ["--prompts", rows, "--out", out]
    return {
        "generate": ["--model", model_dir, *asks, "--label", "a"],
        "generate-checkpoints": ["--model", model_dir, "--base", "--checkpoints", model_dir, *asks],
        "eval-bt": ["--model", model_dir, "--source", rows, "--out", out],
        "variance": ["--model", model_dir, "--source", rows, "--out", out],
        "judge": ["--model", model_dir, "--pairs", pairs, "--out", out],
        "eval-judge": ["--model", model_dir, "--benchmark", "judgebench", "--source", rows, "--out", out],
        "steer": ["--model", model_dir, *OBJECTIVES, "--weights", "brevity=1,plain_words=0", "Why?"],
        "steer-page": ["--model", model_dir, *OBJECTIVES],
        "pareto": ["--model", model_dir, *asks, *OBJECTIVES, "--num_samples", "2"],
    }


VERBS = sorted(commands("m", "r", "p", "o"))


@without_vllm
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_draws_answers_says_what_vllm_needs_and_writes_nothing(
    verb, model_dir, write_rows, tmp_path, capsys
):
    (checkpoint := tmp_path / "run/checkpoint-1").mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (checkpoint / file).symlink_to(f"{model_dir}/{file}")
    rows = write_rows("rows.jsonl", [{"prompt": "Why?"}])
    pairs = write_rows("pairs.jsonl", [{"prompt": "Why?", "response_a": "Salt.", "response_b": "The sea."}])
    argv = commands(model_dir, rows, pairs, str(tmp_path / "out"))[verb]
    argv = [
        str(tmp_path / "run/*") if before == "--checkpoints" else one
        for before, one in zip(["", *argv], argv, strict=False)
    ]
    assert main([verb, *argv, "--backend", "vllm"]) == 2
    assert "--backend vllm needs vLLM, which is not in this environment: pip install" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_a_misspelt_backend_offers_the_nearest(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--backend", "vlm"])
    assert "vllm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        (Decoding(no_repeat_ngram_size=3), "--no_repeat_ngram_size does not exist in vLLM"),
        (Decoding(do_sample=True, temperature=0.005), "--temperature 0.005: vLLM draws at 0.01 at the least"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_by_name(decoding, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_engine(decoding)


def test_a_policy_answers_by_transformers(policy):
    assert type(backend_of(policy, Decoding(max_new_tokens=4))) is TransformersBackend


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kind": "assistant"},
        {"kind": "summary", "max_length": 99},
        {"system": "You are kind", "enable_thinking": False},
        {"use_chat_template": False},
        pytest.param(POLICY, marks=pytest.mark.skipif(find_spec("swift") is None, reason="needs ms-swift")),
    ],
)
def test_the_form_that_is_read_without_weights_is_that_of_the_policy(model_dir, adapter_dir, settings):
    """Prompts for the engine are the tokens that transformers is given, and answers end at the same tokens."""
    expected = Policy(model_dir, adapters=adapter_dir, **settings).form
    found = read_form(model_dir, adapter_dir, **{k: v for k, v in settings.items() if k != "torch_dtype"})
    assert type(found) is type(expected)
    assert (found.stop_ids, found.max_length) == (expected.stop_ids, expected.max_length) and found.stop_ids
    prompt = asked("Why is the sky blue?").messages
    assert found.encode_prompt(prompt) == expected.encode_prompt(prompt)


def test_stop_tokens_without_a_file_of_generation_are_those_of_the_policy(tmp_path):
    folder = tiny.build_model(tmp_path / "model")
    (folder / "generation_config.json").unlink()
    found, expected = read_form(str(folder)), Policy(str(folder)).form
    assert found.stop_ids == expected.stop_ids == [2]


def test_the_dtype_is_the_models_own(model_dir, tmp_path):
    assert own_dtype(model_dir) == "float32"
    config = json.loads(Path(model_dir, "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if "dtype" not in k}))
    with pytest.raises(ValueError, match="names no dtype: add --torch_dtype, one of float32"):
        own_dtype(str(tmp_path))


# --- adapters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, None),
        ({"use_rslora": True}, None),
        ({"init_lora_weights": "gaussian"}, None),
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa"),
        ({"bias": "lora_only"}, "bias lora_only"),
        ({"r": 1024}, "rank 1024"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_what_vllm_does_not_serve_is_merged(adapter_dir, tmp_path, settings, reason):
    own = json.loads(Path(adapter_dir, "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(own | settings))
    (tmp_path / "adapter_model.safetensors").symlink_to(f"{adapter_dir}/adapter_model.safetensors")
    assert why_merged(tmp_path) == reason


def test_weights_of_the_output_layer_are_merged(model_dir, tmp_path):
    adapter = tiny.build_adapter(model_dir, tmp_path / "adapter", target_modules=("q_proj", "lm_head"))
    assert ".lm_head." in why_merged(adapter)


def test_an_adapter_of_another_kind_is_refused(adapter_dir, tmp_path):
    own = json.loads(Path(adapter_dir, "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(own | {"peft_type": "IA3"}))
    with pytest.raises(ValueError, match="peft_type 'IA3': only LORA"):
        why_merged(tmp_path)


# --- a back end that batches by itself ------------------------------------------------------------------------------------


class InReverse(LocalBackend):
    """Answers in pairs, last prompt first, and is gone after `last` of them."""

    whole_batches, own_batches = False, True

    def __init__(self, policy, last=99):
        super().__init__(policy, Decoding(max_new_tokens=4))
        self.last, self.asked = last, []

    def draw(self, items, keep):
        self.asked.append(list(items))
        left = list(reversed(items))
        for start in range(0, len(left), 2):
            if start >= self.last:
                raise KeyboardInterrupt
            two = left[start : start + 2]
            keep(two, [Answer(one.prompt.messages[0]["content"].upper(), 1, 1, False, False) for one in two])
        return []


def test_it_is_given_all_at_once_and_a_rerun_asks_for_what_is_missing(policy, tmp_path):
    prompts = [asked(text) for text in "abcdefg"]
    target = tmp_path / "a.jsonl"
    how = {"settings": {}, "label": "x", "num_samples": 1, "batch_size": 2}
    first, second = InReverse(policy, last=4), InReverse(policy)
    with pytest.raises(KeyboardInterrupt):
        draw(prompts, lambda: first, target, **how)
    assert first.asked == [[Item(prompt, 0) for prompt in prompts]]
    assert draw(prompts, lambda: second, target, **how) == 3
    assert second.asked == [[Item(prompt, 0) for prompt in prompts[:3]]]
    assert [json.loads(line)["response"] for line in target.read_text().splitlines()] == list("ABCDEFG")


def test_it_says_how_far_it_is(policy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("datasets_builders.progress.BETWEEN_LINES", 0)
    prompts = [asked(text) for text in "abcdefg"]
    draw(prompts, lambda: InReverse(policy), tmp_path / "a.jsonl", settings={}, label="x", num_samples=1, batch_size=2)
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if line.startswith("a.jsonl: ")] == ["a.jsonl: 7 of 7 answers"]
    said = [line.partition(" answers, ") for line in printed.err.splitlines() if line.startswith("x: ")]
    assert [counts for counts, _, _ in said][:4] == ["x: 0 of 7", "x: 2 of 7", "x: 4 of 7", "x: 6 of 7"]
    assert all(rest.endswith(" left") for _, _, rest in said) and said[-1][0] == "x: 7 of 7"


def test_what_is_there_already_counts_and_is_not_said_to_come_again(policy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("datasets_builders.progress.BETWEEN_LINES", 0)
    prompts = [asked(text) for text in "abcdefg"]
    how = {"settings": {}, "label": "x", "num_samples": 1, "batch_size": 2}
    with pytest.raises(KeyboardInterrupt):
        draw(prompts, lambda: InReverse(policy, last=4), tmp_path / "a.jsonl", **how)
    capsys.readouterr()
    draw(prompts, lambda: InReverse(policy), tmp_path / "a.jsonl", **how)
    said = [line.partition(" answers, ")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("x: ")]
    assert said[0] == "x: 4 of 7" and said[-1] == "x: 7 of 7"
