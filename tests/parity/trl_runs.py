"""Runs of TRL's trainers, stock and extended; called by `tests.parity.trl_worker`. Every function returns JSON values."""

from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

from tests.parity.seen import described
from trl_ext import MODPOConfig, MODPOTrainer

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
COMMON = {
    "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "max_steps": 3, "learning_rate": 1e-3, "logging_steps": 1,
    "lr_scheduler_type": "constant", "save_strategy": "no", "report_to": "none", "use_cpu": True, "bf16": False,
    "gradient_checkpointing": False, "max_length": 192, "seed": 7, "disable_tqdm": True,
}  # fmt: skip


class Events(TrainerCallback):
    """What a callback is told, in order."""

    def __init__(self):
        self.seen: list[str] = []

    def __getattribute__(self, name: str):
        if name.startswith("on_"):
            return lambda args, state, control, **given: self.seen.append(f"{name} {state.global_step} {sorted(given)}")
        return super().__getattribute__(name)


def load(model: str):
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


def count_positive(prediction) -> dict[str, float]:
    """A user's compute_metrics, on whatever the trainer hands it."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    return {"positive": float((logits > 0).mean()), "labels": float(prediction.label_ids.sum())}


def rows(path, stream: bool = False):
    if isinstance(path, dict):
        return {name: rows(one) for name, one in path.items()}
    dataset = Dataset.from_json(str(path), cache_dir=str(Path(path).parent / "cache"))
    return dataset.to_iterable_dataset() if stream else dataset


def dpo(
    ours, folder, model, data, config=None, margins=None, lora=None, adapter=None, ref_model=None, evaluation=None, stream=False,
    compute_metrics=False, callback=False, positional=False, card=False,
) -> dict:  # fmt: skip
    """DPO by the stock class or, with `ours`, by MODPOTrainer with w = 1 and `margins`.

    To the last digit without shared prefixes; with them to rounding, in tests/shared_prefix.
    """
    settings = COMMON | {"output_dir": str(folder), "beta": 0.1} | (config or {})
    args = MODPOConfig(**settings, w=1.0, margins=margins, shared_prefix="off") if ours else DPOConfig(**settings)
    torch.manual_seed(5)
    policy = load(model) if adapter is None else PeftModel.from_pretrained(load(model), adapter, is_trainable=True)
    events = Events()
    given = {
        "model": policy,
        "ref_model": None if ref_model is None else load(ref_model),
        "args": args,
        "data_collator": None,
        "train_dataset": rows(data, stream),
        "eval_dataset": None if evaluation is None else rows(evaluation),
        "processing_class": AutoTokenizer.from_pretrained(model),
        "compute_metrics": count_positive if compute_metrics else None,
        "callbacks": [events] if callback else None,
    }
    trainer_class = MODPOTrainer if ours else DPOTrainer
    peft_config = LoraConfig(**LORA | lora) if lora is not None else None
    if positional:
        trainer = trainer_class(*given.values(), peft_config=peft_config)
    else:
        trainer = trainer_class(**given, peft_config=peft_config)
    trainer.train()
    answer = described(trainer) | {"events": events.seen}
    if card:
        trainer.create_model_card(model_name="tiny", dataset_name="pairs")
        answer["card"] = Path(folder, "README.md").read_text(encoding="utf-8").replace(Path(folder).name, "run")
    return answer


def without_args(model, data) -> dict:
    MODPOTrainer(model, train_dataset=rows(data))
    return {}
