"""Loss part of a GRPO step in TRL, stock against shared prefixes: answers are given, so that nothing is sampled.

    python -m benchmarks.grpo_trl_step --model MODEL [--prompts 1] [--completions 8] [--rounds 5] [--no-cpu --dtype bfloat16]

A step is tokenising, the reference's and the policy's forward pass, the backward one and the optimiser's step, with a LoRA and
beta 0.04. Both trainers are built in one process and take turns on the same answers (`turns.py`). ms-swift's step with its
sampling is in `grpo_step.py`. The model is a checkpoint folder, e.g. from `python -m launch embedded-model`.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.turns import WARM_UP, add_step_flags, causal_model, prompts, ready, report, step, take_turns

VARIANTS = ("stock", "shared")
WORD_TOKENS = range(3, 300)  # of the tokenizers here, the first ones being special


def different_tokens(completion_ids: list[list[int]], **columns) -> list[float]:
    """A reward that differs within a group."""
    return [float(len(set(ids))) for ids in completion_ids]


def builders(options, folder: Path) -> dict[str, Callable[[], Callable[[int], None]]]:
    """By variant, what builds its trainer and gives the function that takes the step of a round."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    from trl_ext import SharedPrefixGRPO

    class Shared(SharedPrefixGRPO, GRPOTrainer):
        shared_prefix = "on"

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    asked = prompts(options.prompts * (options.rounds + WARM_UP), options.words)

    def given(prompts: list, trainer: GRPOTrainer) -> dict:
        """TRL's `rollout_func`: the same answers for the same prompts, all of the full length."""
        texts = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in prompts]
        draw = random.Random("".join(texts))
        answers = [draw.choices(WORD_TOKENS, k=options.answer_tokens) for _ in texts]
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        return {"prompt_ids": ids, "completion_ids": answers, "logprobs": None}

    def build(trainer_class: type) -> Callable[[int], None]:
        args = GRPOConfig(
            output_dir=str(folder), per_device_train_batch_size=options.prompts * options.completions,
            num_generations=options.completions, steps_per_generation=1, gradient_accumulation_steps=1, beta=0.04,
            max_completion_length=options.answer_tokens, max_steps=1000, learning_rate=1e-5, report_to="none",
            gradient_checkpointing=options.checkpointing, use_cpu=options.cpu, bf16=options.dtype == "bfloat16",
        )  # fmt: skip
        trainer = ready(
            trainer_class(
                causal_model(options.model, options.dtype, "cpu" if options.cpu else "cuda"), args=args,
                reward_funcs=[different_tokens], train_dataset=Dataset.from_dict({"prompt": asked}),
                processing_class=tokenizer, rollout_func=given,
                peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
            )
        )  # fmt: skip

        def turn(number: int) -> None:
            rows = asked[number * options.prompts : (number + 1) * options.prompts]
            step(trainer, [{"prompt": one} for one in rows for _ in range(options.completions)])

        return turn

    return {"stock": lambda: build(GRPOTrainer), "shared": lambda: build(Shared)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    add_step_flags(parser, 5)
    parser.add_argument("--prompts", type=int, default=1, help="of a step")
    parser.add_argument("--completions", type=int, default=8, help="of a prompt")
    parser.add_argument("--words", type=int, default=160, help="of a prompt")
    parser.add_argument("--answer_tokens", type=int, default=128)
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=False)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as temporary:
        turns = {name: build() for name, build in builders(options, Path(temporary)).items()}
        report({"variants": take_turns(turns, options.rounds)}, options.out)


if __name__ == "__main__":
    main()
