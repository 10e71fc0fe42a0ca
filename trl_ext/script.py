"""What the scripts of this package share: TRL's own data and model arguments, taken as TRL's scripts take them."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import pyarrow
from datasets import Dataset, DatasetDict, IterableDatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import (
    DatasetMixtureConfig,
    ModelConfig,
    ScriptArguments,
    TrlParser,
    get_dataset,
    get_quantization_config,
)

from datasets_builders.command_line import with_new_names
from datasets_builders.files.find import REPORT_SUFFIX, SUFFIXES, is_saved, split_files
from datasets_builders.files.read import read_file


class ScriptParser(TrlParser):
    """TRL's parser, in which `--NAME null` takes away what the run file gives, as `NAME: null` does in a run file.

    It is taken where the field may be None and takes one value; elsewhere `null` is a value like any other.

    Args:
        old_names: flags of another system -> the one that means the same here; an old one works, and says so.
    """

    def __init__(self, dataclasses: Sequence[type], *, old_names: Mapping[str, str] | None = None, **kwargs: Any):
        self.old_names, self._said = old_names or {}, set[str]()
        self.may_be_none = {
            field.name
            for one in dataclasses
            for hints in [get_type_hints(one)]
            for field in fields(one)
            if NoneType in get_args(hints[field.name])
        }
        super().__init__(dataclasses, **kwargs)

    def parse_args_and_config(
        self, args: Iterable[str] | None = None, *others: Any, **keywords: Any
    ) -> tuple[Any, ...]:
        given = with_new_names(list(sys.argv[1:] if args is None else args), self.old_names, self.prog, self._said)
        return super().parse_args_and_config(given, *others, **keywords)

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        if text == "null" and action.nargs is None and action.dest in self.may_be_none:
            return None
        return super()._get_value(action, text)


def load_splits(script_args: ScriptArguments, mixture: DatasetMixtureConfig) -> DatasetDict | IterableDatasetDict:
    """The splits that the arguments name.

    Raises:
        ValueError: no data set is named, a local file is missing, or rows are no JSON or of different types.
    """
    name = script_args.dataset_name
    try:
        return get_dataset(mixture) if mixture.datasets else _load_by_name(script_args)
    except DatasetGenerationError as error:
        what = "datasets" if mixture.datasets else f"dataset_name {name}"
        raise ValueError(f"{what}: rows whose columns are of one type are valid: {_deepest(error)}") from error


def _load_by_name(script_args: ScriptArguments) -> DatasetDict | IterableDatasetDict:
    name, streaming = script_args.dataset_name, script_args.dataset_streaming
    if not name:
        raise ValueError("dataset_name or datasets is needed: a data set's name, or a local file or folder")
    if Path(name).suffix in (".json", ".jsonl"):
        if not Path(name).is_file():
            raise ValueError(f"dataset_name: no file {name}")
        return load_dataset("json", data_files={script_args.dataset_train_split: name}, streaming=streaming)
    if Path(name).is_dir() and list(Path(name).glob(f"*{REPORT_SUFFIX}")):
        return load_dataset("json", data_files=splits_beside_reports(Path(name)), streaming=streaming)
    if name.endswith(SUFFIXES) or is_saved(name):
        if streaming:
            raise ValueError(f"dataset_streaming: {name} is read as a whole; .json and .jsonl files can be streamed")
        return read_local(name, script_args.dataset_train_split)
    try:
        return load_dataset(name, name=script_args.dataset_config, streaming=streaming)
    except (ConnectionError, FileNotFoundError) as error:
        there = "it" if Path(name).exists() else "nothing of this name is here, and it"
        raise ValueError(f"dataset_name {name}: {there} cannot be loaded: {error}") from error


def read_local(source: str, alone: str) -> DatasetDict:
    """The splits of local files that `load_dataset` takes by no name, by this pack's reader: a cell of CSV stays text.

    Args:
        source: CSV, TSV, Parquet, Arrow, a compressed file, a pattern, or a folder that `save_to_disk` wrote.
        alone: the split that a single file is.

    Raises:
        ValueError: no such file, a damaged one, no row, or a column with values of several types.
    """
    found = {}
    for split, files in split_files(source, alone).items():
        rows = [row for file in files for _, row in read_file(file)]
        if not rows:
            raise ValueError(f"dataset_name {source}: no row")
        names = dict.fromkeys(name for row in rows for name in row)
        try:
            found[split] = Dataset.from_dict({name: [row.get(name) for row in rows] for name in names})
        except (pyarrow.ArrowException, OverflowError) as error:
            raise ValueError(f"dataset_name {source}: rows whose columns are of one type are valid: {error}") from error
    return DatasetDict(found)


def splits_beside_reports(folder: Path) -> dict[str, str]:
    """Split -> file, of a folder where an earlier version left its reports, which `load_dataset` would take for data.

    A file is the split of its name; a single one of another name is `train`, as it is for `load_dataset`.

    Raises:
        ValueError: there are reports and no data, or two files of one split.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".jsonl")]
    files = [path for path in files if not path.name.endswith(REPORT_SUFFIX)]
    if not files or len({path.stem for path in files}) < len(files):
        found = [path.name for path in files] or "reports alone"
        raise ValueError(f"dataset_name {folder}: one .jsonl or .json file a split is needed, found {found}")
    if len(files) == 1 and files[0].stem not in ("train", "validation", "test"):
        return {"train": str(files[0])}
    return {path.stem: str(path) for path in files}


def _deepest(error: BaseException) -> BaseException:
    """The first cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def pick(splits: Mapping[str, Any], split: str, flag: str):
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
