"""Trains a policy that is steered by weights (MO-ODPO, arXiv 2503.00295).

    accelerate launch -m trl_ext.moodpo.script --sft_model_path MODEL --csv_path prompts.csv --reward_models helpful harmless

    accelerate launch -m trl_ext.moodpo.script ... --model_path outputs/iter1/checkpoint-500 --ref previous

Every flag of the trainer's configuration and of transformers' TrainingArguments is taken too, and `--config run.yaml`.
"""

from trl_ext.launched import end_with_launcher

if __name__ == "__main__":
    end_with_launcher()  # here and in `main`: the imports below take seconds, in which the launcher may be killed

import os
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.utils import logging

from datasets_builders.choices import check_choice
from trl_ext.checkpoints import resume_folder
from trl_ext.modpo.model_dir import check_whole
from trl_ext.online_dpo.prompts import (
    Prompt,
    count_tokens,
    prepare_prompts,
    read_prompts,
    say_left_out,
    split_prompts,
)
from trl_ext.script import ScriptParser
from trl_ext.sharding import warn_if_unsharded
from trl_ext.shutdown import let_gloo_finish_at_exit
from trl_ext.weight_transfer import refuse_server_without_gpu

from .config import MOODPOConfig
from .instruction import annotate, has_system_role
from .trainer import MOODPOOnlineDPOTrainer

logger = logging.get_logger(__name__)
OLD_NAMES = {"--batch_size": "--per_device_train_batch_size"}
DEFAULT_OUTPUT = "trainer_output"  # what transformers fills in when no --output_dir is given


@dataclass
class ScriptArguments:
    """What the script needs beyond the trainer's configuration.

    Args:
        csv_path: prompts, a .csv, .jsonl or .parquet file.
        prompt_column: its column.
        sft_model_path: the base model, also of an adapter at `model_path`.
        exp_type: `assistant`, or `summary`: the prompts are posts.
        min_prompt_tokens, max_prompt_tokens: prompts outside are left out and counted.
        eval_prompts: how many prompts are kept from training for evaluation; None is 256 when there is evaluation.
        use_lora, lora_rank: a LoRA on all linear layers with alpha twice the rank, or all weights.
        save_directory, wandb_name: `output_dir` is save_directory/wandb_name unless given.
        disable_wandb: without it, the run reports to Weights & Biases when that is installed.
    """

    csv_path: str = field(metadata={"help": "Prompts: a .csv, .jsonl or .parquet file."})
    sft_model_path: str = field(metadata={"help": "Base model: a folder or a hub name."})
    prompt_column: str = field(default="prompt", metadata={"help": "Column of the prompts."})
    exp_type: str = field(default="assistant", metadata={"help": "assistant or summary."})
    min_prompt_tokens: int = field(default=8, metadata={"help": "Shorter prompts are left out."})
    max_prompt_tokens: int = field(default=256, metadata={"help": "Longer prompts are left out."})
    eval_prompts: int | None = field(default=None, metadata={"help": "Prompts kept from training for evaluation."})
    use_lora: bool = field(default=True, metadata={"help": "Train a LoRA instead of all weights."})
    lora_rank: int = field(default=64, metadata={"help": "Rank of the LoRA; alpha is twice the rank."})
    save_directory: str = field(default="outputs", metadata={"help": "Parent of the run's folder."})
    wandb_name: str = field(default="moodpo", metadata={"help": "Name of the run."})
    disable_wandb: bool = field(default=False, metadata={"help": "Do not report to Weights & Biases."})

    def __post_init__(self):
        check_choice("--exp_type", self.exp_type, ("assistant", "summary"))
        if self.lora_rank < 1:
            raise ValueError(f"--lora_rank is {self.lora_rank}: at least 1 is valid")


def read_arguments(argv: list[str] | None = None) -> tuple[ScriptArguments, MOODPOConfig]:
    """Command line and YAML file as typed arguments, with the run's folder and its reports decided."""
    parser = ScriptParser((ScriptArguments, MOODPOConfig), old_names=OLD_NAMES)
    options, args = parser.parse_args_and_config(argv)
    if args.output_dir in (None, DEFAULT_OUTPUT):
        args.output_dir = os.path.join(options.save_directory, options.wandb_name)
    args.run_name = args.run_name or options.wandb_name
    if options.disable_wandb:
        args.report_to = [name for name in args.report_to if name != "wandb"]
    elif not args.report_to and find_spec("wandb") is not None:
        os.environ.setdefault("WANDB_PROJECT", "moodpo")
        args.report_to = ["wandb"]
    return options, args


