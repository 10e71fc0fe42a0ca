"""Which names can only be folders, and that such a name without a folder is refused before a hub is asked."""

import os

import pytest

from datasets_builders.model_names import in_a_numbered_run, is_path, merged_reward_model, refuse_missing_folder


@pytest.mark.parametrize("name", ["/models/a", "./nowhere", "../nowhere", ".", "..", "~/nowhere", "runs/a"])
def test_what_can_only_be_a_folder_must_be_there(name):
    assert is_path(f"{name}/checkpoint-5")
    with pytest.raises(ValueError, match=r"^--model: .* does not exist; the folder of a model or an adapter is needed"):
        refuse_missing_folder(f"{name}/checkpoint-5", "--model")


@pytest.mark.parametrize(
    "name", ["gpt2", "meta-llama/Llama-2-7b-hf", "org/a", "org/a/", "embedded", "models", "modelscope/a"]
)
def test_what_may_be_a_hub_name_passes(name):
    assert not is_path(name)
    refuse_missing_folder(name, "--model")


@pytest.mark.parametrize("name", ["models/rm", "runs/rm", "out/rm/"])
def test_what_lies_where_this_pack_puts_models_is_no_hub_name_and_what_makes_it_is_said(name):
    """Seen before: D2PO asked the hub for models/rm and passed on its advice about accounts and tokens."""
    with pytest.raises(
        ValueError,
        match=rf"^--discriminator: {name} does not exist; .*; python -m launch merge-rm .* --out {name} makes",
    ):
        refuse_missing_folder(name, "--discriminator", merged_reward_model(name))


def test_the_embedded_model_is_made_by_its_command():
    with pytest.raises(ValueError, match=r"; python -m launch embedded-model --out models/smollm2 makes it$"):
        refuse_missing_folder("models/smollm2", "--model")


def test_a_folder_passes_a_file_and_a_tilde_do_not(tmp_path, monkeypatch):
    refuse_missing_folder(tmp_path, "--model")
    (tmp_path / "weights").write_text("")
    with pytest.raises(ValueError, match=r"^--model: .*/weights is a file; the folder of a model"):
        refuse_missing_folder(tmp_path / "weights", "--model")
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    with pytest.raises(
        ValueError, match=f"^--model: write {tmp_path} in place of ~/{tmp_path.name}: loaders do not read"
    ):
        refuse_missing_folder(f"~/{tmp_path.name}", "--model")


def test_a_checkpoint_in_a_numbered_run_is_named(tmp_path, monkeypatch):
    """Seen before: `no adapter_config.json there` for runs/sft/checkpoint-5, which ms-swift had put into runs/sft/v1-..."""
    for run in ("v0-20260101-000000", "v1-20260102-000000"):
        (tmp_path / "runs" / "sft" / run / "checkpoint-5").mkdir(parents=True)
    os.utime(tmp_path / "runs/sft/v0-20260101-000000/checkpoint-5", (1, 1))
    monkeypatch.chdir(tmp_path)
    newest = "there is runs/sft/v1-20260102-000000/checkpoint-5"
    assert in_a_numbered_run("runs/sft/checkpoint-5") == f"; {newest}"
    assert in_a_numbered_run("runs/sft/checkpoint-6") == "" == in_a_numbered_run("runs/sft/a**b")
    with pytest.raises(ValueError, match=newest):
        refuse_missing_folder("runs/sft/checkpoint-5", "--model")
