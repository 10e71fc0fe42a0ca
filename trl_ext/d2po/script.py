"""Trains with D2PO (arXiv 2405.01511): `accelerate launch -m trl_ext.d2po.script --config run.yaml`.

The arguments are TRL's data and model arguments, the fields of [`trl_ext.D2POConfig`] and those of [`PromptArguments`].
`dataset_name` may also be a local file, or a folder: JSON lines, CSV, Parquet, Arrow, what `save_to_disk` wrote. A row needs
`prompt`, `messages` or `question`; its other columns reach gold functions.
"""

from trl_ext.launched import end_with_launcher

if __name__ == "__main__":
    end_with_launcher()  # here and in `main`: the imports below take seconds, in which the launcher may be killed

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from transformers.utils import logging
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, get_peft_config

from datasets_builders.files.find import SUFFIXES, split_files
from datasets_builders.files.read import read_file
from trl_ext.checkpoints import resume_folder
from trl_ext.modpo.model_dir import check_whole
from trl_ext.online_dpo.prompts import count_tokens, prompts_and_columns, say_left_out, sift_prompts, split_prompts
from trl_ext.script import ScriptParser, load_splits, model_init_kwargs, pick
from trl_ext.sharding import warn_if_unsharded
from trl_ext.shutdown import let_gloo_finish_at_exit
from trl_ext.weight_transfer import refuse_server_without_gpu

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


def prepare_rows(rows: Iterable[tuple[Any, dict[str, Any]]], tokenizer, longest: int) -> tuple[Dataset, int, Counter]:
    """The rows of (place, row) whose prompt is new and at most `longest` tokens, in the policy's form; the number of all
    rows, and counts of those left out by reason.

    Raises:
        ValueError: a row that holds no prompt (its place is named), or another column with values of several types.
    """
    prompts, columns = prompts_and_columns(rows)
    kept, dropped = sift_prompts(prompts, tokenizer, "assistant", 1, longest)
    chosen = {name: [values[place] for place, _ in kept] for name, values in columns.items()}
    try:
        dataset = Dataset.from_dict({**chosen, "prompt": [prompt for _, prompt in kept]})
    except (pyarrow.ArrowException, OverflowError) as error:
        raise ValueError(f"rows whose columns are of one type are valid: {error}") from error
    return dataset, len(prompts), dropped


def read_splits(script_args: ScriptArguments, mixture: DatasetMixtureConfig) -> dict[str, Iterable[tuple[Any, dict]]]:
    """Split -> (place, row), of local files and folders by this pack's reader, of the hub by TRL's.

    Raises:
        ValueError: no data set is named, a local file is missing or damaged, a stream.
    """
    name = script_args.dataset_name
    if name == "ultra" and not os.path.exists(name):
        raise ValueError(
            "--dataset_name ultra is the name that the authors' scripts have for the prompts of UltraFeedback; here it is "
            "--dataset_name HuggingFaceH4/ultrafeedback_binarized --dataset_train_split train_prefs"
        )
    if name and not mixture.datasets and (os.path.exists(name) or name.endswith(SUFFIXES)):
        files = split_files(name, script_args.dataset_train_split)
        return {split: chain.from_iterable(map(read_file, found)) for split, found in files.items()}
    splits = load_splits(script_args, mixture)
    if streams := [split for split, rows in splits.items() if not isinstance(rows, Dataset)]:
        raise ValueError(f"dataset_streaming: the data set is a stream ({streams[0]}); whole data sets are valid")
    return {split: _numbered(f"{name or 'datasets'} {split} row", rows) for split, rows in splits.items()}


def _numbered(label: str, rows: Dataset) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(rows, start=1):
        yield f"{label} {number}", row


def load_data(
    script_args, mixture, options: PromptArguments, args: D2POConfig, tokenizer
) -> tuple[Dataset, Dataset | None]:
    """Training rows and, when there is evaluation, held-out rows: the test split or `eval_prompts` of the training rows."""
    splits = read_splits(script_args, mixture)
    train = pick(splits, script_args.dataset_train_split, "dataset_train_split")
    rows, total, dropped = prepare_rows(train, tokenizer, options.max_prompt_tokens)
    left_out = say_left_out(dropped, options.max_prompt_tokens)
    logger.warning(f"{len(rows)} of {total} prompts kept; left out: {left_out}")
    if not len(rows):
        raise ValueError(f"no prompt is left; left out were {left_out}")
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
        held_out, total, dropped = prepare_rows(test, tokenizer, options.max_prompt_tokens)
        left_out = say_left_out(dropped, options.max_prompt_tokens)
        logger.warning(f"{len(held_out)} of {total} prompts kept for evaluation; left out: {left_out}")
        if not len(held_out):
            raise ValueError(f"no prompt is left for evaluation; left out were {left_out}")
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
    refuse_server_without_gpu(args)
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
    warn_if_unsharded(trainer)
    trainer.train(resume_from_checkpoint=resume)
    if trainer.eval_dataset is not None:
        trainer.evaluate()
        trainer.state.save_to_json(f"{trainer.args.output_dir}/trainer_state.json")
    trainer.save_model()
    return 0


if __name__ == "__main__":
    sys.exit(main())
