"""Trains with MODPO from a YAML run file or flags: `accelerate launch -m trl_ext.modpo.script --config run.yaml`.

The arguments are those of TRL's own DPO script and the fields of [`trl_ext.MODPOConfig`]. `dataset_name` may also be a
local .json or .jsonl file of preference pairs, whose rows then are the train split.
"""

import sys
from pathlib import Path

from datasets import DatasetDict, IterableDatasetDict, load_dataset
from transformers import set_seed
from trl import (
    DatasetMixtureConfig,
    ModelConfig,
    ScriptArguments,
    TrlParser,
    get_dataset,
    get_peft_config,
    get_quantization_config,
)

from trl_ext.shutdown import let_gloo_finish_at_exit

from .config import MODPOConfig
from .trainer import MODPOTrainer


def load_pairs(script_args: ScriptArguments, mixture: DatasetMixtureConfig) -> DatasetDict | IterableDatasetDict:
    """The splits that the arguments name.

    Raises:
        ValueError: no data set is named, or a local file is missing.
    """
    if mixture.datasets:
        return get_dataset(mixture)
    name = script_args.dataset_name
    if not name:
        raise ValueError("dataset_name or datasets is needed: a data set's name, or a local .json or .jsonl file")
    if Path(name).suffix in (".json", ".jsonl"):
        if not Path(name).is_file():
            raise ValueError(f"dataset_name: no file {name}")
        return load_dataset(
            "json", data_files={script_args.dataset_train_split: name}, streaming=script_args.dataset_streaming
        )
    return load_dataset(name, name=script_args.dataset_config, streaming=script_args.dataset_streaming)


def pick(splits: DatasetDict | IterableDatasetDict, split: str, flag: str):
    if split not in splits:
        raise ValueError(f"{flag}: the data has no split {split!r}, it has {sorted(splits)}")
    return splits[split]


def model_init_kwargs(model_args: ModelConfig) -> dict:
    """What `from_pretrained` gets. The dtype defaults to that of the config, as in TRL's script."""
    options = {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        # TRL 1.x has this field in the trainer's configuration.
        "trust_remote_code": getattr(model_args, "trust_remote_code", None) or None,
    }
    quantization = get_quantization_config(model_args)
    if quantization is not None:
        options["quantization_config"] = quantization
    return {name: value for name, value in options.items() if value is not None}


def main(argv: list[str] | None = None) -> None:
    """Builds the trainer, trains (from `resume_from_checkpoint` if given), evaluates and saves."""
    let_gloo_finish_at_exit()
    parser = TrlParser((ScriptArguments, MODPOConfig, ModelConfig, DatasetMixtureConfig))
    try:
        script_args, args, model_args, mixture = parser.parse_args_and_config(argv)
        if not model_args.model_name_or_path:
            raise ValueError("model_name_or_path is needed: the model to train")
        splits = load_pairs(script_args, mixture)
        evaluate = args.eval_strategy != "no"
        train = pick(splits, script_args.dataset_train_split, "dataset_train_split")
        test = pick(splits, script_args.dataset_test_split, "dataset_test_split") if evaluate else None
        set_seed(args.seed)  # TRL 0.29 draws new LoRA weights before it sets the seed
        args.model_init_kwargs = {**model_init_kwargs(model_args), **(args.model_init_kwargs or {})}
        trainer = MODPOTrainer(
            model_args.model_name_or_path,
            args=args,
            train_dataset=train,
            eval_dataset=test,
            peft_config=get_peft_config(model_args),
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    if evaluate:
        metrics = trainer.evaluate()
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    trainer.save_model(args.output_dir)
    if args.push_to_hub:
        trainer.push_to_hub(dataset_name=script_args.dataset_name)


if __name__ == "__main__":
    main()
