"""What is killed: a command on tiny data, where its parent is, and what must be the same in the end."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.conftest import REPOSITORY
from tests.fake_teacher import FakeTeacher
from tests.tiny import SENTENCES, build_adapter, build_classifier, build_model, preference_rows, write_rows

ENVIRONMENT = {
    **os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    "OPENAI_API_KEY": "sk-none", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
}  # fmt: skip


@dataclass
class Case:
    """A command.

    Attributes:
        command: folder of the run -> its arguments; asked anew at each start, as some commands need a flag to go on.
        results: folder of the run -> name -> digest of what must be the same as in a run that was left alone.
        paid: folder of the run -> keys of what was paid for and is on the disk, in order; a key twice was paid twice.
        requests: how many answers were paid for so far, over all runs.
    """

    command: Callable[[Path], list[str]]
    results: Callable[[Path], dict[str, str]]
    paid: Callable[[Path], list[str]] = lambda folder: []
    requests: Callable[[], int] | None = None


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    """Relative name -> digest of the content."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def _python(*words) -> list[str]:
    return [sys.executable, *map(str, words)]


def _flags(settings: dict) -> list[str]:
    return [str(word) for name, value in settings.items() for word in (f"--{name}", value)]


def _keys(file: Path, *fields: str) -> list[str]:
    lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith(b"\n")]  # the last one may be torn by the kill
    return [json.dumps([row.get(name) for name in fields]) for row in rows]


def builder(world: Path) -> Case:
    """A data command; its source is large enough to be killed in the middle."""
    source = world / "helpsteer.jsonl"
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    write_rows(source, [
        {"prompt": f"prompt {n // 4}", "response": f"response {n} " + "x" * 400, **dict.fromkeys(names, (n * 7) % 5)}
        for n in range(12_000)
    ])  # fmt: skip

    def command(folder: Path) -> list[str]:
        flags = {
            "attribute": "helpfulness",
            "split": "train",
            "format": "trl",
            "source": source,
            "out": folder / "rows.jsonl",
        }
        return _python("-m", "datasets_builders", "helpsteer", *_flags(flags))

    return Case(command, lambda folder: digests(folder, "rows.jsonl", "__reports__/rows.jsonl.report.json"))


def teacher(world: Path) -> Case:
    """Paid labels of a teacher on the loopback interface."""
    speakers = ("\n\nHuman: Question {0}?\n\nAssistant: {1} {0}.", ("Good answer, sorry,", "Bad answer, idiot,"))
    rows = [
        dict(zip(("chosen", "rejected"), (speakers[0].format(n, text) for text in speakers[1]), strict=True))
        for n in range(24)
    ]
    source, server = write_rows(world / "hh.jsonl", rows), FakeTeacher(delay=0.05).__enter__()

    def command(folder: Path) -> list[str]:
        flags = {"backend": "openai", "model": "judge-1", "base_url": f"{server.address}/v1", "source": source, "out": folder / "out",
                 "n_pairs": 24, "rpm_limit": 600000, "concurrency": 2}  # fmt: skip
        return _python(
            "-m", "datasets_builders", "teacher", *_flags(flags), *(["--resume"] if (folder / "out").exists() else [])
        )

    def paid(folder: Path) -> list[str]:
        return _keys(folder / "out" / "answers.jsonl", "keys")

    return Case(
        command, lambda folder: digests(folder, "out/results.jsonl"), paid, lambda: sum(server.answered.values())
    )


def generate(world: Path) -> Case:
    """Answers of a model, batch by batch."""
    prompts = write_rows(world / "questions.jsonl", [{"prompt": f"{text} {n}"} for n in range(4) for text in SENTENCES])

    def command(folder: Path) -> list[str]:
        flags = {"model": world / "model", "model_type": "llama", "template": "chatml", "prompts": prompts, "out": folder / "out",
                 "label": "a", "max_new_tokens": 12, "batch_size": 2, "torch_dtype": "float32"}  # fmt: skip
        return _python("-m", "launch", "generate", *_flags(flags))

    return Case(command, lambda folder: digests(folder, "out/a/*-of-*[0-9].jsonl"))


