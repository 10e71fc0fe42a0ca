"""A clean set-up of every method on tiny models: folder of data and models, and the run files as mappings."""

from pathlib import Path
from typing import Any

import yaml

from tests import tiny

PLUGINS = Path(__file__).parents[3] / "swift_ext" / "plugins"


def build_world(folder: Path) -> Path:
    """Models, adapters and data of all methods."""
    base = tiny.build_model(folder / "model")
    tiny.build_adapter(base, folder / "margin")
    tiny.build_model(folder / "other_model", seed=9)
    tiny.build_classifier(folder / "rm", labels=1)
    pairs = tiny.preference_rows()
    tiny.write_rows(folder / "pairs.jsonl", pairs)
    tiny.write_rows(folder / "scored.jsonl", tiny.scoring_rows())
    tiny.write_rows(folder / "judged.jsonl", tiny.judging_rows())
    tiny.write_rows(folder / "prompts.jsonl", [{"prompt": f"{tiny.SENTENCES[i % 8]} ({i})"} for i in range(20)])
    texts = [(row["messages"][0]["content"], row["messages"][1]["content"], row["rejected_response"]) for row in pairs]
    tiny.write_rows(
        folder / "trl.jsonl", [dict(zip(("prompt", "chosen", "rejected"), row, strict=True)) for row in texts]
    )
    return folder


def _swift(world: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": str(world / "model"), "model_type": "llama", "template": "chatml", "torch_dtype": "float32",
        "check_model": False, "use_cpu": True, "split_dataset_ratio": 0, "output_dir": str(world / "out"),
        "max_length": 128, "lora_rank": 4, "max_steps": 4, "save_steps": 4, "report_to": "none", **more,
    }  # fmt: skip


def _grpo(world: Path, plugin: str, rewards: list[str], data: str, **more: Any) -> dict[str, Any]:
    return _swift(
        world, rlhf_type="grpo", external_plugins=str(PLUGINS / f"{plugin}.py"), reward_funcs=rewards,
        dataset=str(world / data), num_generations=2, generation_batch_size=8, per_device_train_batch_size=4,
        gradient_accumulation_steps=2, max_completion_length=8, scale_rewards="batch", top_k=-1, top_p=1.0, **more,
    )  # fmt: skip


def _trl(world: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(world / "out"), "max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-3,
        "bf16": False, "use_cpu": True, "report_to": "none", "gradient_checkpointing": False, "save_strategy": "no",
        "seed": 5, "beta": 0.1, **more,
    }  # fmt: skip


def clean_runs(world: Path) -> dict[str, dict[str, Any]]:
    """method -> its run file."""
    lora = {"use_peft": True, "lora_r": 4, "lora_target_modules": ["q_proj", "v_proj"]}
    online = {"max_new_tokens": 6, "max_length": 200}
    return {
        "modpo": _swift(
            world, ENV={"MODPO_W": 0.5, "MODPO_MARGIN_ADAPTER": str(world / "margin"), "MODPO_MARGIN_ROLE": "reward"},
            rlhf_type="dpo", external_plugins=str(PLUGINS / "modpo.py"), dataset=str(world / "pairs.jsonl"), beta=0.1,
            per_device_train_batch_size=2, gradient_accumulation_steps=1,
        ),
        "bt_grpo": _grpo(
            world, "bt_grpo", ["bt_pointwise_baseline"], "scored.jsonl",
            ENV={"BT_SCORE_PARSER": "score100_last", "BT_DELTA_TEMP": 20},
        ),
        "pairwise_judge": _grpo(world, "pairwise_judge", ["pairwise_preference", "pairwise_consistency"], "judged.jsonl"),
        "modpo-trl": _trl(
            world, model_name_or_path=str(world / "model"), dataset_name=str(world / "trl.jsonl"), w=0.5,
            margins=[{"adapter": str(world / "margin"), "role": "reward"}], max_length=128, **lora,
        ),
        "moodpo": _trl(
            world, sft_model_path=str(world / "model"), csv_path=str(world / "prompts.jsonl"), lora_rank=4,
            reward_models=["brevity", "rich_vocabulary"], min_prompt_tokens=1, max_prompt_tokens=64, disable_wandb=True,
            **online,
        ),
        "d2po": _trl(
            world, model_name_or_path=str(world / "model"), dataset_name=str(world / "prompts.jsonl"), mode="d2po",
            gold="bagofwords", discriminator=str(world / "rm"), window_pairs=8, labels_per_window=3, **lora, **online,
        ),
    }  # fmt: skip


def write_run(path: Path, run: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    return path
