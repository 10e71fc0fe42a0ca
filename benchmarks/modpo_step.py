"""Optimiser-step time and peak memory of stock ms-swift DPO against MODPO, live and precomputed, with the same flags.

    python benchmarks/modpo_step.py --model MODEL [--rounds 15] [--batch 2] [--prompt_words 100] [--answer_words 50]

`_shared` variants compute the prompt of a pair once (`MODPO_SHARED_PREFIX=on`), the others twice, as stock does.

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
    "the", "river", "bread", "garden", "window", "slowly", "bright", "answer", "because", "morning", "small", "letter",
    "carry", "between", "silver",
]  # fmt: skip


def write_pairs(path: Path, count: int, prompt_words: int, answer_words: int) -> None:
    generator = random.Random(0)

    def text(words: int) -> str:
        return " ".join(generator.choice(WORDS) for _ in range(words))

    def row() -> dict:
        turns = [{"role": "user", "content": text(prompt_words)}, {"role": "assistant", "content": text(answer_words)}]
        return {"messages": turns, "rejected_response": text(answer_words)}

    rows = [row() for _ in range(count)]
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


ONE = {"MODPO_W": "0.5", "MODPO_MARGIN_ADAPTER": "{adapter}"}
TWO = {
    "MODPO_W": "0.5",
    "MODPO_MARGINS": '[{{"adapter": "{adapter}", "name": "a"}}, {{"adapter": "{adapter}", "name": "b"}}]',
}
OURS = {"dpo": {"MODPO_W": "1"}, "live": ONE, "live2": TWO, "precomputed": ONE}
VARIANTS = {"stock": {}} | {
    f"{name}{suffix}": settings
    | {"MODPO_SHARED_PREFIX": word}
    | ({"MODPO_STORE": "{store}/" + word} if name == "precomputed" else {})
    for suffix, word in (("", "off"), ("_shared", "on"))
    for name, settings in OURS.items()
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
    store = VARIANTS[name].get("MODPO_STORE", "").format(**places)
    data = Path(store, "train.jsonl") if store else Path(places["data"])
    trainer = Built(flags(options, data, folder / name)).main()
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # `train()` sets it; the steps here are taken one by one
    return trainer


def step(trainer, batch) -> dict[str, float]:
    """Seconds of one optimiser step, by the clock and of the processor."""
    import torch

    begun, used = time.perf_counter(), time.process_time()
    trainer.training_step(trainer.model, batch)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"elapsed": time.perf_counter() - begun, "processor": time.process_time() - used}


def batches(trainer, options, rounds: int) -> list:
    rows = [trainer.train_dataset[index] for index in range(options.batch * rounds)]
    return [trainer.data_collator(rows[start : start + options.batch]) for start in range(0, len(rows), options.batch)]


def measure_time(options, places, folder: Path) -> dict:
    variants = [name for name in VARIANTS if name in options.variants]
    trainers = {name: build_trainer(name, options, places, folder) for name in variants}
    data = {name: batches(trainer, options, options.rounds + 2) for name, trainer in trainers.items()}
    seconds = {name: [] for name in variants}
    for round_number in range(options.rounds + 2):
        order = list(variants)
        random.Random(round_number).shuffle(order)
        for name in order:
            taken = step(trainers[name], dict(data[name][round_number]))
            if round_number >= 2:  # the first two warm up
                seconds[name].append(taken)
    rows = row_shape(trainers["stock"], options.batch * options.rounds)
    result: dict = {"rows": rows}
    for name in variants:
        result[name] = {}
        for kind in ("elapsed", "processor"):
            taken = [one[kind] for one in seconds[name]]
            ratios = [one / other[kind] for one, other in zip(taken, seconds["stock"], strict=True)]
            quartiles = statistics.quantiles(ratios, n=4)
            result[name][kind] = {
                "median_seconds": statistics.median(taken), "median_ratio": quartiles[1], "ratio_quartiles": quartiles,
            }  # fmt: skip
    return result


def row_shape(trainer, rows: int) -> dict[str, float]:
    """Median tokens of a prompt and an answer, and the share of tokens that a shared pass computes."""
    import torch

    from trl_ext.shared_prefix.layout import shared_layout

    prompts, answers, places, tokens = [], [], 0, 0
    for index in range(rows):
        batch = trainer.data_collator([trainer.train_dataset[index]])
        scored = (batch["labels"] != -100).sum(1)
        whole = batch["attention_mask"].sum(1)
        prompts += (whole - scored).tolist()
        answers += scored.tolist()
        layout = shared_layout(batch["input_ids"], batch["attention_mask"], torch.zeros(2, dtype=torch.long))
        places, tokens = places + layout.input_ids.numel(), tokens + layout.tokens
    return {
        "prompt_tokens": statistics.median(prompts), "answer_tokens": statistics.median(answers),
        "share_of_tokens": places / tokens,
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
    from benchmarks.turns import random_adapter

    data, adapter, store = folder / "pairs.jsonl", folder / "adapter", folder / "store"
    count = max(options.batch * (options.rounds + 4), 16)
    if options.pairs:
        data.write_text("".join(options.pairs.read_text(encoding="utf-8").splitlines(keepends=True)[:count]), "utf-8")
    else:
        write_pairs(data, count, options.prompt_words, options.answer_words)
    random_adapter(options.model, adapter)
    for word in ("off", "on"):
        environment = {**os.environ, "MODPO_MARGIN_ADAPTER": str(adapter), "MODPO_W": "1", "MODPO_SHARED_PREFIX": word}
        argv = ["-m", "launch", "precompute-margins", "--store", str(store / word), *flags(options, data, store)]
        subprocess.run(
            [sys.executable, *argv], check=True, env=environment | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True
        )
    return {"data": str(data), "adapter": str(adapter), "store": str(store)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=2, help="pairs a step")
    parser.add_argument("--max_length", type=int, default=1024)
    parser.add_argument("--prompt_words", type=int, default=100, help="words of a made prompt, about a token each")
    parser.add_argument("--answer_words", type=int, default=50, help="words of a made answer")
    parser.add_argument("--pairs", type=Path, help="rows to measure on instead, with messages and rejected_response")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="also a process for each")
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
        for name in options.variants if options.memory else []:
            argv = [sys.executable, __file__, *sys.argv[1:], "--memory_of", name, "--places", json.dumps(places)]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            memory[name] = json.loads(done.stdout.strip().splitlines()[-1])["peak_megabytes"]
        times = measure_time(options, places, folder)
        result = {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "command": " ".join(sys.argv),
        }
        result["rows"] = {"pairs": str(options.pairs.name) if options.pairs else None, **times.pop("rows")}
        result["variants"] = {
            name: times[name]
            | (
                {"peak_megabytes": memory[name], "memory_ratio_to_stock": memory[name] / memory["stock"]}
                if memory
                else {}
            )
            for name in options.variants
        }
        from benchmarks.turns import show

        show(result, options.out)


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
