"""A weight that is not a number is refused by whatever loads models to score or to answer."""

import shutil

import pytest

from tests.tiny import build_classifier


def _classifier(folder):
    from trl_ext.modpo.classifier import ClassifierReward

    ClassifierReward(str(folder))


def _gold(folder):
    from trl_ext.d2po.gold.reward_model import _load

    _load(str(folder), False, "cpu")


def _discriminator(kind):
    def load(folder):
        from trl_ext.d2po import discriminator as d

        loader = {"classifier": d.ClassifierDiscriminator, "dpo": d.PolicyDiscriminator}[kind]
        loader(str(folder), d.DiscriminatorSettings(kind=kind))

    return load


def _asked_with_weights(folder):
    from launch.moodpo.policy import ChatPolicy

    ChatPolicy(str(folder))


def _policy(folder):
    pytest.importorskip("swift")
    from launch.evaluate.policy import Policy

    Policy(str(folder), model_type="llama", template_type="chatml")


def _policy_with_adapter(folder):
    from launch.evaluate.policy import resolve_adapter

    resolve_adapter(str(folder))


LOADERS = {
    "classifier": _classifier,
    "gold": _gold,
    "discriminator": _discriminator("classifier"),
    "discriminator from a policy": _discriminator("dpo"),
    "steered policy": _asked_with_weights,
    "policy": _policy,
    "adapter of a policy": _policy_with_adapter,
}
LANGUAGE = ("discriminator from a policy", "steered policy", "policy")


@pytest.mark.parametrize("loader", LOADERS)
def test_a_weight_that_is_not_a_number_is_refused_by_name(tiny, adapter, tmp_path, loader):
    from safetensors.torch import load_file, save_file

    if loader == "adapter of a policy":
        folder, file = shutil.copytree(adapter, tmp_path / "own"), "adapter_model.safetensors"
    elif loader in LANGUAGE:
        folder, file = shutil.copytree(tiny, tmp_path / "own"), "model.safetensors"
    else:
        folder, file = build_classifier(tmp_path / "own", labels=1), "model.safetensors"
    LOADERS[loader](folder)
    tensors = load_file(folder / file)
    name = next(name for name in sorted(tensors) if "q_proj" in name)
    tensors[name].view(-1)[7] = float("nan")
    save_file(tensors, folder / file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"1 of {tensors[name].numel()} values of \S*q_proj\S* are not finite"):
        LOADERS[loader](folder)
