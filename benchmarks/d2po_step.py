"""Step time of D2PO outside updates against stock online DPO with the same reward model; updates are reported apart.

    python benchmarks/d2po_step.py [--model MODEL] [--rounds 9] [--batch 4] [--window 4] [--labels 8] [--out FILE]

| variant | what it is |
|---|---|
| `stock` | OnlineDPOTrainer, its reward function scores the same texts by the same classifier |
| `d2po` | D2POTrainer with that classifier, kept as it is: answers of a window first, then its steps |
| `update` | one update of the discriminator on `--labels` pairs, one pass over them |

A round is one window of `--window` batches for both trainers; all sample answers of the same length. How they are timed is
in `turns.py`.
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


def builders(options, policy: Path, judge: Path, folder: Path) -> dict[str, Callable[[], Callable[[int], None]]]:
    """By variant, what loads its models and gives the function that does the work of a round."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    from trl_ext import D2POConfig, D2POTrainer
    from trl_ext.d2po.discriminator import DiscriminatorSettings, LabelledPair, load_discriminator
    from trl_ext.online_dpo.prompts import completion_text, last_user_text

    size = options.batch * options.window
    shared = {
        "output_dir": str(folder), "per_device_train_batch_size": options.batch, "learning_rate": 1e-5,
        "bf16": options.dtype == "bfloat16",
        "max_new_tokens": options.new_tokens, "max_length": 512, "report_to": "none", "gradient_checkpointing": False,
        "max_steps": 1000, "use_cpu": options.cpu, "temperature": 1.0, "remove_unused_columns": False,
        # every answer has the same length, so that the variants do the same work
        "generation_kwargs": {"min_new_tokens": options.new_tokens},
    }  # fmt: skip
    rows = Dataset.from_dict({"prompt": prompts(size * (options.rounds + WARM_UP))})
    device = "cpu" if options.cpu else "cuda"
    settings = DiscriminatorSettings(lora_rank=0, batch_size=2 * options.batch)
    tokenizer = AutoTokenizer.from_pretrained(policy)

    def policy_model():
        return causal_model(policy, options.dtype, device)

    def stock() -> Callable[[int], None]:
        scorer = load_discriminator(str(judge), settings, device)

        def reward(prompts, completions, **columns):
            return scorer.score([last_user_text(p) for p in prompts], [completion_text(c) for c in completions])

        args = OnlineDPOConfig(**shared, beta=[0.1])
        trainer = ready(
            OnlineDPOTrainer(
                model=policy_model(), args=args, reward_funcs=[reward], train_dataset=rows, processing_class=tokenizer
            )
        )

        def turn(number: int) -> None:
            for start in range(number * size, (number + 1) * size, options.batch):
                batch = [trainer.train_dataset[row] for row in range(start, start + options.batch)]
                step(trainer, trainer.data_collator(batch))

        return turn

    def d2po() -> Callable[[int], None]:
        args = D2POConfig(**shared, mode="opo", discriminator=str(judge), window_pairs=size, save_rollouts=True,
                          discriminator_batch_size=2 * options.batch)  # fmt: skip
        trainer = ready(D2POTrainer(policy_model(), args, rows, tokenizer))

        def turn(number: int) -> None:
            window = [trainer.train_dataset[row] for row in range(number * size, (number + 1) * size)]
            batch = trainer.data_collator(window)
            for _ in range(options.window):
                step(trainer, batch)

        return turn

    def update() -> Callable[[int], None]:
        learner = load_discriminator(str(judge), settings, device)
        words = [text[0]["content"] for text in prompts(2 * options.labels)]
        pairs = [LabelledPair("?", *two, 1.0) for two in zip(words[::2], words[1::2], strict=True)]

        def turn(number: int) -> None:
            learner.update(pairs, number)

        return turn

    return {"stock": stock, "d2po": d2po, "update": update}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    add_step_flags(parser, 9)
    parser.add_argument("--batch", type=int, default=4, help="prompts a step")
    parser.add_argument("--window", type=int, default=4, help="steps a window")
    parser.add_argument("--labels", type=int, default=8, help="pairs of an update")
    parser.add_argument("--new_tokens", type=int, default=32)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        policy = options.model or random_checkpoint(folder / "policy", "LlamaForCausalLM", 0, tie_word_embeddings=True)
        judge = random_checkpoint(folder / "judge", "LlamaForSequenceClassification", 1, num_labels=1)
        turns = {name: build() for name, build in builders(options, policy, judge, folder / "run").items()}
        report({"steps_a_round": options.window, "variants": take_turns(turns, options.rounds)}, options.out)


if __name__ == "__main__":
    main()
