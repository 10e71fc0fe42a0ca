"""Command lines of the claims that train on `small-replies`: data, warm-up, GRPO by a shipped run file with other numbers."""

from pathlib import Path
from typing import Any

from launch.pipelines.command_lines import flags, launch
from launch.pipelines.identity import PACK
from launch.pipelines.stages import Command, Stage
from launch.reproduce.claim import Place

# The processor, fp32, all weights; nothing is looked up, nothing is kept but weights.
SMALL = {
    "tuner_type": "full",
    "torch_dtype": "float32",
    "gradient_accumulation_steps": 1,
    "save_only_model": True,
    "add_version": False,
    "dataset_num_proc": 1,
    "dataloader_num_workers": 0,
}
# Drawn as in training: all of the distribution, no word cut off.
SAMPLED = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 12}
HOW = {"model_type": "llama", "template": "chatml"}
PAIRS_A_STEP, ANSWERS = 16, 4


def data_stage(place: Place, seed: int, kind: str, test: int) -> Stage:
    """Pairs, warm-up rows and a random model of this seed."""
    folder = place.of(seed, "data")
    sizes = {"train": 64, "test": 8} if place.rehearsal else {"test": test}
    command = launch("small-replies", {"kind": kind, "out": folder, "seed": seed, **sizes})
    return Stage(f"data_s{seed}", f"seed {seed}: pairs and a random model", [command], [folder])


def warm_up_stage(place: Place, seed: int, steps: int, length: int) -> Stage:
    """Supervised training of the random model on the teacher's answers."""
    data, out = place.of(seed, "data"), place.of(seed, "warmup")
    steps = 3 if place.rehearsal else steps
    values = {
        "model": data / "model",
        **HOW,
        "dataset": data / "warmup.jsonl",
        "split_dataset_ratio": 0,
        **SMALL,
        "max_length": length,
        "per_device_train_batch_size": 64,
        "learning_rate": 3e-3,
        "warmup_ratio": 0.05,
        "max_steps": steps,
        "save_steps": steps,
        "logging_steps": 20,
        "seed": seed,
        "check_model": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
        "output_dir": out,
    }
    return Stage(f"warmup_s{seed}", f"seed {seed}: warm-up", [Command(["swift", "sft", *flags(values)])], [out])


def warmed(place: Place, seed: int, steps: int) -> Path:
    """The checkpoint that a warm-up of `steps` leaves."""
    return place.of(seed, "warmup") / f"checkpoint-{3 if place.rehearsal else steps}"


def grpo_stage(
    place: Place, seed: int, arm: str, run_file: str, start: Path, data: str, steps: int, every: int, **other: Any
) -> Stage:
    """GRPO of all weights by a run file of `launch/runs`, on 16 new pairs a step with 4 answers to each of their rows.

    Args:
        start: the checkpoint of the warm-up.
        data: name of the file of pairs.
        every: steps between two checkpoints.
        other: flags that differ from the run file, those of the arm among them.
    """
    method = run_file.partition("/")[0]
    answers = 2 * PAIRS_A_STEP * ANSWERS
    values = {
        "external_plugins": PACK / "swift_ext" / "plugins" / f"{method}.py",
        "model": start,
        "dataset": place.of(seed, "data") / data,
        **SMALL,
        "num_generations": ANSWERS,
        "generation_batch_size": answers,
        "per_device_train_batch_size": answers,
        "max_steps": steps,
        "save_steps": every,
        "log_completions": False,
        "seed": seed,
        "output_dir": place.of(seed, arm),
        **other,
    }
    command = Command(["swift", "rlhf", str(PACK / "launch" / "runs" / run_file), *flags(values)])
    return Stage(f"{arm}_s{seed}", f"seed {seed}: {arm}", [command], [place.of(seed, arm)])


def evaluation_stage(place: Place, seed: int, name: str, model: Path, verb: str, done: str, **own: Any) -> Stage:
    """An evaluation of one model on the fresh pairs of its seed, with answers drawn as in training.

    Args:
        done: what it makes of a model, in one word: part of the stage's name and the folder of the results.
        own: flags that the verb has for itself.
    """
    out = place.of(seed, f"{done}/{name}")
    values = {
        "model": model,
        **HOW,
        "data": place.of(seed, "data") / "test.jsonl",
        **SAMPLED,
        **own,
        "seed": seed,
        "out": out,
    }
    command = launch(verb, values, "--do_sample")
    return Stage(f"{name}_s{seed}_{done}", f"seed {seed}: {name}, {done}", [command], [out])
