"""Conversations by the tokenizer's own chat template, without ms-swift, and the same tokens with it."""

import json
import shutil
from importlib.util import find_spec

import pytest

from launch.__main__ import main as launch
from launch.answers.forms import IGNORED
from launch.answers.policy import Policy
from tests import tiny

HAS_SWIFT = find_spec("swift") is not None
OF_SWIFT = {"model_type": "llama", "template_type": "chatml"}
SINGLE = [{"role": "user", "content": "Why is the sky blue?"}]
CONVERSATIONS = {
    "one turn": SINGLE,
    "system": [{"role": "system", "content": "Be brief."}, *SINGLE],
    "three turns": [*SINGLE, {"role": "assistant", "content": "The air."}, {"role": "user", "content": "  And why? "}],
    "a transcript": [{"role": "user", "content": "\n\nHuman: Why?\n\nAssistant:"}],
    "blank lines": [{"role": "user", "content": "a\n\n\nb"}],
}
ANSWERS = ("The sea is wide.", "", "\nA line first.", "one  two\n")


@pytest.fixture(scope="module")
def own(model_dir):
    return Policy(model_dir, torch_dtype="float32")


@pytest.mark.skipif(not HAS_SWIFT, reason="compares with ms-swift")
@pytest.mark.parametrize("settings", [{}, {"system": "You are kind"}])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_template_of_ms_swift_that_equals_the_chat_template_gives_the_same_tokens(model_dir, name, settings):
    """The tokenizer's own template is ChatML, as is ms-swift's of that name."""
    plain, swift = Policy(model_dir, **settings), Policy(model_dir, **OF_SWIFT, **settings)
    messages = CONVERSATIONS[name]
    assert plain.encode_prompt(messages) == swift.encode_prompt(messages)
    for text in ANSWERS:
        row = [*messages, {"role": "assistant", "content": text}]
        assert plain.encode_pair_row(row) == swift.encode_pair_row(row)
    assert (plain.stop_ids, plain.pad_id, plain.max_length) == (swift.stop_ids, swift.pad_id, swift.max_length)


@pytest.mark.skipif(not HAS_SWIFT, reason="compares with ms-swift")
def test_plain_text_is_the_same_too(model_dir):
    plain, swift = (Policy(model_dir, use_chat_template=False, **more) for more in ({}, OF_SWIFT))
    assert (
        plain.encode_prompt(SINGLE) == swift.encode_prompt(SINGLE) == plain.tokenizer(SINGLE[0]["content"])["input_ids"]
    )


def test_the_answer_and_its_end_are_scored_and_the_prompt_is_not(own):
    messages = CONVERSATIONS["three turns"]
    ids, labels = own.encode_pair_row([*messages, {"role": "assistant", "content": "the sea"}])
    assert own.tokenizer.decode([label for label in labels if label != IGNORED]) == "the sea<|im_end|>\n"
    prompt = own.encode_prompt(messages)
    assert ids[: len(prompt)] == prompt and labels == [IGNORED] * len(prompt) + ids[len(prompt) :]


def test_what_does_not_fit_is_named(own, model_dir, tmp_path):
    row = [*SINGLE, {"role": "assistant", "content": "x"}]
    with pytest.raises(ValueError, match="after its prompt"):
        own.encode_pair_row(row[1:])
    with pytest.raises(ValueError, match="end with an assistant"):
        own.encode_pair_row(SINGLE)
    with pytest.raises(ValueError, match="tokens, above --max_length 256"):
        own.encode_pair_row([*SINGLE, {"role": "assistant", "content": "the sea " * 300}])
    refusing = shutil.copytree(model_dir, tmp_path / "refusing")
    (refusing / "chat_template.jinja").write_text("{{ raise_exception('System role not supported') }}")
    with pytest.raises(ValueError, match="do not fit the chat template: System role not supported"):
        Policy(str(refusing)).encode_prompt(SINGLE)
    (refusing / "chat_template.jinja").unlink()
    bare = Policy(str(refusing))
    assert bare.encode_pair_row(row)[0] == [*bare.encode_prompt(SINGLE), *bare.tokenizer("x")["input_ids"], 2]
    with pytest.raises(ValueError, match="no chat template: only single prompts"):
        bare.encode_prompt(CONVERSATIONS["three turns"])


