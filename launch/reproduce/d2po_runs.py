"""Command lines of the claim about gold labels: labels of untouched answers, reward models, online training, offline DPO."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from launch.pipelines.command_lines import flags, launch
from launch.pipelines.stages import Command
from launch.reproduce.claim import Place

MODULE = ["python", "-m"]


class Size(NamedTuple):
    """How much of everything: labels before the run and in all, steps, steps between evaluations, pairs of a step and of a
    window, labels of a window and of one of the arm with few, epochs of a reward model, steps and prompts of the language.
    """

    first: int = 260
    labels: int = 500
    steps: int = 90
    every: int = 30
    batch: int = 16
    window: int = 48
    bought: int = 8
    few: int = 3
    epochs: int = 10
    language: Mapping[str, int] = MappingProxyType({})


FULL = Size()
REHEARSAL = Size(
    first=12,
    labels=16,
    steps=2,
    every=2,
    batch=4,
    window=8,
    bought=4,
    few=2,
    epochs=1,
    language={"steps": 20, "train": 24, "test": 8},
)

# What the arms of online training have in common; the policy's and the discriminator's weights are all trained.
POLICY = {
    "max_prompt_tokens": 16, "max_new_tokens": 20, "max_length": 64, "temperature": 1.0, "beta": 0.05, "dtype": "float32",
    "completions": 2, "learning_rate": 1e-3, "lr_scheduler_type": "constant",
}  # fmt: skip
DISCRIMINATOR = {
    "discriminator_text_format": "chat", "discriminator_learning_rate": 1e-3, "discriminator_epochs": 3,
    "discriminator_lora_rank": 0, "discriminator_batch_size": 16, "discriminator_max_length": 64,
}  # fmt: skip
TRAINER = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True}


def size_of(place: Place) -> Size:
    """A rehearsal's or the whole one."""
    return REHEARSAL if place.rehearsal else FULL


def language_of(place: Place) -> Path:
    """What `small-language` makes, for all seeds."""
    return place.folder / "language"


def language(place: Place) -> Command:
    """The language model, its text and prompts."""
    return launch("small-language", {"out": language_of(place), **size_of(place).language})


def answers(place: Place, seed: int, out: Path) -> Command:
    """Two answers of the untouched model to each of as many prompts as there are labels."""
    return launch("generate", {
        "model": language_of(place) / "lm", "prompts": language_of(place) / "prompts" / "train.jsonl", "label": "base",
        "limit": size_of(place).labels, "num_samples": 2, "max_new_tokens": POLICY["max_new_tokens"], "batch_size": 128,
        "seed": seed, "out": out,
    }, "--do_sample")  # fmt: skip


def gold_pairs(answered: Path, gold: str, labels: int, out: Path) -> Command:
    """The pairs that so many labels of these answers give, in the folder `out`."""
    return Command([*MODULE, "launch.reproduce.gold_pairs", *flags({
        "answers": answered / "base", "gold": gold, "labels": labels, "out": out / "train.jsonl",
    })])  # fmt: skip


def reward_model(place: Place, seed: int, pairs: Path, out: Path) -> Command:
    """A reward model of these pairs."""
    return Command([*MODULE, "trl.scripts.reward", *flags({
        "model_name_or_path": language_of(place) / "lm", "dataset_name": pairs, "output_dir": out,
        "num_train_epochs": size_of(place).epochs, "learning_rate": 2e-3, "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 16, "max_length": 64, "dtype": "float32", "save_strategy": "no", **TRAINER,
        "seed": seed,
    })])  # fmt: skip


def online(place: Place, seed: int, out: Path, own: Mapping[str, Any]) -> Command:
    """Online training by `own` flags: where labels and scores come from, and what differs from `POLICY`."""
    size = size_of(place)
    return Command([*MODULE, "trl_ext.d2po.script", *flags({
        "model_name_or_path": language_of(place) / "lm", "dataset_name": language_of(place) / "prompts",
        "output_dir": out, **(POLICY | own), "window_pairs": size.window, "max_steps": size.steps,
        "per_device_train_batch_size": size.batch, "eval_strategy": "steps", "eval_steps": size.every,
        "eval_on_start": True, "per_device_eval_batch_size": 128,
        "generation_batch_size": size.window, "save_strategy": "no", "save_rollouts": False,
        **TRAINER, "seed": seed,
    })])  # fmt: skip


def offline(place: Place, seed: int, pairs: Path, gold: str, folders: tuple[Path, Path, Path]) -> list[Command]:
    """DPO on pairs, with answers of its checkpoints and their gold scores; `folders` of the three."""
    size, (trained, answered, scored) = size_of(place), folders
    train = Command([*MODULE, "trl.scripts.dpo", *flags({
        "model_name_or_path": language_of(place) / "lm", "dataset_name": pairs, "output_dir": trained,
        "max_steps": size.steps, "per_device_train_batch_size": size.batch, "save_strategy": "steps",
        "save_steps": size.every, "save_only_model": True,
        **{name: POLICY[name] for name in ("max_length", "beta", "dtype", "learning_rate", "lr_scheduler_type")},
        **TRAINER, "seed": seed,
    })])  # fmt: skip
    asked = launch("generate-checkpoints", {
        "checkpoints": trained, "model": language_of(place) / "lm",
        "prompts": language_of(place) / "prompts" / "test.jsonl", "num_samples": 2,
        "max_new_tokens": POLICY["max_new_tokens"], "temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0,
        "batch_size": 64, "seed": seed, "out": answered,
    }, "--base")  # fmt: skip
    return [train, asked, launch("score-gold", {"answers": answered, "gold": gold, "out": scored})]
