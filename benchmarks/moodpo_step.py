"""Optimiser-step time of MOODPO against stock online DPO with the same reward models, in one process taking turns.

    python benchmarks/moodpo_step.py [--model MODEL] [--objectives 3] [--rounds 15] [--batch 4] [--out FILE]

| variant | what it is |
|---|---|
| `stock` | OnlineDPOTrainer; its K reward functions are the K reward models, each called as MOODPO calls it, on the same texts |
| `native` | OnlineDPOTrainer; the K reward models are handed over as models, which TRL feeds itself, instruction included |
| `moodpo` | MOODPOOnlineDPOTrainer: weights drawn for each prompt, running normalisation, ties skipped |

All read prompts with the same instructions and sample answers of the same length; how they are timed is in `turns.py`.
Without --model the policy is a random Llama; the reward models are random Llama classifiers of its size.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.turns import (
    WARM_UP,
    add_step_flags,
    causal_model,
    prompts,
    random_checkpoint,
    ready,
    report,
    step,
    take_turns,
)


def builders(options, policy: Path, judges: list[Path], folder: Path) -> dict[str, Callable[[], Callable[[int], None]]]:
    """By variant, what builds its trainer and gives the function that takes the step of a round."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    from trl_ext import MOODPOConfig, MOODPOOnlineDPOTrainer
    from trl_ext.moodpo.instruction import annotate, strip
    from trl_ext.moodpo.rewards import RewardBundle, get_reward_specs

    rows = prompts(options.batch * (options.rounds + WARM_UP))
    names = [f"objective{k}" for k in range(len(judges))]
    models = [f"{name}={path}#0" for name, path in zip(names, judges, strict=True)]
    shared = {
        "output_dir": str(folder), "per_device_train_batch_size": options.batch, "learning_rate": 1e-5,
        "bf16": options.dtype == "bfloat16",
        "max_new_tokens": options.new_tokens, "max_length": 512, "report_to": "none", "gradient_checkpointing": False,
        "max_steps": 1000, "use_cpu": options.cpu, "temperature": 1.0, "remove_unused_columns": False,
        # every answer has the same length, so that the variants do the same work
        "generation_kwargs": {"min_new_tokens": options.new_tokens},
    }  # fmt: skip
    args = MOODPOConfig(**shared, reward_models=models, reward_batch_size=2 * options.batch)
    sampler = args.sampler()
    asked = [annotate(row, names, sampler.draw(0, place), system_role=True) for place, row in enumerate(rows)]

    def as_function(spec):
        bundle = RewardBundle([spec], device=args.device, dtype=options.dtype, batch_size=2 * options.batch)

        def reward(prompts, completions, **columns):
            return bundle.score([strip(prompt) for prompt in prompts], completions)[:, 0].tolist()

        return reward

    def turn_of(trainer) -> Callable[[int], None]:
        def turn(number: int) -> None:
            rows = range(number * options.batch, (number + 1) * options.batch)
            step(trainer, trainer.data_collator([trainer.train_dataset[row] for row in rows]))

        ready(trainer)
        return turn

    device = "cpu" if options.cpu else "cuda"

    def common(prompts: list) -> dict:
        return {
            "model": causal_model(policy, options.dtype, device), "train_dataset": Dataset.from_dict({"prompt": prompts}),
            "processing_class": AutoTokenizer.from_pretrained(policy),
        }  # fmt: skip

    def stock(functions):
        args = OnlineDPOConfig(**shared, beta=[0.1])
        return turn_of(OnlineDPOTrainer(args=args, reward_funcs=functions, **common(asked)))

    def classifiers():
        precision = getattr(torch, options.dtype)
        return [AutoModelForSequenceClassification.from_pretrained(path, dtype=precision).to(device) for path in judges]

    return {
        "stock": lambda: stock([as_function(spec) for spec in get_reward_specs(models)]),
        "native": lambda: stock(classifiers()),
        "moodpo": lambda: turn_of(MOODPOOnlineDPOTrainer(args=args, **common(rows))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--objectives", type=int, default=3)
    add_step_flags(parser, 15)
    parser.add_argument("--batch", type=int, default=4, help="prompts a step")
    parser.add_argument("--new_tokens", type=int, default=32)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        policy = options.model or random_checkpoint(folder / "policy", "LlamaForCausalLM", 0, tie_word_embeddings=True)
        judges = [
            random_checkpoint(folder / f"judge{k}", "LlamaForSequenceClassification", k + 1, num_labels=1)
            for k in range(options.objectives)
        ]
        turns = {name: build() for name, build in builders(options, policy, judges, folder / "run").items()}
        report({"variants": take_turns(turns, options.rounds)}, options.out)


if __name__ == "__main__":
    main()
