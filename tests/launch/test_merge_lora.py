"""Merging an adapter: the merged model computes what the adapter did, and mistakes leave nothing behind."""

import json
import shutil

import pytest

from launch.__main__ import main as launch
from tests.tiny import build_model, build_tokenizer

IDS = [[1, 17, 200, 33, 5, 90, 2, 41]]


def logits(folder, adapter=None, dtype="auto"):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return model.eval()(torch.tensor(IDS)).logits.float()


def merge_lora(adapter, out, *more):
    return launch(["merge-lora", "--adapter", str(adapter), "--out", str(out), *map(str, more)])


@pytest.fixture
def own(adapter, tmp_path):
    """A copy of the adapter that a test may change, and a way to change its settings."""
    folder = shutil.copytree(adapter, tmp_path / "own")

    def change(**settings):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return folder, change


def test_the_merged_model_is_the_adapter_and_not_the_base(tiny, adapter, tmp_path, capsys):
    from transformers import AutoTokenizer

    out = tmp_path / "made" / "merged"
    out.mkdir(parents=True)  # an empty folder is welcome
    assert merge_lora(adapter, out) == 0
    merged, expected, base = logits(out), logits(tiny, adapter), logits(tiny)
    assert (merged - expected).abs().max() < 1e-4
    assert (merged - base).abs().max() > 0.1
    assert list(out.parent.iterdir()) == [out]
    assert not (out / "adapter_config.json").exists()
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(tiny).chat_template
    text = capsys.readouterr().out
    assert (
        f"merged {adapter} into {tiny}" in text and "parameters in float32" in text and f"tokenizer of {tiny}" in text
    )


def test_the_tokenizer_of_the_adapter_comes_first_and_the_dtype_is_a_choice(tiny, own, tmp_path, capsys):
    import torch
    from transformers import AutoTokenizer

    folder, change = own
    change(base_model_name_or_path=None)
    build_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(folder)
    out = tmp_path / "merged"
    assert merge_lora(folder, out, "--model", tiny, "--torch_dtype", "bfloat16") == 0
    assert AutoTokenizer.from_pretrained(out).chat_template == "{{ messages }}"
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    difference = (logits(out, dtype=torch.float32) - logits(tiny, folder)).abs().max()
    assert 0 < difference < 0.2
    assert f"tokenizer of {folder}" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")  # of peft; here it is an error
@pytest.mark.parametrize(
    ("settings", "more", "hint"),
    [
        ({"base_model_name_or_path": None}, [], "no base_model_name_or_path; name the base model with --model"),
        ({"base_model_name_or_path": "no/such"}, [], "names it; --model names another place"),
        ({}, ["--model", "no/such"], "base model no/such: neither a model directory nor a hub model"),
        ({"peft_type": "IA3"}, [], "peft_type 'IA3': only LORA"),
        ({"task_type": "SEQ_CLS"}, [], "task_type 'SEQ_CLS': only language models"),
        ({}, ["--torch_dtype", "int8"], "torch_dtype 'int8': use one of float32"),
        ({"target_modules": ["q_proj", "k_proj", "v_proj"]}, [], "does not fit the base model: its weights differ in"),
        ({"target_modules": ["query"]}, [], "does not fit the base model"),
        ({"r": 8}, [], "does not fit the base model"),
    ],
)
def test_adapters_and_bases_that_cannot_be_used(own, tmp_path, capsys, settings, more, hint):
    folder, change = own
    change(**settings)
    assert merge_lora(folder, tmp_path / "merged", *more) == 2
    assert hint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [folder]


def test_places_that_cannot_be_used(tiny, adapter, tmp_path, capsys):
    assert merge_lora(tiny, tmp_path / "merged") == 2
    assert "no adapter_config.json there" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        assert merge_lora(adapter, tmp_path / name) == 2
        assert f"{name}: is there already and not an empty folder" in capsys.readouterr().err
    assert (tmp_path / "full" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_text("{")
    assert merge_lora(broken, tmp_path / "merged") == 2
    assert "adapter_config.json: not JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "hint"),
    [({"auto_map": {}}, "the model brings Python code"), ({"quantization_config": {}}, "quantised weights")],
)
def test_a_base_with_code_or_quantised_weights_is_refused(own, tmp_path, capsys, entry, hint):
    base = build_model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | entry))
    assert merge_lora(own[0], tmp_path / "merged", "--model", base) == 2
    assert hint in capsys.readouterr().err and not (tmp_path / "merged").exists()


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(tiny, own, tmp_path, capsys):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens([f"<new{number}>" for number in range(200)])
    tokenizer.save_pretrained(own[0])
    assert merge_lora(own[0], tmp_path / "merged") == 2
    assert "embeddings of 400" in capsys.readouterr().err


def test_a_failed_save_leaves_nothing_and_an_old_remainder_does_no_harm(tiny, adapter, tmp_path, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    def fail(*arguments, **keywords):
        raise OSError("disk full")

    remainder = tmp_path / "merged.partial"
    remainder.mkdir()
    (remainder / "model-00009.safetensors").write_text("old")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(PreTrainedTokenizerFast, "save_pretrained", fail)
        merge_lora(adapter, tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []
    remainder.mkdir()
    (remainder / "model-00009.safetensors").write_text("old")
    assert merge_lora(adapter, tmp_path / "merged") == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "merged"]
    assert not (tmp_path / "merged" / "model-00009.safetensors").exists()
