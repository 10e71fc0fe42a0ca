"""Optimiser-step time of TRL's stock DPO with a precomputed reference against MODPO with precomputed reference and margins.

    python benchmarks/modpo_trl_step.py --model MODEL [--rounds 15] [--batch 2] [--max_length 256] [--out FILE]

Both trainers are built in one process and take turns on the same batches; how they are timed is in `turns.py`. The model is a checkpoint folder, e.g. from `python -m launch embedded-model`.
"""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.turns import WARM_UP, WORDS, ready, report, step, take_turns


def pairs(count: int, words: int) -> list[dict]:
    generator = random.Random(0)

    def text() -> str:
        return " ".join(generator.choice(WORDS) for _ in range(words))

    return [
        {
            "prompt": [{"role": "user", "content": text()}],
            "chosen": [{"role": "assistant", "content": text()}],
            "rejected": [{"role": "assistant", "content": text()}],
        }
        for _ in range(count)
    ]


def make_adapter(model: str, folder: Path) -> str:
    """A LoRA adapter whose weights are random, so that it has an opinion."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    peft_model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, parameter in peft_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    peft_model.save_pretrained(folder)
    return str(folder)


def build(name: str, options, rows, adapter: str, folder: Path):
    """The trainer with its optimiser, not yet trained."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    from trl_ext import MODPOConfig, MODPOTrainer

    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": options.batch, "max_steps": 1000, "learning_rate": 1e-4,
        "report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "max_length": options.max_length, "precompute_ref_log_probs": True, "disable_tqdm": True,
    }  # fmt: skip
    if name == "modpo":
        margins = [{"adapter": adapter, "name": "a"}, {"function": "negative_response_tokens", "name": "short"}]
        trainer_class, args = MODPOTrainer, MODPOConfig(w=0.5, margins=margins, **settings)
    else:
        trainer_class, args = DPOTrainer, DPOConfig(**settings)
    torch.manual_seed(0)
    lora = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    return ready(trainer_class(options.model, args=args, train_dataset=Dataset.from_list(rows), peft_config=lora))


def measure(options, folder: Path) -> dict:
    rows = pairs(options.batch * (options.rounds + WARM_UP), options.max_length // 3)
    adapter = make_adapter(options.model, folder / "adapter")
    trainers = {name: build(name, options, rows, adapter, folder / name) for name in ("stock", "modpo")}
    batches = {}
    for name, trainer in trainers.items():
        dataset = trainer._remove_unused_columns(trainer.train_dataset, "training")
        rows = list(dataset)
        starts = range(0, len(rows), options.batch)
        batches[name] = [trainer.data_collator(rows[start : start + options.batch]) for start in starts]
    turns = {
        name: lambda number, name=name: step(trainers[name], dict(batches[name][number])) for name in ("stock", "modpo")
    }
    return take_turns(turns, options.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=2, help="pairs a step")
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as temporary:
        variants = measure(options, Path(temporary))
    report({"batch": options.batch, "max_length": options.max_length, "variants": variants}, options.out)


if __name__ == "__main__":
    main()