def load_data(options: ScriptArguments, args: MOODPOConfig, tokenizer) -> tuple[Dataset, Dataset | None]:
    """Training and evaluation prompts; says how many were left out and why."""
    prompts = read_prompts(options.csv_path, options.prompt_column)
    kept, dropped = prepare_prompts(
        prompts, tokenizer, options.exp_type, options.min_prompt_tokens, options.max_prompt_tokens
    )
    left_out = say_left_out(dropped, options.max_prompt_tokens, options.min_prompt_tokens)
    logger.warning(f"{len(kept)} of {len(prompts)} prompts kept; left out: {left_out}")
    if not kept:
        raise ValueError(f"{options.csv_path}: no prompt is left; left out were {left_out}")
    check_room(kept[0], options, args, tokenizer)
    evaluating = args.eval_strategy != "no"
    held_out = options.eval_prompts if options.eval_prompts is not None else 256 * evaluating
    training, evaluation = split_prompts(kept, held_out, args.seed)
    return Dataset.from_dict({"prompt": training}), Dataset.from_dict({"prompt": evaluation}) if evaluation else None


def check_room(prompt: Prompt, options: ScriptArguments, args: MOODPOConfig, tokenizer) -> None:
    """Refuses a length limit under which TRL would cut the weights off the front of a prompt, unseen."""
    names = [spec.name for spec in args.specs]
    equal = [1 / len(names)] * len(names)
    asked = annotate(prompt, names, equal, system_role=has_system_role(tokenizer))
    instruction = count_tokens(asked, tokenizer) - count_tokens(prompt, tokenizer)
    needed = options.max_prompt_tokens + instruction + args.max_new_tokens
    if needed > args.max_length:
        raise ValueError(
            f"--max_length is {args.max_length}: a prompt of {options.max_prompt_tokens} tokens (--max_prompt_tokens), "
            f"its weights ({instruction}) and an answer of {args.max_new_tokens} (--max_new_tokens) need {needed}"
        )


def load_model(path: str, options: ScriptArguments, args: MOODPOConfig):
    """fp32 weights for full training, whose steps of 5e-7 bfloat16 cannot hold; the run's precision under a LoRA."""
    low = options.use_lora and args.bf16
    settings = {"dtype": torch.bfloat16 if low else torch.float32} | (args.model_init_kwargs or {})
    return AutoModelForCausalLM.from_pretrained(path, **settings)


def build_trainer(options: ScriptArguments, args: MOODPOConfig) -> MOODPOOnlineDPOTrainer:
    """Policy, reference, data and trainer of the run."""
    refuse_server_without_gpu(args)
    check_whole(options.sft_model_path)
    tokenizer = AutoTokenizer.from_pretrained(options.sft_model_path)
    training, evaluation = load_data(options, args, tokenizer)
    peft_config = reference = None
    start = options.sft_model_path
    if options.use_lora and args.model_path is None:
        rank = options.lora_rank
        peft_config = LoraConfig(
            r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    elif not options.use_lora:
        start = args.model_path or start
        # A copy of the start, `previous`, is made by TRL, though not of weights that are sharded.
        path = options.sft_model_path if args.ref == "base" else start
        if path != start or is_deepspeed_zero3_enabled():
            reference = load_model(path, options, args)
        args.model_path = None  # a full checkpoint; the trainer would look for an adapter
    model = load_model(start, options, args)
    args.model_init_kwargs = None  # used above; TRL refuses them beside a loaded model
    return MOODPOOnlineDPOTrainer(
        model=model,
        ref_model=reference,
        args=args,
        train_dataset=training,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        peft_config=peft_config,
    )


def main(argv: list[str] | None = None) -> int:
    end_with_launcher()
    let_gloo_finish_at_exit()
    try:
        options, args = read_arguments(argv)
        resume = resume_folder(args.resume_from_checkpoint, args.output_dir, MOODPOOnlineDPOTrainer.state_file)
        trainer = build_trainer(options, args)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    warn_if_unsharded(trainer)
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model()
    return 0


if __name__ == "__main__":
    sys.exit(main())
