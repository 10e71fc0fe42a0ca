"""Soups are exact: the update of a mixture is the weighted sum of the updates, whatever the adapters' scaling."""

import json
import shutil

import pytest

from launch.__main__ import main as launch
from launch.models.merging import untie_head
from launch.moodpo.soup import read_mixtures
from tests.tiny import build_model

KINDS = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
    "other": {"r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"]},
    "stabilised": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "use_rslora": True},
    "elsewhere": {"r": 4, "lora_alpha": 4, "target_modules": ["v_proj", "down_proj"]},
    "patterned": {
        "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"layers.0.self_attn.q_proj": 7}, "alpha_pattern": {"layers.1.self_attn.v_proj": 2},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    """Random adapters by kind, each with its own seed."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("kinds")
    for seed, (kind, settings) in enumerate(KINDS.items()):
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **settings)
        )
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        model.save_pretrained(folder / kind)
    return {kind: folder / kind for kind in KINDS}


def weights_of(base, adapter=None):
    """The model's weights, an adapter merged into them by peft."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return {name: tensor.double() for name, tensor in model.state_dict().items()}


def soup(base, out, *more):
    return launch(["soup", "--base", str(base), "--out", str(out), *map(str, more)])


@pytest.mark.parametrize(
    "kinds",
    [
        ("plain", "other"),
        ("plain", "stabilised"),
        ("stabilised", "plain"),
        ("stabilised", "stabilised"),
        ("plain", "elsewhere"),
        ("patterned", "other"),
        ("other", "stabilised", "patterned"),
    ],
    ids="+".join,
)
def test_a_soup_of_adapters_is_the_average_of_the_merged_models(base, adapters, tmp_path, kinds):
    shares = (0.7, 0.3) if len(kinds) == 2 else (0.5, 0.2, 0.3)
    names = [f"objective{place}" for place in range(len(kinds))]
    pairs = [f"{name}={adapters[kind]}" for name, kind in zip(names, kinds, strict=True)]
    text = ",".join(f"{name}={share}" for name, share in zip(names, shares, strict=True))
    assert soup(base, tmp_path / "soup", "--adapters", *pairs, "--weights", text) == 0
    before, mixed = weights_of(base), weights_of(base, tmp_path / "soup")
    parts = [weights_of(base, adapters[kind]) for kind in kinds]
    largest = 0.0
    for name, start in before.items():
        expected = sum(share * (part[name] - start) for share, part in zip(shares, parts, strict=True))
        assert (mixed[name] - start - expected).abs().max() < 1e-5, name
        largest = max(largest, float(expected.abs().max()))
    assert largest > 0.5


def test_a_grid_goes_from_one_policy_to_the_other(base, adapters, tmp_path, capsys):
    pairs = [f"short={adapters['plain']}", f"rich={adapters['other']}"]
    out = tmp_path / "made" / "soups"
    assert soup(base, out, "--adapters", *pairs, "--grid", 5) == 0
    assert capsys.readouterr().out.endswith(f"5 mixtures of short, rich written to {out}\n")
    names, mixtures = read_mixtures(out)
    assert names == ("short", "rich")
    assert [(weights, folder.name) for weights, folder in mixtures] == [
        ((1.0, 0.0), "100-0"), ((0.75, 0.25), "75-25"), ((0.5, 0.5), "50-50"), ((0.25, 0.75), "25-75"), ((0.0, 1.0), "0-100"),
    ]  # fmt: skip
    ends = weights_of(base, mixtures[0][1]), weights_of(base, mixtures[-1][1])
    for end, kind in zip(ends, ("plain", "other"), strict=True):
        alone = weights_of(base, adapters[kind])
        assert max(float((end[name] - alone[name]).abs().max()) for name in end) < 1e-5
    config = json.loads((mixtures[1][1] / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 6 and config["base_model_name_or_path"] == str(base)
    middle, quarter = weights_of(base, mixtures[2][1]), weights_of(base, mixtures[3][1])
    assert max(float((middle[n] - (ends[0][n] + ends[1][n]) / 2).abs().max()) for n in middle) < 1e-5
    assert max(float((quarter[n] - ends[0][n] / 4 - 3 * ends[1][n] / 4).abs().max()) for n in quarter) < 1e-5
    assert list(out.parent.iterdir()) == [out]


def test_full_checkpoints_are_averaged_parameter_by_parameter(tmp_path):
    from transformers import AutoTokenizer

    first, second = (build_model(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    argv = [
        "soup",
        "--adapters",
        f"a={first}",
        f"b={second}",
        "--weights",
        "a=0.7,b=0.3",
        "--out",
        str(tmp_path / "soup"),
    ]
    assert launch(argv) == 0
    mixed, one, two = (weights_of(folder) for folder in (tmp_path / "soup", first, second))
    assert max(float((mixed[n] - 0.7 * one[n] - 0.3 * two[n]).abs().max()) for n in one) < 1e-6
    assert max(float((one[n] - two[n]).abs().max()) for n in one) > 0.1
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "soup").chat_template
        == AutoTokenizer.from_pretrained(first).chat_template
    )
    assert read_mixtures(tmp_path / "soup")[1] == [((0.7, 0.3), tmp_path / "soup")]


def test_a_mixture_of_tied_and_untied_policies_has_output_weights_of_its_own(base, tmp_path):
    """As `merge-lora` makes them: only one of two adapters had changed the output layer."""
    from transformers import AutoModelForCausalLM

    untied = AutoModelForCausalLM.from_pretrained(base)
    assert untied.config.tie_word_embeddings
    untie_head(untied)
    untied.lm_head.weight.data += 1.0
    untied.save_pretrained(tmp_path / "untied")
    shutil.copy(base / "tokenizer.json", tmp_path / "untied")
    shutil.copy(base / "tokenizer_config.json", tmp_path / "untied")
    for number, order in enumerate(([base, tmp_path / "untied"], [tmp_path / "untied", base])):
        pairs = [f"{name}={folder}" for name, folder in zip("ab", order, strict=True)]
        out = tmp_path / f"soup{number}"
        assert launch(["soup", "--adapters", *pairs, "--weights", "a=0.5,b=0.5", "--out", str(out)]) == 0
        mixed, one = weights_of(out), weights_of(base)
        assert (mixed["lm_head.weight"] - one["lm_head.weight"] - 0.5).abs().max() < 1e-6
        assert (mixed["model.embed_tokens.weight"] - one["model.embed_tokens.weight"]).abs().max() == 0


@pytest.mark.parametrize("kind", ["adapter", "checkpoint"])
def test_policies_with_a_value_that_is_not_finite_are_refused(base, adapters, tmp_path, capsys, kind):
    from safetensors.torch import load_file, save_file

    source, file = {
        "adapter": (adapters["plain"], "adapter_model.safetensors"),
        "checkpoint": (base, "model.safetensors"),
    }[kind]
    own = shutil.copytree(source, tmp_path / "own")
    tensors = load_file(own / file)
    next(iter(tensors.values())).view(-1)[0] = float("inf")
    save_file(tensors, own / file, metadata={"format": "pt"})
    other = adapters["other"] if kind == "adapter" else base
    assert soup(base, tmp_path / "soup", "--adapters", f"a={other}", f"b={own}", "--weights", "a=0.5,b=0.5") == 2
    assert "are not finite" in capsys.readouterr().err and list(tmp_path.iterdir()) == [own]


def test_a_mixture_that_computes_something_else_does_not_appear(base, adapters, tmp_path, capsys, monkeypatch):
    """Planted: the mixture that is written has other weights than those asked for."""
    from peft import LoraModel

    mix = LoraModel.add_weighted_adapter
    with monkeypatch.context() as patch:
        patch.setattr(
            LoraModel,
            "add_weighted_adapter",
            lambda self, parts, weights, *a, **k: mix(self, parts, weights[::-1], *a, **k),
        )
        pairs = [f"a={adapters['plain']}", f"b={adapters['other']}"]
        assert soup(base, tmp_path / "soup", "--adapters", *pairs, "--weights", "a=0.7,b=0.3") == 2
    assert "logits would differ from those of the unmerged model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"use_dora": True}, "use_dora is True: such adapters cannot be mixed exactly"),
        ({"bias": "all"}, "bias is 'all': such adapters"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is ['lm_head']: such adapters"),
        ({"peft_type": "IA3"}, "peft_type 'IA3': only LORA"),
        ({"r": 9}, "does not fit"),
        ({"target_modules": ["q_proj", "k_proj", "v_proj"]}, "its weights differ in"),
    ],
)
@pytest.mark.filterwarnings("ignore:Found missing adapter keys")  # of peft; here it is an error
@pytest.mark.parametrize("place", [0, 1])
def test_adapters_that_cannot_be_mixed_are_refused(base, adapters, tmp_path, capsys, settings, hint, place):
    folder = shutil.copytree(adapters["plain"], tmp_path / "own")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))
    pair = [f"a={folder}", f"b={adapters['other']}"] if place == 0 else [f"a={adapters['other']}", f"b={folder}"]
    assert soup(base, tmp_path / "soup", "--adapters", *pair, "--weights", "a=0.5,b=0.5") == 2
    assert hint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [folder]


def test_other_mistakes_exit_with_2(base, adapters, tmp_path, capsys):
    a, b, c = (f"{name}={adapters[kind]}" for name, kind in zip("abc", ("plain", "other", "elsewhere"), strict=True))
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    other_shape = build_model(tmp_path / "shape")
    config = json.loads((other_shape / "config.json").read_text())
    cases = [
        ([a, b], ["--weights", "a=0.5,b=0.6"], "in proportion: a=0.4545,b=0.5455"),
        ([a, b], ["--weights", "a=0.5,d=0.5"], "no objective 'd'"),
        ([a, b, c], ["--grid", "3"], "--grid 3 with 3 policies: 2 to 101 mixtures of two"),
        ([a, b], ["--grid", "1"], "--grid 1 with 2 policies"),
        ([a, f"b={base}"], ["--grid", "3"], f"{base}: no adapter_config.json there, while {adapters['plain']} has one"),
        ([a, a], ["--grid", "3"], "each name once"),
    ]
    for pairs, more, hint in cases:
        assert soup(base, tmp_path / "soup", "--adapters", *pairs, *more) == 2
        assert hint in capsys.readouterr().err
    assert soup(base, full, "--adapters", a, b, "--grid", "3") == 2
    assert "is there already and not an empty folder" in capsys.readouterr().err
    assert launch(["soup", "--adapters", a, b, "--grid", "3", "--out", str(tmp_path / "soup")]) == 2
    assert "--base is missing" in capsys.readouterr().err
    assert config["num_hidden_layers"] == 2
    (other_shape / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    assert (
        launch(
            ["soup", "--adapters", f"a={base}", f"b={other_shape}", "--weights", "a=1", "--out", str(tmp_path / "soup")]
        )
        == 2
    )
    assert "its parameters differ from those of" in capsys.readouterr().err
    assert not list(tmp_path.glob("*soup*"))
    assert (full / "notes.txt").read_text() == "mine"
    with pytest.raises(ValueError, match=r"no soup\.json"):
        read_mixtures(full)
