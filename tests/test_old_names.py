"""Variables, flags and addresses of the systems that these methods come from: each is taken or refused with what says it here."""

import re
from importlib import import_module
from importlib.util import find_spec

import pytest

from datasets_builders.old_variables import ARMORM, D2PO, MODPO, refuse_old_variables
from launch.__main__ import main as launch
from launch.cli.verbs import VERBS
from tests.test_migrating import rows
from trl_ext.modpo.margins import MarginSpec, resolve_margins

needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")


def test_all_that_are_set_are_named_and_an_empty_one_is_not_set():
    refuse_old_variables(D2PO, {"SAMPN": "", "OTHER": "1"})
    with pytest.raises(ValueError, match=r"SAMPN: use --window_pairs .*; MLEN: use --max_new_tokens"):
        refuse_old_variables(D2PO, {"MLEN": "50", "SAMPN": "256"})


def test_the_direction_of_a_margin_is_not_taken_from_an_old_sign(monkeypatch):
    """Both upstreams, the tuner and the pipeline resolve their margins here."""
    specs = [MarginSpec(function="brevity", role="reward")]
    assert resolve_margins(specs, 0.5, 0.1, False)
    monkeypatch.setenv("MARGIN_BETA", "-0.1")
    with pytest.raises(
        ValueError, match=r"MARGIN_BETA: a margin's role, reward or cost, .* its loss trained the other way round"
    ):
        resolve_margins(specs, 0.5, 0.1, False)


@needs_trl
def test_d2po_refuses_the_variables_of_the_scripts(monkeypatch, tmp_path):
    from trl_ext.d2po.config import D2POConfig

    settings = {"output_dir": str(tmp_path), "mode": "opo", "gold": "bagofwords", "use_cpu": True, "report_to": "none"}
    D2POConfig(**settings)
    monkeypatch.setenv("RELABELS", "16")
    with pytest.raises(ValueError, match="RELABELS: use --labels_per_window"):
        D2POConfig(**settings)


def test_armorm_refuses_the_variable_of_the_script(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ARMORM_DEBUG_MAX_SAMPLES", "64")
    assert launch(["armorm", "--model", "m", "--gens", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "ARMORM_DEBUG_MAX_SAMPLES: use --limit" in capsys.readouterr().err


@pytest.mark.parametrize("old", [MODPO, ARMORM, D2PO], ids=["modpo", "armorm", "d2po"])
def test_the_page_says_the_same(old):
    table = [row for heading in ("MODPO on HelpSteer", "D2PO in a patched TRL") for row in rows(heading)]
    for name, instead in old.items():
        ours = "\n".join(right for left, right in table if re.search(rf"\b{name}\b", left))
        assert ours and all(flag in ours for flag in re.findall(r"--\w+", instead)), name


@needs_trl
def test_the_flag_of_the_advice_against_memory_running_out_works(tmp_path, capsys):
    from trl_ext.moodpo.script import read_arguments

    flags = [
        "--csv_path",
        "p.csv",
        "--sft_model_path",
        "m",
        "--reward_models",
        "brevity",
        "--use_cpu",
        "--disable_wandb",
    ]
    _, args = read_arguments([*flags, "--output_dir", str(tmp_path), "--bf16", "False", "--batch_size=2"])
    assert args.per_device_train_batch_size == 2
    assert "--batch_size is now --per_device_train_batch_size" in capsys.readouterr().err


@needs_trl
def test_the_scripts_name_of_a_data_set_is_said_in_full():
    from trl import DatasetMixtureConfig, ScriptArguments

    from trl_ext.d2po.script import read_splits

    with pytest.raises(ValueError, match="HuggingFaceH4/ultrafeedback_binarized --dataset_train_split train_prefs"):
        read_splits(ScriptArguments(dataset_name="ultra"), DatasetMixtureConfig(datasets=[]))


@pytest.mark.parametrize("url", ["http://127.0.0.1:5007/train", "http://127.0.0.1:5007/train/"])
def test_the_address_of_the_authors_server_is_not_asked(url):
    from trl_ext.d2po.remote import RemoteDiscriminator

    with pytest.raises(ValueError, match=r"alone, 'http://127\.0\.0\.1:5007' if it listens there"):
        RemoteDiscriminator(url)
    assert RemoteDiscriminator("http://127.0.0.1:5007/d2po").url == "http://127.0.0.1:5007/d2po"


@pytest.mark.parametrize(
    ("verb", "old", "new"),
    [
        ("merge-rm", "--adapter_model_name=a --base_model_name=b --output_name=c", "--adapter=a --model=b --out=c"),
        (
            "generate-checkpoints",
            "--basemodel=b --dset=d --ckname=c --fname=f --maxlen=50 --bsize=2 --genbatch=32",
            "--model=b --prompts=d --checkpoints=c --out=f --max_new_tokens=50 --num_samples=2 --batch_size=32",
        ),
        ("score-gold", "--fname=f --gfunct=bagofwords --out=o", "--answers=f --gold=bagofwords --out=o"),
        ("teacher-sft", "--input_dirs a b --output=o --prompt=p", "--input a b --out=o --prompt=p"),
    ],
)
def test_the_flags_of_the_scripts_work_and_say_todays(verb, old, new, capsys):
    from datasets_builders.__main__ import BUILDERS, make_parser

    parser = make_parser(verb) if verb in BUILDERS else import_module(VERBS[verb].module).make_parser()
    assert parser.parse_args(old.split()) == parser.parse_args(new.split())
    said = capsys.readouterr().err
    assert said.count(" is now ") == sum(one not in new for one in re.findall(r"--\w+", old))
