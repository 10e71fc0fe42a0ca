"""Margin adapters beside a policy: the same numbers as a model of their own, and no trace in what trains."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from trl_ext.modpo.adapters import MarginAdapters, check_same_base
from trl_ext.modpo.digest import weights_digest
from trl_ext.modpo.margins import Margin
from trl_ext.objectives import completion_logps


def margin(folder, name="m", **fields) -> Margin:
    return Margin(name, "adapter", str(folder), "reward", 0.5, 0.1, **fields)


@pytest.fixture
def sequences():
    ids = torch.randint(3, 300, (3, 12), generator=torch.Generator().manual_seed(0))
    return ids, ids.masked_fill(torch.arange(12) < 4, -100)


def logps(model, sequences) -> torch.Tensor:
    ids, labels = sequences
    with torch.no_grad():
        return completion_logps(model(input_ids=ids).logits, labels)


def base(tiny):
    return AutoModelForCausalLM.from_pretrained(tiny)


@pytest.fixture
def policy(tiny):
    """A LoRA policy in training mode, its adapter away from zero."""
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base(tiny), config)
    with torch.random.fork_rng():
        torch.manual_seed(9)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return model.train()


def trainable(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def alone(tiny, folder, sequences) -> torch.Tensor:
    """What a model that carries nothing but this adapter says, in evaluation mode."""
    return logps(PeftModel.from_pretrained(base(tiny), folder).eval(), sequences)


def test_the_trainable_set_survives_loading_every_switch_and_an_exception(tiny, adapter, second_adapter, policy):
    before = trainable(policy)
    assert before and all(".default." in name for name in before)
    margins = [margin(adapter, "a"), margin(second_adapter, "b")]
    adapters = MarginAdapters(policy, margins, str(tiny))
    assert adapters.host is policy and adapters.policy_adapter == "default"
    assert trainable(policy) == before
    for choice in (margins[0], None, margins[1], None, margins[0]):
        with adapters.scoring(choice):
            pass
        assert trainable(policy) == before and policy.active_adapter == "default"
    for choice in (margins[1], None):
        with pytest.raises(RuntimeError, match="inside"), adapters.scoring(choice):
            raise RuntimeError("inside")
        assert trainable(policy) == before and policy.active_adapter == "default"


def test_what_was_frozen_in_the_policy_stays_frozen(tiny, adapter, policy):
    """The record is of the parameters, not of a rule such as "everything called default"."""
    frozen = next(name for name, p in policy.named_parameters() if p.requires_grad)
    policy.get_parameter(frozen).requires_grad_(False)
    before = trainable(policy)
    adapters = MarginAdapters(policy, [margin(adapter)], str(tiny))
    with adapters.scoring(margin(adapter)):
        pass
    with adapters.scoring(None):
        pass
    assert trainable(policy) == before and frozen not in before


def test_scores_equal_separate_models_exactly_also_in_training_mode(tiny, adapter, second_adapter, policy, sequences):
    """lora_dropout is 0.1 in both adapters, so one draw of dropout would show; scoring(None) is the bare base model."""
    own = logps(policy, sequences)
    margins = {"a": margin(adapter, "a"), "b": margin(second_adapter, "b")}
    assert json.loads((adapter / "adapter_config.json").read_text())["lora_dropout"] == 0.1
    adapters = MarginAdapters(policy, list(margins.values()), str(tiny))
    policy.train()  # as every training step does: peft's loading leaves evaluation mode behind
    for _ in range(3):
        for name, folder in {"a": adapter, "b": second_adapter}.items():
            with adapters.scoring(margins[name]):
                found = logps(policy, sequences)
            assert torch.equal(found, alone(tiny, folder, sequences))
        with adapters.scoring(None):
            found = logps(policy, sequences)
        assert torch.equal(found, logps(base(tiny).eval(), sequences))
        assert torch.equal(logps(policy, sequences), own)
    assert policy.training
    assert (alone(tiny, adapter, sequences) - own).abs().min() > 1e-2


def test_training_moves_the_policy_only(tiny, adapter, policy, sequences):
    adapters = MarginAdapters(policy, [margin(adapter)], str(tiny))
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        with adapters.scoring(margin(adapter)):
            logps(policy, sequences)
        ids, labels = sequences
        completion_logps(policy(input_ids=ids).logits, labels).sum().backward()
        optimizer.step()
    changed = {name for name, parameter in policy.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {name for name in before if ".default." in name}
    assert all(parameter.grad is None for name, parameter in policy.named_parameters() if name not in changed)


def test_dropout_of_the_policy_stays_on(tiny, adapter, sequences):
    config = LoraConfig(r=4, lora_dropout=0.5, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base(tiny), config).train()
    MarginAdapters(model, [margin(adapter)], str(tiny))
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {rate for name, rate in rates.items() if name.endswith("default")} == {0.5}
    assert {rate for name, rate in rates.items() if name.endswith("margin_m")} == {0.0}


def test_a_plain_reference_model_becomes_the_host(tiny, adapter, second_adapter, sequences):
    """Full fine-tuning: nothing trains in the host, and with every adapter off it is the reference."""
    reference = base(tiny).eval().requires_grad_(False)
    margins = [margin(adapter, "a"), margin(second_adapter, "b")]
    adapters = MarginAdapters(reference, margins, str(tiny))
    assert isinstance(adapters.host, PeftModel) and adapters.policy_adapter is None
    assert trainable(adapters.host) == set()
    for choice, folder in zip(margins, (adapter, second_adapter), strict=True):
        with adapters.scoring(choice):
            assert torch.equal(logps(adapters.host, sequences), alone(tiny, folder, sequences))
        assert trainable(adapters.host) == set()
    with adapters.scoring(None):
        assert torch.equal(logps(adapters.host, sequences), logps(base(tiny).eval(), sequences))
    assert trainable(adapters.host) == set()


def rebased(adapter, folder, new_base):
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(new_base)}))
    return folder


def test_another_base_is_refused_unless_allowed(tiny, adapter, policy, tmp_path):
    from tests.tiny import build_model

    other = build_model(tmp_path / "other", seed=4)
    moved = rebased(adapter, tmp_path / "moved", other)
    with pytest.raises(
        ValueError, match=rf"margin 'm': adapter .*moved was trained on base model '{other}'.* its weights differ"
    ):
        MarginAdapters(policy, [margin(moved)], str(tiny))
    check_same_base(margin(moved, allow_other_base=True), str(tiny))
    remote = rebased(adapter, tmp_path / "remote", "org/some-model")
    with pytest.raises(ValueError, match=r"'org/some-model'.* cannot be compared here; .*allow_other_base: true"):
        check_same_base(margin(remote), str(tiny))


def test_a_copy_of_the_base_is_the_same_base(tiny, adapter, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    check_same_base(margin(adapter), str(copy))
    check_same_base(margin(adapter), str(tiny) + "/")
    check_same_base(margin(adapter), str(tiny.parent / ".." / tiny.parent.name / tiny.name))


def test_a_missing_folder_is_named(tiny, policy, tmp_path):
    with pytest.raises(ValueError, match="nowhere' is not a folder"):
        MarginAdapters(policy, [margin(tmp_path / "nowhere")], str(tiny))


def test_an_adapter_of_another_shape_is_refused(tiny, adapter, policy, tmp_path):
    """Its config says rank 8, its weights have rank 4."""
    wrong = shutil.copytree(adapter, tmp_path / "wrong")
    config = json.loads((wrong / "adapter_config.json").read_text())
    (wrong / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    with pytest.raises(ValueError, match=r"(?s)margin 'm': adapter .*wrong does not fit: .*size mismatch"):
        MarginAdapters(policy, [margin(wrong)], str(tiny))


def test_an_adapter_for_modules_that_the_model_lacks_is_refused(tiny, adapter, policy, tmp_path):
    wrong = shutil.copytree(adapter, tmp_path / "wrong")
    config = json.loads((wrong / "adapter_config.json").read_text())
    (wrong / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["c_attn"]}))
    with pytest.raises(ValueError, match=r"margin 'm': adapter .*wrong does not fit"):
        MarginAdapters(policy, [margin(wrong)], str(tiny))


def test_an_adapter_folder_without_weights_is_refused(tiny, adapter, policy, tmp_path):
    """Otherwise the margin would be that of freshly initialised weights."""
    empty = shutil.copytree(adapter, tmp_path / "empty", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises((ValueError, OSError), match="empty"):
        MarginAdapters(policy, [margin(empty)], str(tiny))


def test_an_adapter_whose_weights_have_other_names_is_refused(tiny, adapter, policy, tmp_path):
    """peft only warns about missing keys and leaves the initial weights, a margin of zero everywhere."""
    from safetensors.torch import load_file, save_file

    renamed = shutil.copytree(adapter, tmp_path / "renamed")
    weights = load_file(renamed / "adapter_model.safetensors")
    save_file(
        {key.replace("q_proj", "k_proj"): value for key, value in weights.items()},
        renamed / "adapter_model.safetensors",
    )
    with pytest.raises(ValueError, match=r"margin 'm': adapter .*renamed does not fit"):
        MarginAdapters(policy, [margin(renamed)], str(tiny))


def test_the_digest_sees_weights_and_nothing_else(adapter, second_adapter, tmp_path):
    copy = shutil.copytree(adapter, tmp_path / "copy")
    (copy / "README.md").write_text("changed")
    (copy / "training_args.bin").write_bytes(b"changed")
    assert weights_digest(copy) == weights_digest(adapter) != weights_digest(second_adapter)
    content = bytearray((copy / "adapter_model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "adapter_model.safetensors").write_bytes(bytes(content))
    assert weights_digest(copy) != weights_digest(adapter)
    with pytest.raises(ValueError, match="holds no weight file"):
        weights_digest(tmp_path)
