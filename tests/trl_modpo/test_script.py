"""The script from a run file under `accelerate launch`: one process, two, DeepSpeed, and the same curve as ms-swift."""

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml
from safetensors.torch import load_file

from tests import fsdp
from tests.conftest import REPOSITORY, swift_flags
from tests.engines.record import apart, record
from tests.tiny import preference_rows, write_rows
from tests.warm_trl import SETTINGS

from .conftest import trl_rows

pytest.importorskip("trl")
pytestmark = pytest.mark.integration
SCRIPT = "trl_ext.modpo.script"


@pytest.fixture(scope="module")
def launch(tiny, adapter, warm_trl, tmp_path_factory):
    """launch(processes=1, **run file) -> (return code, output, rows of the log with a loss, output folder).

    By accelerate's launcher, or torchrun for several processes, if `launcher`; otherwise without one. `sharded` is a version of
    FSDP.
    """
    parent, count = tmp_path_factory.mktemp("scripts"), iter(range(100))
    rows = trl_rows(preference_rows(8, seed=11))
    data = write_rows(parent / "train.jsonl", rows)

    def run(processes=1, launcher=False, sharded=None, **options):
        folder = parent / str(next(count))
        settings = {
            "model_name_or_path": str(tiny),
            "dataset_name": str(data),
            "output_dir": str(folder),
            "max_steps": 4,
            "per_device_train_batch_size": 2 // processes,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "save_strategy": "steps",
            "save_steps": 4,
            "report_to": "none",
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "max_length": 96,
            "seed": 7,
            "disable_tqdm": True,
            "train_sampling_strategy": "sequential",
            "w": 0.4,
            "dtype": "float32",
            "ddp_backend": "gloo" if processes > 1 else None,
            "accelerator_config": fsdp.CONFIGURED if sharded else None,
            "margins": [
                {"adapter": str(adapter), "name": "a", "weight": 0.2},
                {"function": "negative_response_tokens", "name": "short", "weight": 0.05, "role": "cost"},
            ],
            "use_peft": True,
            "lora_r": 4,
            "lora_alpha": 8,
            "lora_dropout": 0.0,
            "lora_target_modules": ["q_proj", "v_proj"],
        } | options
        file = parent / f"{folder.name}.yaml"
        file.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
        flags, cache, module = ["--config", str(file)], {"HF_DATASETS_CACHE": str(parent / "cache")}, SCRIPT
        if sharded:
            flags, cache, module = [SCRIPT, *flags], cache | fsdp.environment(sharded), fsdp.RANK
        log = parent / f"{folder.name}.log"
        if launcher and processes > 1:  # without a GPU, accelerate starts several processes by MPI only
            code, output = 0, warm_trl.torchrun(processes, SCRIPT, flags, log, parent, **cache)
        elif launcher:
            argv = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
            argv += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
            env = {**os.environ, **SETTINGS, **cache}
            done = subprocess.run(
                [*argv, "-m", SCRIPT, *flags], env=env, capture_output=True, text=True, timeout=600, cwd=parent
            )
            code, output = done.returncode, done.stdout + done.stderr
        else:
            code, output = warm_trl.start(module, flags, log, parent, processes, **cache).finish()
        state = folder / f"checkpoint-{settings['max_steps']}" / "trainer_state.json"
        rows_of_log = (
            [row for row in json.loads(state.read_text())["log_history"] if "loss" in row] if state.is_file() else []
        )
        return code, output, rows_of_log, folder

    run.data, run.parent = data, parent
    return run


@pytest.fixture(scope="module")
def single(launch):
    code, output, log, folder = launch(
        launcher=True, resume_from_checkpoint=True
    )  # as a job that may be started again says it
    assert code == 0 and "no checkpoint in" in output, output[-3000:]
    return log, output, folder


def test_one_process_from_a_run_file(single):
    log, output, folder = single
    assert (
        len(log) == 4
        and abs(log[0]["loss"] - math.log(2)) > 0.02
        and all(math.isfinite(row["grad_norm"]) for row in log)
    )
    assert (
        "pushes TOWARD what the adapter" in output
        and "margin 'short': cost, weight 0.05, beta 1: pushes TOWARD longer answers" in output
    )
    assert (folder / "adapter_model.safetensors").is_file() and (
        folder / "checkpoint-4" / "modpo_settings.json"
    ).is_file()
    assert not list(folder.rglob("margin_a"))


