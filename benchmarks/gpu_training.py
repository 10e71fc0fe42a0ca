"""The GPU suite's trainings from end to end: each method's own script on made data, a few steps, and what it saved read back."""

import json
import math
import runpy
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.gpu_sizes import Scene
from benchmarks.grpo_step import pair_rows
from benchmarks.modpo_trl_step import pairs
from benchmarks.turns import prompts, random_adapter

HERE = "benchmarks.gpu_training"


def letters(prompts: Sequence[str], answers: Sequence[str], metadata=None, **columns) -> list[float]:
    """A reward and a gold function under which two different answers are seldom equal."""
    return [float(sum(map(ord, answer)) % 101) for answer in answers]


def length(prompts: Sequence[str], answers: Sequence[str], **columns) -> list[float]:
    return [float(len(answer)) for answer in answers]


def varied(completions: Sequence[list[dict]], **columns) -> list[float]:
    """A reward of TRL's GRPO: random weights give no verdict, and equal rewards no gradient."""
    return letters([], [completion[0]["content"] for completion in completions])


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(scene: Scene) -> Path:
    """A file of prompts, each another one."""
    texts = [one[0]["content"] for one in prompts(scene.size.online * 40, words=12)]
    return write_rows(scene.folder / "prompts.jsonl", [{"prompt": text} for text in texts])


def modpo(scene: Scene, model: Path) -> tuple[str, dict]:
    size = scene.size
    count = size.pairs[scene.model]
    rows = pairs(count * size.steps["modpo"], size.prompt_words, size.answer_words)
    return "trl_ext.modpo.script", {
        "model_name_or_path": model, "dataset_name": write_rows(scene.folder / "pairs.jsonl", rows), "w": 0.5,
        "margin_adapter": random_adapter(model, scene.folder / "margin"), "per_device_train_batch_size": count,
        "use_peft": "true", "lora_r": 8, "lora_target_modules": "all-linear", "dtype": size.dtype, "max_length": 2048,
    }  # fmt: skip


def judge(scene: Scene, model: Path) -> tuple[str, dict]:
    size = scene.size
    rows = [
        {"prompt": row.pop("messages"), **row} for row in pair_rows("pairwise_judge", 2 * size.steps["judge"] + 2, 12)
    ]
    return "trl.scripts.grpo", {
        "model_name_or_path": model, "dataset_name": write_rows(scene.folder / "rows" / "train.jsonl", rows).parent,
        "reward_funcs": ["trl_ext.pairwise_judge.rewards.pairwise_preference", f"{HERE}.varied"],
        "per_device_train_batch_size": 2 * size.completions, "num_generations": size.completions, "shuffle_dataset": "false",
        "max_completion_length": size.new_tokens, "use_peft": "true", "lora_r": 8, "lora_target_modules": "all-linear",
        "dtype": size.dtype,
    }  # fmt: skip


def online(scene: Scene) -> dict:
    return {
        "per_device_train_batch_size": scene.size.online,
        "max_new_tokens": scene.size.new_tokens,
        "max_length": 1024,
    }


def moodpo(scene: Scene, model: Path) -> tuple[str, dict]:
    return "trl_ext.moodpo.script", online(scene) | {
        "csv_path": asked(scene), "sft_model_path": model, "lora_rank": 8, "disable_wandb": "true",
        "reward_models": [f"letters={HERE}:letters", f"length={HERE}:length"],
    }  # fmt: skip


def d2po(scene: Scene, model: Path) -> tuple[str, dict]:
    return "trl_ext.d2po.script", online(scene) | {
        "model_name_or_path": model, "dataset_name": asked(scene), "gold": f"{HERE}:letters",
        "discriminator": scene.reward_models(1)[0], "window_pairs": scene.size.window * scene.size.online,
        "labels_per_window": 2, "use_peft": "true", "lora_r": 8, "lora_target_modules": "all-linear",
        "dtype": scene.size.dtype,
    }  # fmt: skip


METHODS: dict[str, Callable[[Scene, Path], tuple[str, dict]]] = {
    "modpo": modpo, "judge": judge, "moodpo": moodpo, "d2po": d2po,
}  # fmt: skip


def run_script(module: str, flags: dict) -> None:
    """`python -m module --flag value ...` in this process.

    Raises:
        SystemExit: the script ended with another code than 0.
    """
    sys.argv = [module]
    for name, value in flags.items():
        sys.argv += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise


def train(method: str) -> Callable[[Scene], Iterator[dict]]:
    """The part that trains with this method."""

    def measured(scene: Scene) -> Iterator[dict]:
        from benchmarks.alone import PeakMemory
        from trl_ext.modpo.model_dir import check_finite_weights

        size, out = scene.size, scene.folder / "run"
        steps = size.steps[method]
        module, flags = METHODS[method](scene, scene.real())
        memory, begun = PeakMemory(), time.perf_counter()
        run_script(module, flags | {
            "output_dir": out, "max_steps": steps, "save_strategy": "steps", "save_steps": steps, "logging_steps": 1,
            "learning_rate": 1e-4, "report_to": "none", "bf16": str(not size.cpu).lower(), "use_cpu": str(size.cpu).lower(),
            "gradient_checkpointing": "true", "seed": 0, "disable_tqdm": "true",
        })  # fmt: skip
        seconds, saved = time.perf_counter() - begun, out / f"checkpoint-{steps}"
        log = json.loads((saved / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
        losses, norms = ([row[name] for row in log if name in row] for name in ("loss", "grad_norm"))
        if len(losses) != steps or not all(map(math.isfinite, losses + norms)) or not any(norms):
            raise ValueError(f"{steps} finite losses and gradients were expected, found {losses} and {norms}")
        check_finite_weights(saved)
        yield {
            "variant": module, "steps": steps, "losses": losses, "gradient_norms": norms, "seconds": seconds,
            "peak_mb": memory.peak(),
            "remark": f"{steps} steps and a checkpoint in {seconds:.1f} s, loading included; loss {losses[0]:.3f} to {losses[-1]:.3f}",
        }  # fmt: skip

    return measured
