"""Optimiser-step time of variants of DPO and MODPO in TRL; by default, of stock DPO and MODPO with all that can be precomputed.

    python benchmarks/modpo_trl_step.py --model MODEL [--variants stock live live_shared] [--rounds 15] [--batch 2] [--out FILE]

| variant | what it is |
|---|---|
| `stock`, `stock_precomputed` | TRL's DPOTrainer, its reference live or precomputed |
| `live`, `precomputed` | MODPOTrainer with an adapter and a function as margins; they and the reference live or precomputed |
| `live_shared`, `precomputed_shared` | the same, a pair computes its prompt once |

The trainers are built in one process and take turns on the same batches, and ratios are to the first of them; how they are
timed is in `turns.py`. The model is a checkpoint folder, e.g. from `python -m launch embedded-model`.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.turns import (
    WARM_UP,
    WORDS,
    add_step_flags,
    causal_model,
    random_adapter,
    ready,
    report,
    step,
    take_turns,
)

PRECOMPUTED = {"precompute_ref_log_probs": True}
# Of ours, whether a pair computes its prompt once; the others are TRL's own DPOTrainer.
SHARED = {"live": "off", "live_shared": "on", "precomputed": "off", "precomputed_shared": "on"}
VARIANTS = {"stock": {}, "stock_precomputed": PRECOMPUTED} | {
    name: {"shared_prefix": setting, **(PRECOMPUTED if "precomputed" in name else {})}
    for name, setting in SHARED.items()
}


def pairs(count: int, prompt_words: int, answer_words: int) -> list[dict]:
    generator = random.Random(0)

    def turn(role: str, words: int) -> list[dict]:
        return [{"role": role, "content": " ".join(generator.choice(WORDS) for _ in range(words))}]

    return [
        {
            "prompt": turn("user", prompt_words),
            "chosen": turn("assistant", answer_words),
            "rejected": turn("assistant", answer_words),
        }
        for _ in range(count)
    ]


def build(name: str, options, rows: list[dict], adapter: str, folder: Path):
    """The trainer with its optimiser, not yet trained."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from trl_ext import MODPOConfig, MODPOTrainer

    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": options.batch, "max_steps": 1000, "learning_rate": 1e-4,
        "report_to": "none", "use_cpu": options.cpu, "bf16": options.dtype == "bfloat16", "max_length": options.max_length,
        "gradient_checkpointing": options.checkpointing, "disable_tqdm": True, **VARIANTS[name],
    }  # fmt: skip
    if name in SHARED:
        margins = [{"adapter": adapter, "name": "a"}, {"function": "negative_response_tokens", "name": "short"}]
        trainer_class, args = MODPOTrainer, MODPOConfig(w=0.5, margins=margins, **settings)
    else:
        trainer_class, args = DPOTrainer, DPOConfig(**settings)
    torch.manual_seed(0)
    return ready(
        trainer_class(
            causal_model(options.model, options.dtype, "cpu" if options.cpu else "cuda"), args=args,
            train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(options.model),
            peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
    )  # fmt: skip


def builders(options, folder: Path) -> dict[str, Callable[[], Callable[[int], None]]]:
    """By variant, what builds its trainer and gives the function that takes the step of a round."""
    rows = pairs(options.batch * (options.rounds + WARM_UP), options.prompt_words, options.answer_words)
    adapter = random_adapter(options.model, folder / "adapter")

    def builder(name: str):
        def built() -> Callable[[int], None]:
            trainer = build(name, options, rows, adapter, folder / name)
            batches = list(trainer.get_train_dataloader())
            return lambda number: step(trainer, dict(batches[number]))

        return built

    return {name: builder(name) for name in options.variants}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["stock_precomputed", "precomputed"])
    add_step_flags(parser, 15)
    parser.add_argument("--batch", type=int, default=2, help="pairs a step")
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--prompt_words", type=int, default=85)
    parser.add_argument("--answer_words", type=int, default=85)
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=False)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as temporary:
        turns = {name: build() for name, build in builders(options, Path(temporary)).items()}
        variants = take_turns(turns, options.rounds, reference=options.variants[0])
    report({"batch": options.batch, "max_length": options.max_length, "variants": variants}, options.out)


if __name__ == "__main__":
    main()