def test_a_run_with_evaluation_ends_with_the_numbers_and_the_model(launch):
    code, output, _, folder = launch(
        max_steps=1, save_steps=1, eval_strategy="steps", eval_steps=1, dataset_test_split="train"
    )
    assert code == 0 and "eval metrics" in output, output[-3000:]
    history = json.loads((folder / "checkpoint-1" / "trainer_state.json").read_text())["log_history"]
    (logged,) = [row["eval_loss"] for row in history if "eval_loss" in row]
    assert json.loads((folder / "eval_results.json").read_text())["eval_loss"] == pytest.approx(logged, abs=1e-6)
    assert (folder / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("precomputed", [False, True], ids=["live", "precomputed"])
def test_two_processes_train_as_one(precomputed, launch, single):
    """Two gloo ranks of one pair each against one process with two pairs."""
    code, output, log, _ = launch(processes=2, launcher=not precomputed, precompute_ref_log_probs=precomputed)
    assert code == 0 and "terminate called" not in output, output[-3000:]
    for name in (
        "loss",
        "grad_norm",
        "rewards/margins",
        "margin_rewards/a/gap",
        "margin_rewards/a/chosen",
        "margin_rewards/short/rejected",
    ):
        assert [row[name] for row in log] == pytest.approx([row[name] for row in single[0]], rel=1e-5, abs=1e-5), name
    if not precomputed:
        seen = f"two CPU ranks by accelerate, LoRA in fp32: {of_one_process(log, single)}"
        record("MODPO (TRL)", "DDP", "ran", seen, ("trl", "transformers", "torch"))


def of_one_process(log: list[dict], single: tuple) -> str:
    losses, expected = ([row["loss"] for row in rows] for rows in (log, single[0]))
    return f"{len(losses)} losses of one process, {apart(losses, expected)} apart at most"


@pytest.mark.parametrize(
    "precomputed", [pytest.param(False, marks=pytest.mark.long), True], ids=["live", "precomputed"]
)
def test_deepspeed_zero_two_in_bf16(precomputed, launch, single, tmp_path):
    """Margins within bf16's rounding of weights and activations; stored columns are not rounded to bf16 themselves."""
    pytest.importorskip("deepspeed")
    zero = {
        "zero_optimization": {"stage": 2},
        "bf16": {"enabled": True},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }
    (tmp_path / "zero2.json").write_text(json.dumps(zero))
    code, output, log, _ = launch(
        processes=2,
        deepspeed=str(tmp_path / "zero2.json"),
        bf16=True,
        dtype="bfloat16",
        precompute_ref_log_probs=precomputed,
        max_steps=2,
        save_steps=2,
    )
    assert code == 0, output[-3000:]
    for name in ("margin_rewards/a/chosen", "margin_rewards/a/rejected"):
        assert [row[name] for row in log] == pytest.approx([row[name] for row in single[0]][:2], abs=0.01), name
    exact = [row["margin_rewards/short/chosen"] for row in single[0]][:2]
    assert [row["margin_rewards/short/chosen"] for row in log] == exact
    assert log[0]["loss"] == pytest.approx(single[0][0]["loss"], abs=0.01)


@pytest.mark.parametrize("stage", [pytest.param("zero1", marks=pytest.mark.long), "zero2", "zero3"])
def test_deepspeed_takes_the_steps_of_one_process(stage, launch, single):
    """launch/deepspeed in fp32, two ranks of one pair each, a live adapter margin: under ZeRO-3 it is switched on and off
    between gathered layers. Found: 5e-7 in the loss."""
    pytest.importorskip("deepspeed")
    code, output, log, folder = launch(
        processes=2, deepspeed=str(REPOSITORY / "launch" / "deepspeed" / f"{stage}.json")
    )
    assert code == 0, output[-3000:]
    for name in ("loss", "rewards/margins", "margin_rewards/a/chosen", "margin_rewards/short/rejected"):
        assert [row[name] for row in log] == pytest.approx([row[name] for row in single[0]], rel=1e-3, abs=1e-5), name
    saved, expected = (load_file(path / "adapter_model.safetensors") for path in (folder, single[2]))
    assert saved.keys() == expected.keys() and all(saved[name].shape == expected[name].shape for name in saved)
    seen = f"two CPU ranks, LoRA in fp32, a live adapter margin, launch/deepspeed/{stage}.json: {of_one_process(log, single)}"
    record("MODPO (TRL)", f"ZeRO-{stage[-1]}", "ran", seen, ("trl", "transformers", "torch", "deepspeed"))


SERIES = ("loss", "rewards/margins", "margin_rewards/a/chosen", "margin_rewards/short/rejected")


def agree(log: list[dict], expected: list[dict]) -> None:
    for name in SERIES:
        assert [row[name] for row in log] == pytest.approx([row[name] for row in expected], rel=1e-5, abs=1e-5), name


def test_fsdp2_takes_the_steps_of_one_process_and_leaves_a_model(launch, single):
    """The margin's adapter is switched on and off on sharded layers. Found: 0 in the loss of DDP."""
    code, output, log, folder = launch(processes=2, sharded=2)
    assert code == 0, output[-3000:]
    agree(log, single[0])
    saved, expected = (load_file(path / "adapter_model.safetensors") for path in (folder, single[2]))
    assert saved.keys() == expected.keys()
    assert all(saved[name].numpy() == pytest.approx(expected[name].numpy(), abs=1e-5) for name in saved)
    assert (folder / "checkpoint-4" / "adapter_model.safetensors").is_file() and not list(folder.rglob("margin_a"))
    seen = f"two CPU ranks, LoRA in fp32, launch/accelerate/fsdp2.yaml: {of_one_process(log, single)}; the model is saved whole"
    record("MODPO (TRL)", "FSDP2", "ran", seen, ("trl", "transformers", "torch"))


def test_fsdp1_would_train_something_else(launch):
    """Found without the refusal: the margin of the first batch was 0.0809, an epoch later 0.0664; and with a function alone as
    the margin, losses of 0.2533 where DDP has 0.2498."""
    code, output, _, _ = launch(processes=2, sharded=1)
    assert code == 2 and "error: FSDP is version 1, which joins the weights" in output, output[-3000:]
    seen = (
        "with live margins: FSDP is version 1, which joins the weights; reference and margins computed before would run"
    )
    record("MODPO (TRL)", "FSDP1", "refused", seen, ("trl", "transformers", "torch"))


@pytest.mark.long
@pytest.mark.parametrize("version", [1, 2])
def test_fsdp_with_reference_and_margins_computed_before(version, launch, single):
    code, output, log, folder = launch(processes=2, sharded=version, precompute_ref_log_probs=True)
    assert code == 0 or version == 1, output[-3000:]  # see fsdp.environment: a CPU rank ends when it saves the whole
    agree(log, single[0])
    assert (folder / "checkpoint-4" / "adapter_model.safetensors").is_file() == (version == 2)


@pytest.mark.long
def test_fsdp2_with_all_weights_and_the_margin_on_the_reference(launch):
    import peft

    settings = {"use_peft": None, "learning_rate": 1e-4}
    code, output, log, folder = launch(processes=2, sharded=2, **settings)
    if peft.__version__ < "0.21":
        assert code == 2 and "FSDP has sharded the reference before the adapter is loaded" in output, output[-3000:]
        return
    assert code == 0, output[-3000:]
    agree(log, launch(processes=2, **settings)[2])
    assert load_file(folder / "model.safetensors")


def test_mistakes_end_with_one_line(warm_trl, tmp_path):
    base = ["--model_name_or_path", tmp_path, "--output_dir", tmp_path, "--use_cpu", "--bf16", "false"]
    flags = ["--dataset_name", str(tmp_path / "none.jsonl"), "--w", "0.5", "--margins", '[{"function": "brevity"}]']
    code, output = warm_trl.start(SCRIPT, [*base, *flags], tmp_path / "log").finish(200)
    assert code == 2 and output.splitlines()[-1] == f"error: dataset_name: no file {tmp_path / 'none.jsonl'}"


# --- the same run on ms-swift -----------------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed in this environment")
def test_the_same_loss_curve_as_ms_swift(launch, run_swift, tiny, adapter, tmp_path):
    """Full fine-tuning in fp32, rows in order, the same optimiser: two epochs. Found: 2e-6 in the loss, 4e-6 in h; 1e-3 was asked."""
    margins = [
        {"adapter": str(adapter), "name": "a", "weight": 0.3},
        {"function": "negative_response_tokens", "name": "short", "weight": 0.05, "role": "cost"},
    ]
    optimiser = {
        "max_steps": 8,
        "learning_rate": 3e-4,
        "weight_decay": 0.1,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
    }
    code, output, ours, _ = launch(**optimiser, save_steps=8, w=0.5, margins=margins, use_peft=None)
    assert code == 0, output[-3000:]
    data = write_rows(tmp_path / "pairs.jsonl", preference_rows(8, seed=11))
    flags = swift_flags(
        tiny, data, tmp_path / "run", tuner_type="full", dataset_shuffle=False, train_dataloader_shuffle=False,
        lora_rank=None, lora_dropout=None, **optimiser,
    )  # fmt: skip
    theirs = run_swift(tmp_path / "run", flags, {"MODPO_W": 0.5, "MODPO_MARGINS": json.dumps(margins)})
    assert theirs.returncode == 0, theirs.output[-3000:]
    assert len(ours) == len(theirs.steps) == 8
    for name in (
        "loss",
        "margin_rewards/a/chosen",
        "margin_rewards/a/gap",
        "margin_rewards/short/chosen",
        "rewards/margins",
    ):
        assert [row[name] for row in ours] == pytest.approx(theirs.series(name), abs=2e-5), name
    assert ours[0]["loss"] - ours[7]["loss"] > 0.05
    losses = apart((row["loss"] for row in ours), theirs.series("loss"))
    seen = f"all weights in fp32: {len(ours)} losses of the same run on ms-swift, {losses} apart at most"
    record("MODPO (TRL)", "transformers", "ran", seen, ("ms-swift", "trl", "transformers", "torch"))


def test_a_folder_as_the_data_commands_leave_it(tmp_path):
    """Earlier versions of each left OUT.report.json beside its rows, which is no data."""
    from trl import DatasetMixtureConfig, ScriptArguments

    from trl_ext.script import load_splits

    for name, count in (("train", 6), ("test", 3)):
        write_rows(tmp_path / f"{name}.jsonl", trl_rows(preference_rows(count)))
        (tmp_path / f"{name}.jsonl.report.json").write_text('{"rows": {"written": 6}, "builder": "helpsteer"}')

    def splits():
        return load_splits(ScriptArguments(dataset_name=str(tmp_path)), DatasetMixtureConfig(datasets=[]))

    assert {name: len(rows) for name, rows in splits().items()} == {"train": 6, "test": 3}
    (tmp_path / "test.json").write_text("[]")
    with pytest.raises(
        ValueError, match=r"one .jsonl or .json file a split is needed, found \['test.json', 'test.jsonl'"
    ):
        splits()


def test_a_data_set_that_is_nowhere_is_a_message(tmp_path, monkeypatch):
    """Seen before: a traceback, and a study that tried it again with other parameters."""
    from trl import DatasetMixtureConfig, ScriptArguments

    from trl_ext.script import load_splits

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="dataset_name data/nowhere: nothing of this name is here, and it cannot be"):
        load_splits(ScriptArguments(dataset_name="data/nowhere"), DatasetMixtureConfig(datasets=[]))


