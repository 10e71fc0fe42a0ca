"""Trains with D2PO (arXiv 2405.01511): `accelerate launch -m trl_ext.d2po.script --config run.yaml`.

The arguments are TRL's data and model arguments, the fields of [`trl_ext.D2POConfig`] and those of [`PromptArguments`].
`dataset_name` may also be a local .json or .jsonl file. A row needs `prompt`; its other columns reach gold functions.
"""

from trl_ext.launched import end_with_launcher

if __name__ == "__main__":
    end_with_launcher()  # here and in `main`: the imports below take seconds, in which the launcher may be killed

import sys
from collections import Counter
from dataclasses import dataclass, field

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from transformers.utils import logging
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, get_peft_config

from trl_ext.checkpoints import resume_folder
from trl_ext.modpo.model_dir import check_whole
from trl_ext.online_dpo.prompts import count_tokens, sift_prompts, split_prompts
from trl_ext.script import ScriptParser, load_splits, model_init_kwargs, pick
from trl_ext.shutdown import let_gloo_finish_at_exit

from .config import D2POConfig
from .trainer import D2POTrainer

logger = logging.get_logger(__name__)


@dataclass
class PromptArguments:
    """Which prompts are used.

    Args:
        max_prompt_tokens: longer prompts are left out and counted.
        eval_prompts: prompts kept from training for evaluation, where the data has no test split; 0 is none.
    """

    max_prompt_tokens: int = field(default=256, metadata={"help": "Longer prompts are left out."})
    eval_prompts: int = field(default=0, metadata={"help": "Prompts kept from training for evaluation."})


def prepare_rows(rows: Dataset, tokenizer, longest: int) -> tuple[Dataset, Counter]:
    """The rows whose prompt is new and at most `longest` tokens, in the policy's form; counts of the others by reason."""
    kept, dropped = sift_prompts(rows["prompt"], tokenizer, "assistant", 1, longest)
    prompts = [prompt for _, prompt in kept]
    chosen = rows.select([place for place, _ in kept]).remove_columns("prompt")
    return chosen.add_column("prompt", prompts) if chosen.column_names else Dataset.from_dict(
        {"prompt": prompts}
    ), dropped


def load_data(
    script_args, mixture, options: PromptArguments, args: D2POConfig, tokenizer
) -> tuple[Dataset, Dataset | None]:
    """Training rows and, when there is evaluation, held-out rows: the test split or `eval_prompts` of the training rows."""
    splits = load_splits(script_args, mixture)
    train = pick(splits, script_args.dataset_train_split, "dataset_train_split")
    if not isinstance(train, Dataset) or "prompt" not in train.column_names:
        raise ValueError(f"the data has the columns {train.column_names}: rows with a column 'prompt' are valid")
    rows, dropped = prepare_rows(train, tokenizer, options.max_prompt_tokens)
    logger.warning(f"{len(rows)} of {len(train)} prompts kept; left out: {dict(dropped) or 'none'}")
    if not len(rows):
        raise ValueError(f"no prompt is left; left out were {dict(dropped)}")
    needed = options.max_prompt_tokens + args.max_new_tokens
    longest = max(count_tokens(prompt, tokenizer) for prompt in rows["prompt"]) + args.max_new_tokens
    if longest > args.max_length:
        raise ValueError(
            f"--max_length is {args.max_length}: the longest prompt and an answer need {longest}; TRL would cut the "
            f"prompt's beginning (at most {needed} with this --max_prompt_tokens)"
        )
    if args.eval_strategy == "no":
        return rows, None
    if script_args.dataset_test_split in splits:
        test = splits[script_args.dataset_test_split]
        held_out, dropped = prepare_rows(test, tokenizer, options.max_prompt_tokens)
        logger.warning(f"{len(held_out)} of {len(test)} prompts kept for evaluation; left out: {dict(dropped) or 'none'}")
        if not len(held_out):
            raise ValueError(f"no prompt is left for evaluation; left out were {dict(dropped)}")
        return rows, held_out
    if not options.eval_prompts:
        raise ValueError("--eval_strategy needs a test split (--dataset_test_split) or --eval_prompts")
    training, held_out = split_prompts(list(range(len(rows))), options.eval_prompts, args.seed)
    return rows.select(training), rows.select(held_out)


def build_trainer(argv: list[str] | None) -> tuple[D2POTrainer, str | None]:
    """Trainer of the run with policy and data, and the checkpoint that it goes on from."""
    parser = ScriptParser((ScriptArguments, PromptArguments, D2POConfig, ModelConfig, DatasetMixtureConfig))
    script_args, options, args, model_args, mixture = parser.parse_args_and_config(argv)
    if not model_args.model_name_or_path:
        raise ValueError("model_name_or_path is needed: the model to train")
    check_whole(model_args.model_name_or_path)
    resume = resume_folder(args.resume_from_checkpoint, args.output_dir, D2POTrainer.state_file)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path)
    train, test = load_data(script_args, mixture, options, args, tokenizer)
    set_seed(args.seed)
    settings = {"dtype": torch.float32} | model_init_kwargs(model_args)
    trainer = D2POTrainer(
        AutoModelForCausalLM.from_pretrained(model_args.model_name_or_path, **settings),
        args,
        train,
        tokenizer,
        eval_dataset=test,
        peft_config=get_peft_config(model_args),
    )
    return trainer, resume


def main(argv: list[str] | None = None) -> int:
    end_with_launcher()
    let_gloo_finish_at_exit()
    try:
        trainer, resume = build_trainer(argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    trainer.train(resume_from_checkpoint=resume)
    if trainer.eval_dataset is not None:
        trainer.evaluate()
        trainer.state.save_to_json(f"{trainer.args.output_dir}/trainer_state.json")
    trainer.save_model()
    return 0


if __name__ == "__main__":
    sys.exit(main())
