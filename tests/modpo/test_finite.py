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
    from launch.moodpo.steered import load_policy

    load_policy(str(folder), None)


def _policy(folder):
    from launch.answers.policy import Policy

    Policy(str(folder))


def _policy_of_swift(folder):
    pytest.importorskip("swift")
    from launch.answers.policy import Policy

    Policy(str(folder), model_type="llama", template_type="chatml")


def _policy_with_adapter(folder):
    from launch.answers.policy import resolve_adapter

    resolve_adapter(str(folder))


LOADERS = {
    "classifier": _classifier,
    "gold": _gold,
    "discriminator": _discriminator("classifier"),
    "discriminator from a policy": _discriminator("dpo"),
    "steered policy": _asked_with_weights,
    "policy": _policy,
    "policy of ms-swift": _policy_of_swift,
    "adapter of a policy": _policy_with_adapter,
}
LANGUAGE = ("discriminator from a policy", "steered policy", "policy")


def weights_of_its_own(loader, tiny, adapter, tmp_path):
    """A folder that the loader reads and the test may damage, and the name of its file of weights."""
    if loader == "adapter of a policy":
        return shutil.copytree(adapter, tmp_path / "own"), "adapter_model.safetensors"
    if loader in LANGUAGE:
        return shutil.copytree(tiny, tmp_path / "own"), "model.safetensors"
    return build_classifier(tmp_path / "own", labels=1), "model.safetensors"


@pytest.mark.parametrize("loader", LOADERS)
def test_a_weight_that_is_not_a_number_is_refused_by_name(tiny, adapter, tmp_path, loader):
    from safetensors.torch import load_file, save_file

    folder, file = weights_of_its_own(loader, tiny, adapter, tmp_path)
    LOADERS[loader](folder)
    tensors = load_file(folder / file)
    name = next(name for name in sorted(tensors) if "q_proj" in name)
    tensors[name].view(-1)[7] = float("nan")
    save_file(tensors, folder / file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"1 of {tensors[name].numel()} values of \S*q_proj\S* are not finite"):
        LOADERS[loader](folder)


@pytest.mark.parametrize("loader", LOADERS)
def test_weights_that_are_cut_off_are_refused_by_name(tiny, adapter, tmp_path, loader):
    """Seen before: an error of the safetensors library that names no file."""
    folder, file = weights_of_its_own(loader, tiny, adapter, tmp_path)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"own/{file}: not a whole safetensors file"):
        LOADERS[loader](folder)


@pytest.mark.parametrize("file", ["adapter_model.bin", "pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_weights_that_pytorch_stored_are_read_too(tmp_path, file):
    """Seen before: an adapter in `adapter_model.bin` was taken with whatever it held."""
    import torch

    from trl_ext.modpo.model_dir import check_finite_weights

    tensors = {"layer.q_proj": torch.ones(4, 3), "step": torch.tensor(3)}
    torch.save(tensors, tmp_path / file)
    torch.save({"args": object}, tmp_path / "training_args.bin")  # no weights, and never unpickled
    check_finite_weights(tmp_path)
    tensors["layer.q_proj"][1, 2] = float("inf")
    torch.save(tensors, tmp_path / file)
    with pytest.raises(ValueError, match=rf"{file}: 1 of 12 values of layer\.q_proj are not finite"):
        check_finite_weights(tmp_path)
    whole = (tmp_path / file).read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"not weights"):
        (tmp_path / file).write_bytes(broken)
        with pytest.raises(ValueError, match=rf"{file}: not a whole file of weights"):
            check_finite_weights(tmp_path)
    torch.save([1], tmp_path / file)
    with pytest.raises(ValueError, match="a list, no weights by name"):
        check_finite_weights(tmp_path)