def d2po(world: Path) -> Case:
    """Online training with a label budget, under `accelerate launch`."""
    prompts = write_rows(
        world / "prompts.jsonl", [{"prompt": f"{SENTENCES[n % 8]} ({n})", "kind": n} for n in range(20)]
    )

    def command(folder: Path) -> list[str]:
        started = any(folder.glob("run/checkpoint-*/d2po_state.json"))
        settings = {
            "model_name_or_path": world / "model", "dataset_name": prompts, "output_dir": folder / "run", "mode": "d2po",
            "gold": "tests.d2po.golds:letters", "discriminator": world / "rm", "discriminator_learning_rate": 1e-3,
            "window_pairs": 8, "labels_per_window": 3, "max_steps": 6, "per_device_train_batch_size": 4, "learning_rate": 1e-2,
            "bf16": False, "use_cpu": True, "max_new_tokens": 6, "max_length": 160, "logging_steps": 1, "report_to": "none",
            "gradient_checkpointing": False, "save_strategy": "steps", "save_steps": 1, "seed": 5, "temperature": 1.0,
            "beta": 0.3, "use_peft": True, "lora_r": 4, "lora_alpha": 8, "lora_target_modules": ["q_proj", "v_proj"],
            "disable_tqdm": True, **({"resume_from_checkpoint": "true"} if started else {}),
        }  # fmt: skip
        file = folder / "run.yaml"
        file.write_text(
            yaml.safe_dump({name: str(value) if isinstance(value, Path) else value for name, value in settings.items()})
        )
        launcher = [
            "--cpu",
            *_flags({"num_processes": 1, "num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}),
        ]
        return _python("-m", "accelerate.commands.launch", *launcher, "-m", "trl_ext.d2po.script", "--config", file)

    def paid(folder: Path) -> list[str]:
        return _keys(folder / "run" / "d2po_ledger.jsonl", "step", "labels", "prompt", "key", "pair", "entries")

    return Case(command, lambda folder: digests(folder, "run/adapter_model.safetensors", "run/d2po_ledger.jsonl"), paid)


def tuner(world: Path) -> Case:
    """One trial of a study with a worker."""

    def rows(count: int, seed: int) -> list[dict]:
        made = preference_rows(count, seed)
        return [{"prompt": row["messages"][:1], "chosen": row["messages"][1:],
                 "rejected": [{"role": "assistant", "content": row["rejected_response"]}]} for row in made]  # fmt: skip

    (world / "study").mkdir()
    write_rows(world / "study" / "train.jsonl", rows(16, 1))
    write_rows(world / "study" / "test.jsonl", rows(8, 2))
    run = {"dtype": "float32", "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "max_length": 96,
           "per_device_train_batch_size": 2, "use_peft": True, "lora_r": 4, "lora_target_modules": ["q_proj", "v_proj"],
           "lora_dropout": 0.0, "report_to": "none", "disable_tqdm": True}  # fmt: skip
    (world / "tune.yaml").write_text(yaml.safe_dump(run))

    def command(folder: Path) -> list[str]:
        flags = {"study_name": "s", "output_root": folder, "rung_steps": "2,4", "n_trials": 1, "sft_model_name": world / "model",
                 "margin_reward_model_name": world / "margin", "dataset_name": world / "study", "config": world / "tune.yaml"}  # fmt: skip
        return _python("-m", "launch", "tune-modpo", *_flags(flags))

    def results(folder: Path) -> dict[str, str]:
        best = json.loads((folder / "s" / "best_trial.json").read_text())
        found = {name: best["best"][0][name] for name in ("number", "values", "params")} | {"trials": best["trials"]}
        return digests(folder, "s/trial_0000/adapter_model.safetensors") | {"best": json.dumps(found, sort_keys=True)}

    return Case(command, results)


def pipeline(world: Path) -> Case:
    """Data, a margin adapter, MODPO, answers, scores and the report: ten stages."""
    files = {name: write_rows(world / f"{name}.jsonl", preference_rows(count, seed))
             for name, count, seed in (("preference", 24, 0), ("margin", 24, 1), ("margin_val", 12, 2))}  # fmt: skip

    def command(folder: Path) -> list[str]:
        settings = {
            "preset": "quickstart", "run_tag": "tiny", "out": folder / "run", "model": world / "model", "data": "files",
            "precision": "fp32", **{f"{name}_file": path for name, path in files.items()}, "w_values": "0.5", "dpo_max_steps": 2,
            "modpo_max_steps": 4, "save_steps": 1, "eval_steps": 2, "max_new_tokens": 8, "eval_size": 4, "gen_samples": 2,
            "gen_batch_size": 4, "min_margin_accuracy": 0, "stages_at_once": 1,
        }  # fmt: skip
        return _python("-m", "launch", "helpsteer-modpo", *_flags(settings))

    patterns = (
        "margin_dpo/checkpoint-2/*.safetensors",
        "modpo_w0.5/checkpoint-4/*.safetensors",
        "eval/gens/*/*-of-*[0-9].jsonl",
    )
    return Case(command, lambda folder: digests(folder / "run", *patterns))


CASES: dict[str, Callable[[Path], Case]] = {
    "builder": builder, "teacher": teacher, "generate": generate, "d2po": d2po, "tuner": tuner, "pipeline": pipeline,
}  # fmt: skip


WITHOUT_MODELS = ("builder", "teacher")


def build_world(world: Path) -> None:
    """Models that the cases share."""
    if not (world / "ready").exists():
        build_model(world / "model", end_gain=1.5)
        build_classifier(world / "rm", labels=1)
        build_adapter(world / "model", world / "margin")
        (world / "ready").touch()