@pytest.mark.parametrize("way", ["file", "folder", "folder with reports", "datasets"])
def test_a_broken_line_is_a_message_however_the_data_are_named(tmp_path, way, monkeypatch):
    """Seen before: a message where the file was named, a traceback where its folder was."""
    from trl import DatasetMixtureConfig, ScriptArguments
    from trl.scripts.utils import DatasetConfig

    from trl_ext.script import load_splits

    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", \n')
    if way == "folder with reports":
        (tmp_path / "train.jsonl.report.json").write_text("{}")
    name = str(tmp_path / "train.jsonl" if way == "file" else tmp_path)
    mixture = DatasetMixtureConfig(datasets=[DatasetConfig(path=name)] if way == "datasets" else [])
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(ValueError, match=r"rows whose columns are of one type are valid: .*JSON") as refused:
        load_splits(ScriptArguments(dataset_name=None if way == "datasets" else name), mixture)
    assert way == "datasets" or name in str(refused.value)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl.gz", "parquet", "saved"])
def test_every_local_file_that_the_doctor_reads_is_read(kind, tmp_path):
    """Seen before: the doctor passed a CSV file, and the script asked the hub for it."""
    from datasets import Dataset
    from trl import DatasetMixtureConfig, ScriptArguments

    from trl_ext.modpo.pair_rows import checked
    from trl_ext.script import load_splits

    rows = [{"question": f"What is {k}?", "response_j": "7", "response_k": "no"} for k in range(3)]
    path = tmp_path / f"pairs.{kind}"
    if kind == "saved":
        Dataset.from_list(rows).save_to_disk(path)
    elif kind == "parquet":
        Dataset.from_list(rows).to_parquet(path)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)

    def load(name, **more):
        return load_splits(ScriptArguments(dataset_name=str(name), **more), DatasetMixtureConfig(datasets=[]))

    first = {key: value for key, value in checked(load(path)["train"], "x")[0].items() if key in ("chosen", "rejected")}
    assert first == {
        "chosen": [{"role": "assistant", "content": "7"}], "rejected": [{"role": "assistant", "content": "no"}],
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"dataset_streaming: .* is read as a whole"):
        load(path, dataset_streaming=True)
    with pytest.raises(ValueError, match=r"nowhere\.csv: no such file"):
        load(tmp_path / "nowhere.csv")