@pytest.fixture
def here(model_dir, adapter_dir, tmp_path):
    """A model, an adapter and rows, and a copy of the adapter as a run of ms-swift leaves it."""
    trained = shutil.copytree(adapter_dir, tmp_path / "checkpoint-3")
    arguments = {"model": model_dir, "model_type": "llama", "template": "chatml"}
    (trained / "args.json").write_text(json.dumps(arguments))
    tiny.write_rows(tmp_path / "prompts.jsonl", [{"messages": SINGLE}, {"prompt": "Tell me."}])
    pair = {"messages": [*SINGLE, {"role": "assistant", "content": "So."}], "rejected_response": "No."}
    tiny.write_rows(tmp_path / "pairs.jsonl", [pair] * 2)
    tiny.write_rows(tmp_path / "judge.jsonl", [{"prompt": "Why?", "response_1": "So.", "response_2": "No."}])
    dialogue = {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."}
    tiny.write_rows(tmp_path / "hh.jsonl", [dialogue])
    return tmp_path


VERBS = {
    "generate": "generate --model {model} --adapter {adapter} --prompts {0}/prompts.jsonl --max_new_tokens 3 --label a",
    "check-margin": "check-margin --model {model} --adapter {adapter} --pairs {0}/pairs.jsonl --min_accuracy 0",
    "judge": "judge --model {model} --adapter {adapter} --pairs {0}/judge.jsonl --max_new_tokens 3",
    "eval-bt": "eval-bt --model {model} --checkpoint {adapter} --dataset anthropic_hh --source {0}/hh.jsonl --n_pairs 1"
    " --max_new_tokens 3",
}


def run(verb, here, model_dir, adapter_dir, *more, out="out"):
    told = VERBS[verb].format(here, model=model_dir, adapter=adapter_dir).split()
    return launch([*told, "--out", str(here / (f"{out}.json" if verb == "check-margin" else out)), *more])


def written(folder):
    return {file.relative_to(folder): file.read_text() for file in folder.rglob("*.jsonl")} | {
        "": (folder.with_suffix(".json").read_text() if folder.with_suffix(".json").exists() else "")
    }


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_runs_without_ms_swift(here, verb, model_dir, adapter_dir):
    """In the environment that has it, ms-swift's own template of the same wording gives the same bytes."""
    assert run(verb, here, model_dir, adapter_dir) == 0
    if HAS_SWIFT:
        assert (
            run(verb, here, model_dir, adapter_dir, "--template", "chatml", "--model_type", "llama", out="other") == 0
        )
        assert written(here / "out") == written(here / "other")


@pytest.mark.parametrize("verb", VERBS)
def test_who_asks_for_ms_swift_is_named_where_it_is_not(here, verb, model_dir, adapter_dir, monkeypatch, capsys):
    """Before anything is loaded or written."""
    monkeypatch.setattr("launch.answers.forms.find_spec", lambda name: None)
    trained = here / "checkpoint-3"
    for adapter, more, named in (
        (adapter_dir, ["--template", "chatml"], "--template chatml: this needs ms-swift"),
        (adapter_dir, ["--model_type", "llama"], "--model_type llama: this needs ms-swift"),
        (str(trained), [], "args.json: template chatml: this needs ms-swift"),
    ):
        assert run(verb, here, model_dir, adapter, *more) == 2
        told = capsys.readouterr().err
        assert named in told and "swift-trl-ext[swift]" in told
    assert not (here / "out").exists() and not (here / "out.json").exists()
