"""Optimiser-step time and peak memory of stock ms-swift DPO against MODPO, live and precomputed, with the same flags.

    python benchmarks/modpo_step.py --model MODEL [--rounds 15] [--batch 2] [--max_length 256] [--dtype float32]

Time: the trainers of all variants are built in one process and take turns on the same batches, so a drift of the
machine's speed meets all of them; medians of the per-round ratios are reported. A step is `training_step`, gradient
clipping, `optimizer.step()` and `zero_grad`. Memory: each variant trains a few steps in a process of its own, the
kernel's peak resident set is read. The model is a checkpoint folder, e.g. from `python -m launch embedded-model`.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WORDS = [
    "the",
    "river",
    "bread",
    "garden",
    "window",
    "slowly",
    "bright",
    "answer",
    "because",
    "morning",
    "small",
    "letter",
    "carry",
    "between",
    "silver",
]


def write_pairs(path: Path, count: int, words: int) -> None:
    generator = random.Random(0)

    def text() -> str:
        return " ".join(generator.choice(WORDS) for _ in range(words))

    rows = [
        {
            "messages": [{"role": "user", "content": text()}, {"role": "assistant", "content": text()}],
            "rejected_response": text(),
        }
        for _ in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def flags(options, data: Path, folder: Path) -> list[str]:
    values = {
        "rlhf_type": "dpo", "model": options.model, "model_type": "llama", "template": "chatml", "dataset": data,
        "split_dataset_ratio": 0, "output_dir": folder, "add_version": False, "torch_dtype": options.dtype,
        "max_length": options.max_length, "per_device_train_batch_size": options.batch, "gradient_accumulation_steps": 1,
        "learning_rate": 1e-4, "max_steps": 1000, "save_strategy": "no", "eval_strategy": "no", "lora_rank": 8,
        "lora_dropout": 0, "dataloader_num_workers": 0, "dataset_num_proc": 1, "check_model": False, "report_to": "none",
        "gradient_checkpointing": False, "dataset_shuffle": False, "train_dataloader_shuffle": False,
        "remove_unused_columns": False, "load_from_cache_file": False,
        **({"use_cpu": True} if options.cpu else {}),
    }  # fmt: skip
    return [
        part
        for name, value in values.items()
        for part in (f"--{name}", str(value).lower() if isinstance(value, bool) else str(value))
    ]


VARIANTS = {
    "stock": {},
    "live": {"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "{adapter}"},
    "live2": {
        "MODPO_W": "0.5",
        "MODPO_MARGINS": '[{{"adapter": "{adapter}", "name": "a"}}, {{"adapter": "{adapter}", "name": "b"}}]',
    },
    "precomputed": {"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "{adapter}", "MODPO_STORE": "{store}"},
}


def set_variant(name: str, places: dict[str, str]) -> None:
    """Settings of one variant in the environment, and its trainer in ms-swift's registry."""
    from swift.trainers.trainer_factory import TrainerFactory

    for key in [key for key in os.environ if key.startswith("MODPO_")]:
        del os.environ[key]
    os.environ.update({key: value.format(**places) for key, value in VARIANTS[name].items()})
    stock, ours = "swift.rlhf_trainers.DPOTrainer", "swift_ext.modpo.MODPOTrainer"
    TrainerFactory.TRAINER_MAPPING["dpo"] = stock if name == "stock" else ours


def build_trainer(name: str, options, places: dict[str, str], folder: Path):
    """The trainer that `swift rlhf` would train, with its optimiser, not yet trained."""
    from swift.pipelines.train.rlhf import SwiftRLHF

    class Built(SwiftRLHF):
        def train(self, trainer):
            return trainer

    set_variant(name, places)
    data = Path(places["store"]) / "train.jsonl" if name == "precomputed" else Path(places["data"])
    trainer = Built(flags(options, data, folder / name)).main()
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # `train()` sets it; the steps here are taken one by one
    return trainer


def step(trainer, batch) -> float:
    """Seconds of one optimiser step."""
    import torch

    begun = time.perf_counter()
    trainer.training_step(trainer.model, batch)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def batches(trainer, options, rounds: int) -> list:
    rows = [trainer.train_dataset[index] for index in range(options.batch * rounds)]
    return [trainer.data_collator(rows[start : start + options.batch]) for start in range(0, len(rows), options.batch)]


def measure_time(options, places, folder: Path) -> dict:
    trainers = {name: build_trainer(name, options, places, folder) for name in VARIANTS}
    data = {name: batches(trainer, options, options.rounds + 2) for name, trainer in trainers.items()}
    seconds = {name: [] for name in VARIANTS}
    for round_number in range(options.rounds + 2):
        order = list(VARIANTS)
        random.Random(round_number).shuffle(order)
        for name in order:
            taken = step(trainers[name], dict(data[name][round_number]))
            if round_number >= 2:  # the first two warm up
                seconds[name].append(taken)
    ratios = {name: [a / b for a, b in zip(seconds[name], seconds["stock"], strict=True)] for name in VARIANTS}
    return {
        name: {"median_seconds": statistics.median(seconds[name]), "median_ratio_to_stock": statistics.median(ratios[name]),
               "ratio_quartiles": statistics.quantiles(ratios[name], n=4)} for name in VARIANTS
    }  # fmt: skip


def memory_of(name: str, options, places, folder: Path) -> None:
    """Child process: a few steps of one variant, then its peak resident set in megabytes on the last line."""
    import resource

    trainer = build_trainer(name, options, places, folder)
    for batch in batches(trainer, options, 4):
        step(trainer, batch)
    print(json.dumps({"peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def prepare(options, folder: Path) -> dict[str, str]:
    """Pairs, a margin adapter with random weights and a store, as the command lines make them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    data, adapter, store = folder / "pairs.jsonl", folder / "adapter", folder / "store"
    write_pairs(data, max(options.batch * (options.rounds + 4), 16), options.max_length // 3)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(options.model),
        LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    model.save_pretrained(adapter)
    environment = {**os.environ, "MODPO_MARGIN_ADAPTER": str(adapter), "MODPO_W": "1"}
    subprocess.run(
        [sys.executable, "-m", "launch", "precompute-margins", "--store", str(store), *flags(options, data, store)],
        check=True, env=environment | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True,
    )  # fmt: skip
    return {"data": str(data), "adapter": str(adapter), "store": str(store)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=2, help="pairs a step")
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cpu", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory_of", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--places", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.memory_of:
            memory_of(options.memory_of, options, options.places, folder)
            return
        places = prepare(options, folder)
        memory = {}
        for name in VARIANTS:
            argv = [sys.executable, __file__, *sys.argv[1:], "--memory_of", name, "--places", json.dumps(places)]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            memory[name] = json.loads(done.stdout.strip().splitlines()[-1])["peak_megabytes"]
        times = measure_time(options, places, folder)
        result = {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "command": " ".join(sys.argv),
        }
        result["variants"] = {
            name: {
                **times[name],
                "peak_megabytes": memory[name],
                "memory_ratio_to_stock": memory[name] / memory["stock"],
            }
            for name in VARIANTS
        }
        text = json.dumps(result, indent=2)
        print(text)
        if options.out:
            options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
