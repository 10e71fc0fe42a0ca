"""What the scripts of this package share: TRL's own data and model arguments, taken as TRL's scripts take them."""

from pathlib import Path

from datasets import DatasetDict, IterableDatasetDict, load_dataset
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, get_dataset, get_quantization_config


def load_splits(script_args: ScriptArguments, mixture: DatasetMixtureConfig) -> DatasetDict | IterableDatasetDict:
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
    given = {name: value for name, value in options.items() if value is not None}
    # trl 0.29.1 asks for device_map "auto" on CPU ranks, which DeepSpeed ZeRO-3 cannot load with.
    return given | ({"device_map": None} if is_deepspeed_zero3_enabled() else {})
