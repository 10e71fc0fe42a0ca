"""`start: margins` in TRL: the policy begins as the weighted sum of the margin adapters, and the reference stays the base."""

import json
import math
from importlib.metadata import version

import pytest
import torch

from tests.tiny import build_adapter

from .conftest import JobFailed

pytest.importorskip("trl")
pytestmark = pytest.mark.integration
BETA, STEPS = 0.1, {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
ROOM = {"lora": {"r": 9, "lora_alpha": 6, "use_rslora": True}}  # two adapters of rank 4 and one to spare


@pytest.fixture(scope="module")
def train(worker, tiny, data, tmp_path_factory):
    parent, count = tmp_path_factory.mktemp("starts"), iter(range(100))

    def run(**options):
        folder = parent / str(next(count))
        return worker("train", **{"folder": folder, "model": tiny, "data": data, "max_steps": 1} | options) | {
            "folder": folder,
            "printed": worker.printed,
        }

    return run


@pytest.fixture(scope="module")
def adapters(tiny, tmp_path_factory):
    """Small enough that log-probs are nearly linear in them."""
    folder = tmp_path_factory.mktemp("small")
    return [build_adapter(tiny, folder / str(seed), seed=seed, std=0.06) for seed in (1, 2)]


@pytest.fixture(scope="module")
def mixed(adapters):
    """A reward and a cost: log pi / pi_ref starts at (0.3 * 0.1 a - 0.4 * 0.05 b) / 0.1 = 0.3 a - 0.2 b."""
    return [
        {"adapter": str(adapters[0]), "name": "a", "weight": 0.3},
        {"adapter": str(adapters[1]), "name": "b", "weight": 0.4, "role": "cost", "beta": 0.05},
    ]


@pytest.fixture(scope="module")
def started(train, mixed):
    return train(w=0.5, margins=mixed, start="margins", watch=True, **ROOM, **STEPS)


def merged(tiny, parts, folder):
    """The base with share times each adapter's update added to its weights, read from the files."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny)
    for place, share in parts:
        weights = load_file(place / "adapter_model.safetensors")
        for name, lower in weights.items():
            if "lora_A" in name:
                module = model.get_submodule(name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
                with torch.no_grad():
                    module.weight += share * (8 / 4) * weights[name.replace("lora_A", "lora_B")] @ lower
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


def test_the_policy_begins_as_the_weighted_sum_of_the_updates(started, train, tiny, adapters, tmp_path):
    model = merged(tiny, [(adapters[0], 0.3), (adapters[1], -0.2)], tmp_path / "merged")
    stock = train(method="dpo", model=model, learning_rate=1e-4)["steps"][0]
    for side in ("chosen", "rejected"):
        assert started["steps"][0][f"logps/{side}"] == pytest.approx(stock[f"logps/{side}"], abs=1e-3), side
    assert "starts at the margins" in started["printed"]


def test_the_margins_nearly_vanish_there_and_the_reference_is_still_the_base(started, train, mixed):
    """The same values of the margins as from the reference; |h| is what the sum of updates leaves to second order."""
    plain = train(w=0.5, margins=mixed, **ROOM)
    for name in ("margin_rewards/a/gap", "margin_rewards/b/gap", "margin_rewards/a/chosen"):
        assert started["steps"][0][name] == pytest.approx(plain["steps"][0][name], abs=1e-6)
    sides = ("chosen", "rejected")
    h, h_plain = (sum(abs(run["steps"][0][f"rewards/{side}"]) for side in sides) for run in (started, plain))
    assert h < h_plain / 3 and h_plain > 1e-3
    again = train(w=0.5, margins=mixed, start="margins", precompute_ref_log_probs=True, **ROOM)
    assert again["losses"][0] == pytest.approx(started["losses"][0], abs=1e-5)


def test_one_adapter_by_its_own_beta_leaves_nothing_of_h(train, adapter):
    """w_j beta_j = beta: the policy is the adapter, so that plain DPO at beta / w is left, with its log 2."""
    run = train(w=0.5, margins=[{"adapter": str(adapter), "weight": 1.0}], start="margins", lora={})
    assert run["losses"][0] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(run["steps"][0]["margin_rewards/margin/gap"]) > 0.02


@pytest.mark.parametrize("margins", ["weight 0", "none"])
def test_w_one_starts_at_the_reference_and_is_dpo(margins, train, adapter):
    listed = [{"adapter": str(adapter)}] if margins == "weight 0" else None  # weight 1 - w = 0
    runs = [train(w=1.0, margins=listed, start=start, lora={}, max_steps=4) for start in ("margins", "reference")]
    stock = train(method="dpo", lora={}, max_steps=4)
    assert runs[0]["losses"] == runs[1]["losses"] == pytest.approx(stock["losses"], abs=1e-5)


def test_only_the_policy_trains_and_a_run_continues(started, train, mixed):
    assert started["trainable"] and all(".default." in name for name in started["trainable"])
    assert set(started["moved"]) == set(started["trainable"])
    checkpoint = started["folder"] / "checkpoint-2"
    resumed = train(w=0.5, margins=mixed, start="margins", resume=str(checkpoint), **ROOM, **STEPS)
    assert resumed["losses"] == pytest.approx(started["losses"][2:], abs=1e-6)
    config = json.loads((checkpoint / "adapter_config.json").read_text())
    assert config["r"] == 9 and not list(checkpoint.glob("margin_*"))


@pytest.mark.skipif(version("trl") < "1", reason="TRL 0.29 asks the output head for logits")
def test_an_adapter_on_the_output_head_is_refused_where_the_loss_passes_it_over(train, tiny, tmp_path):
    """It trained as if it were not there: the margin was 0 for every answer."""
    adapter = build_adapter(tiny, tmp_path / "head", target_modules=("lm_head", "q_proj"))
    with pytest.raises(JobFailed, match=r"adapters .*margin_head.* have LoRA on the output head"):
        train(w=0.5, margins=[{"adapter": str(adapter)}], lora={})


def test_where_it_cannot_hold_it_is_refused(train, adapter, second_adapter, mixed, tiny, tmp_path):
    one = [{"adapter": str(adapter)}]
    wide = build_adapter(tiny, tmp_path / "dora")
    config = json.loads((wide / "adapter_config.json").read_text())
    (wide / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    cases = [
        ({"margins": [{"function": "brevity"}], "lora": {}}, "start: margins: margin 'brevity' is a function"),
        ({"margins": one}, "start: margins: .* this run trains no LoRA"),
        ({"margins": [{"adapter": str(wide)}], "lora": {}}, "use_dora is True: such an adapter has no weighted sum"),
        ({"margins": one, "lora": {}, "ref_model": str(tiny)}, "ref_model names another"),
        ({"margins": mixed, "lora": {}}, "rank 4 at .*q_proj, the margin adapters together 8"),
        ({"margins": one, "lora": {"target_modules": ["q_proj"]}}, "changes .*v_proj, where the policy has no LoRA"),
        ({"margins": one, "lora": {"use_dora": True}}, "no plain LoRA"),
        ({"margins": one, "policy_adapter": str(second_adapter)}, "has learnt already"),
        ({"margins": one, "lora": {}, "start": "margin"}, "start is 'margin'.*did you mean 'margins'"),
    ]
    for options, message in cases:
        with pytest.raises(JobFailed, match=message):
            train(**{"w": 0.5, "start": "margins"} | options)
