"""Merging an adapter: the merged model computes what the adapter did, and mistakes leave nothing behind."""

import json
import shutil

import pytest

from launch.__main__ import main as launch
from launch.models.merge_lora import swift_arguments
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
        ({}, ["--torch_dtype", "int8"], "argument --torch_dtype: unknown value 'int8'; Valid: float32"),
        ({"target_modules": ["q_proj", "k_proj", "v_proj"]}, [], "does not fit the base model: its weights differ in"),
        ({"target_modules": ["query"]}, [], "does not fit the base model"),
        ({"r": 8}, [], "does not fit the base model"),
    ],
)
def test_adapters_and_bases_that_cannot_be_used(own, tmp_path, capsys, settings, more, hint):
    folder, change = own
    change(**settings)
    try:
        assert merge_lora(folder, tmp_path / "merged", *more) == 2
    except SystemExit as end:  # the parser's own
        assert end.code == 2
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


def test_a_failed_save_leaves_nothing_and_an_old_remainder_does_no_harm(tiny, adapter, tmp_path, monkeypatch, capsys):
    from transformers import PreTrainedTokenizerFast

    def fail(*arguments, **keywords):
        raise OSError("disk full")

    mine = tmp_path / "merged.partial"  # a name that the command once took for its own
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    remainder = tmp_path / ".merged.0123456789ab.tmp"
    remainder.mkdir()
    (remainder / "model-00009.safetensors").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerFast, "save_pretrained", fail)
        assert merge_lora(adapter, tmp_path / "merged") == 1 and "error: disk full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [mine]
    remainder.mkdir()
    (remainder / "model-00009.safetensors").write_text("old")
    assert merge_lora(adapter, tmp_path / "merged") == 0
    assert sorted(tmp_path.iterdir()) == [tmp_path / "merged", mine] and (mine / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "merged" / "model-00009.safetensors").exists()


TIED = {
    "output layer": {"target_modules": ["q_proj", "lm_head"]},
    "input embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "both ends": {"target_modules": ["lm_head", "embed_tokens"]},
    "output layer whole": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "input embeddings whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "both ends whole": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "one copy for both ends": {
        "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True,
    },
}  # fmt: skip


def random_adapter(model_dir, folder, **settings):
    """An adapter of these settings whose every weight is random."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model_dir)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore:Model (with|has) `tie_word_embeddings")
@pytest.mark.parametrize("case", TIED)
def test_embeddings_that_the_adapter_parts_are_untied_in_the_merged_model(tiny, tmp_path, case):
    own = random_adapter(tiny, tmp_path / "own", **TIED[case])
    assert merge_lora(own, tmp_path / "merged") == 0
    expected = logits(tiny, own)
    assert (logits(tmp_path / "merged") - expected).abs().max() < 1e-3
    assert (logits(tiny) - expected).abs().max() > 0.1
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["tie_word_embeddings"] == (case == "one copy for both ends")


@pytest.mark.parametrize("where", ["adapter", "base"])
def test_weights_that_are_not_finite_are_refused(own, tmp_path, capsys, where):
    import torch
    from safetensors.torch import load_file, save_file

    base = build_model(tmp_path / "base")
    file = own[0] / "adapter_model.safetensors" if where == "adapter" else base / "model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[3] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    assert merge_lora(own[0], tmp_path / "merged", "--model", base) == 2
    assert f"1 of {tensors[name].numel()} values of " in (error := capsys.readouterr().err) and "not finite" in error
    assert not (tmp_path / "merged").exists() and torch.isnan(load_file(file)[name]).sum() == 1


def test_a_file_that_was_cut_off_is_an_error_with_its_name(own, tmp_path, capsys):
    file = own[0] / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert merge_lora(own[0], tmp_path / "merged") == 2
    assert f"{file}: not a whole safetensors file" in capsys.readouterr().err


def test_a_written_model_that_computes_something_else_does_not_appear(tiny, adapter, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from launch.models.merge_lora import with_adapter
    from launch.models.merging import check_agreement, write_merged

    tokenizer = AutoTokenizer.from_pretrained(tiny)

    def make():
        return with_adapter(AutoModelForCausalLM.from_pretrained(tiny), adapter)

    def load_changed(folder):
        model = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            model.model.norm.weight[0] += 1e-3
        return model

    with pytest.raises(ValueError, match=r"read back, \['model.norm.weight'\] are not what was merged"):
        write_merged(make, load_changed, tokenizer, tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []
    logits = torch.tensor([[1.0, -4.0]])
    assert check_agreement(logits, logits + 9e-4, torch.float32, "out") == pytest.approx(9e-4, rel=1e-3)
    for found, dtype in (
        (logits + 2e-3, torch.float32),
        (logits * float("nan"), torch.float32),
        (logits + 0.6, torch.bfloat16),
    ):
        with pytest.raises(ValueError, match=r"would differ from those of the unmerged model by"):
            check_agreement(logits, found, dtype, "out")


def test_what_ms_swift_knows_of_the_model_stays_beside_it(tiny, own, tmp_path, capsys):
    """Two of its model types share Qwen2's architecture; without the file it refuses to choose."""
    assert merge_lora(own[0], tmp_path / "plain") == 0
    assert "may ask for --model_type and --template" in capsys.readouterr().out
    arguments = {
        "swift_version": "4.6.0",
        "model_type": "qwen2",
        "template": "qwen",
        "output_dir": "elsewhere",
        "system": "x",
    }
    (own[0] / "args.json").write_text(json.dumps(arguments))
    assert merge_lora(own[0], tmp_path / "merged") == 0
    assert json.loads((tmp_path / "merged" / "args.json").read_text()) == {
        "swift_version": "4.6.0", "model_type": "qwen2", "template": "qwen",
    }  # fmt: skip
    assert "may ask" not in capsys.readouterr().out
    for content, message in (("{", "not JSON"), ("[]", "a list instead of an object")):
        (own[0] / "args.json").write_text(content)
        with pytest.raises(ValueError, match=f"own/args.json: {message}"):
            swift_arguments(own[0])


def test_ms_swift_knows_the_type_of_a_merged_qwen2(tmp_path):
    pytest.importorskip("swift")
    import torch
    import transformers
    from swift.model import get_model_info_meta

    base = tmp_path / "base"
    base.mkdir()
    build_tokenizer(base)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    with torch.random.fork_rng():
        transformers.Qwen2ForCausalLM(transformers.Qwen2Config(vocab_size=400, **sizes)).save_pretrained(base)
    with pytest.raises(ValueError, match="Multiple possible types"):
        get_model_info_meta(str(base))
    own = random_adapter(base, tmp_path / "own", target_modules=["q_proj"])
    (own / "args.json").write_text(json.dumps({"swift_version": "4.6.0", "model_type": "qwen2", "template": "qwen"}))
    assert merge_lora(own, tmp_path / "merged") == 0
    assert get_model_info_meta(str(tmp_path / "merged"))[1].model_type == "qwen2"
