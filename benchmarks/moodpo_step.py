"""Optimiser-step time of MOODPO against stock online DPO with the same reward models, in one process taking turns.

    python benchmarks/moodpo_step.py [--model MODEL] [--objectives 3] [--rounds 15] [--batch 4] [--out FILE]

| variant | what it is |
|---|---|
| `stock` | OnlineDPOTrainer; its K reward functions are the K reward models, each called as MOODPO calls it, on the same texts |
| `native` | OnlineDPOTrainer; the K reward models are handed over as models, which TRL feeds itself, instruction included |
| `moodpo` | MOODPOOnlineDPOTrainer: weights drawn for each prompt, running normalisation, ties skipped |

All read prompts with the same instructions and sample answers of the same length. A step is `training_step`, gradient
clipping, `optimizer.step()` and `zero_grad`. The order within a round is shuffled; medians of the per-round ratios are
reported, of elapsed and of processor time: on a machine with other load only the second is steady. Without --model the policy is a random Llama; the reward models are random Llama classifiers of its size.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WORDS = ["river", "bread", "garden", "window", "slowly", "bright", "answer", "because", "morning", "letter", "between"]
VARIANTS = ("stock", "native", "moodpo")


def random_checkpoint(folder: Path, name: str, seed: int, **settings) -> Path:
    """A random Llama of 12 million parameters with a byte-pair tokenizer that has a chat template."""
    import torch
    import transformers

    from tests.tiny import build_tokenizer

    folder.mkdir(parents=True)
    build_tokenizer(folder)
    config = transformers.LlamaConfig(
        vocab_size=400, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=1, eos_token_id=2, pad_token_id=0, **settings,
    )  # fmt: skip
    torch.manual_seed(seed)
    getattr(transformers, name)(config).save_pretrained(folder)
    return folder


def prompts(count: int) -> list:
    generator = random.Random(0)
    texts = [" ".join(generator.choice(WORDS) for _ in range(24)) for _ in range(count)]
    return [[{"role": "user", "content": text}] for text in texts]


def build_trainers(options, policy: Path, judges: list[Path], folder: Path) -> dict:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    from trl_ext import MOODPOConfig, MOODPOOnlineDPOTrainer
    from trl_ext.moodpo.instruction import annotate, strip
    from trl_ext.moodpo.rewards import RewardBundle, get_reward_specs

    rows = prompts(options.batch * (options.rounds + 2))
    names = [f"objective{k}" for k in range(len(judges))]
    models = [f"{name}={path}#0" for name, path in zip(names, judges, strict=True)]
    shared = {
        "output_dir": str(folder), "per_device_train_batch_size": options.batch, "learning_rate": 1e-5, "bf16": False,
        "max_new_tokens": options.new_tokens, "max_length": 512, "report_to": "none", "gradient_checkpointing": False,
        "max_steps": 1000, "use_cpu": options.cpu, "temperature": 1.0, "remove_unused_columns": False,
        # every answer has the same length, so that the variants do the same work
        "generation_kwargs": {"min_new_tokens": options.new_tokens},
    }  # fmt: skip
    args = MOODPOConfig(**shared, reward_models=models, reward_batch_size=2 * options.batch)
    sampler = args.sampler()
    asked = [annotate(row, names, sampler.draw(0, place), system_role=True) for place, row in enumerate(rows)]

    def as_function(spec):
        bundle = RewardBundle([spec], device=args.device, dtype="float32", batch_size=2 * options.batch)

        def reward(prompts, completions, **columns):
            return bundle.score([strip(prompt) for prompt in prompts], completions)[:, 0].tolist()

        return reward

    def stock(functions):
        return OnlineDPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(policy),
            args=OnlineDPOConfig(**shared, beta=[0.1]),
            reward_funcs=functions,
            train_dataset=Dataset.from_dict({"prompt": asked}),
            processing_class=AutoTokenizer.from_pretrained(policy),
        )

    classifiers = [AutoModelForSequenceClassification.from_pretrained(path) for path in judges]
    trainers = {
        "stock": stock([as_function(spec) for spec in get_reward_specs(models)]),
        "native": stock(classifiers),
        "moodpo": MOODPOOnlineDPOTrainer(
            AutoModelForCausalLM.from_pretrained(policy),
            args=args,
            train_dataset=Dataset.from_dict({"prompt": rows}),
            processing_class=AutoTokenizer.from_pretrained(policy),
        ),
    }
    for trainer in trainers.values():
        trainer.create_optimizer()
        trainer.model_wrapped = trainer.model
        trainer.current_gradient_accumulation_steps = 1  # `train()` sets it; the steps here are taken one by one
    return trainers


def step(trainer, batch) -> tuple[float, float]:
    """Elapsed and processor seconds of one optimiser step."""
    import torch

    begun, used = time.perf_counter(), time.process_time()
    trainer.training_step(trainer.model, batch)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun, time.process_time() - used


def measure(options, trainers: dict) -> dict:
    seconds = {name: [] for name in VARIANTS}
    for turn in range(options.rounds + 2):
        rows = range(turn * options.batch, (turn + 1) * options.batch)
        order = list(VARIANTS)
        random.Random(turn).shuffle(order)
        for name in order:
            trainer = trainers[name]
            taken = step(trainer, trainer.data_collator([trainer.train_dataset[row] for row in rows]))
            if turn >= 2:  # the first two warm up
                seconds[name].append(taken)
    return {
        name: {
            kind: ratio_of([pair[place] for pair in seconds[name]], [pair[place] for pair in seconds["stock"]])
            for place, kind in enumerate(("elapsed", "processor"))
        }
        for name in VARIANTS
    }


def ratio_of(own: list[float], stock: list[float]) -> dict:
    ratios = [a / b for a, b in zip(own, stock, strict=True)]
    return {
        "median_seconds": statistics.median(own),
        "median_ratio_to_stock": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--objectives", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=4, help="prompts a step")
    parser.add_argument("--new_tokens", type=int, default=32)
    parser.add_argument("--cpu", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import trl

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        policy = options.model or random_checkpoint(folder / "policy", "LlamaForCausalLM", 0, tie_word_embeddings=True)
        judges = [
            random_checkpoint(folder / f"judge{k}", "LlamaForSequenceClassification", k + 1, num_labels=1)
            for k in range(options.objectives)
        ]
        result = {
            "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s), other load"
            if options.cpu
            else torch.cuda.get_device_name(),
            "versions": {"trl": trl.__version__, "torch": torch.__version__},
            "command": " ".join(sys.argv),
            "variants": measure(options, build_trainers(options, policy, judges, folder / "run")),
        }
        text = json.dumps(result, indent=2)
        print(text)
        if options.out:
            options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
