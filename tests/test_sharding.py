"""What FSDP would do wrong without a word, told from its settings."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from trl_ext import sharding
from trl_ext.sharding import RAM, Fsdp, fsdp_of, loaded_whole

LAUNCHER = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", RAM: "false", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}  # fmt: skip
FLAG = {"fsdp_version": 2, "cpu_ram_efficient_loading": False, "state_dict_type": "FULL_STATE_DICT"}


@pytest.fixture
def args(monkeypatch):
    """args(flag=None, **environment): transformers' arguments in a run with that environment."""

    def make(flag=None, **environment):
        for name in (*LAUNCHER, "ACCELERATE_USE_DEEPSPEED"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return SimpleNamespace(fsdp_plugin_args=flag)

    return make


def test_settings_are_those_of_the_flag_or_of_the_launcher(args):
    assert fsdp_of(args()) is None
    assert fsdp_of(args(**LAUNCHER)) == fsdp_of(args(FLAG)) == Fsdp(2, False, False)
    assert fsdp_of(args(ACCELERATE_USE_FSDP="true")) == Fsdp(1, False, True)  # accelerate's defaults
    assert fsdp_of(args(FLAG | {"fsdp_version": 1, "state_dict_type": "SHARDED_STATE_DICT"}, **{RAM: "true"})) == Fsdp(
        1, True, True
    )


def test_what_works_is_not_refused(args):
    for given in (args(), args(**LAUNCHER), args(FLAG)):
        sharding.refuse_shards(given)
        sharding.refuse_joined_weights(given)
        sharding.refuse_empty_reference(given, own_reference=True)
    sharding.refuse_empty_reference(args(**LAUNCHER | {RAM: "true"}), own_reference=False)


@pytest.mark.parametrize(
    ("setting", "refuse", "words"),
    [
        ({"FSDP_VERSION": "1"}, sharding.refuse_joined_weights, "FSDP is version 1"),
        ({"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, sharding.refuse_shards, "FULL_STATE_DICT is valid"),
        ({RAM: "true"}, lambda one: sharding.refuse_empty_reference(one, True), "cpu_ram_efficient_loading: false"),
    ],
)
def test_what_goes_wrong_is_refused(args, setting, refuse, words):
    with pytest.raises(ValueError, match=words):
        refuse(args(**LAUNCHER | setting))


def test_models_beside_the_policy_are_loaded_whole(args, monkeypatch):
    import os

    args(**LAUNCHER | {RAM: "true"})
    with loaded_whole():
        assert os.environ[RAM] == "false"
    assert os.environ[RAM] == "true"
    args()
    with loaded_whole():
        assert RAM not in os.environ


@pytest.mark.parametrize(("internal", "kind"), [(True, "SHARDED_STATE_DICT"), (False, "FULL_STATE_DICT")])
def test_a_model_is_saved_whole_and_a_checkpoint_as_asked(internal, kind):
    from accelerate.utils import FullyShardedDataParallelPlugin

    class Parent:
        is_fsdp_enabled = True

        def save_model(self, output_dir=None, _internal_call=False):
            return None

    class Trainer(sharding.SavesWhole, Parent):
        pass

    trainer = Trainer()
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="SHARDED_STATE_DICT")
    trainer.accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin))
    trainer.save_model("folder", _internal_call=internal)
    assert kind in str(plugin.state_dict_type)


@pytest.mark.parametrize(
    ("environment", "distributed_type", "words"),
    [
        (LAUNCHER, "FSDP", None),
        (
            LAUNCHER,
            "MULTI_CPU",
            r"FSDP was asked for and accelerate runs this without it \(MULTI_CPU\): .* it needs GPUs",
        ),
        (LAUNCHER, "NO", r"FSDP .*\(NO\)"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DEEPSPEED", None),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "MULTI_CPU", r"DeepSpeed .*\(MULTI_CPU\): .* in place of --cpu"),
        ({}, "MULTI_CPU", None),
        ({}, "MULTI_GPU", None),
    ],
)
def test_a_run_without_the_engine_it_asked_for_says_so(args, environment, distributed_type, words):
    """Seen before: on CPUs both were left out in silence, and a run was believed to be sharded."""
    said = sharding.unsharded(args(**environment), distributed_type)
    assert said is None if words is None else re.search(words, said), said


def test_what_accelerate_makes_of_the_settings_on_a_cpu_is_said(tmp_path):
    """By a real Accelerator, in a process of its own: it keeps its state."""
    code = "import sys; from types import SimpleNamespace as N; from accelerate import Accelerator; from trl_ext.sharding import unsharded\n"
    code += "print(unsharded(N(), Accelerator(cpu=True).distributed_type))"
    for name, word in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        made = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, name: "true"}, capture_output=True, text=True
        )
        assert f"{word} was asked for and accelerate runs this without it (NO)" in made.stdout, made.stderr
