"""What the pairwise builder is asked to do: flags, a YAML file in the shape of the reference, or both."""

import argparse
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from datasets_builders.choices import nearest, one_of, positive_integer, share
from datasets_builders.command_line import Parser
from datasets_builders.yaml_file import read_yaml

CONVERTER = "helpsteer2_pairwise"
FORMATS = ("parquet", "jsonl", "json")
# The sections of ``dataset`` in the YAML file and what each may hold; every key but ``source`` is a flag too.
SECTIONS = {
    "configs": ("type", "source", "path", "limit", "huggingface_split", "streaming", "max_skipped_share"),
    "prompt": ("ties", "thinking", "rubric", "examples", "max_prompt_chars"),
    "export": ("output_dir", "formats", "preserve_structure", "split_ratio", "seed"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field a flag; see ``add_arguments`` for their meaning.

    Raises:
        ValueError: a value that is missing, or two that contradict each other.
    """

    output_dir: str = ""
    name: str = CONVERTER
    type: str | None = None
    path: str | None = None
    limit: int | None = None
    huggingface_split: str | None = None  # stands for train
    streaming: bool | None = None  # stands for True
    max_skipped_share: float = 0.05
    ties: str = "keep"
    thinking: bool = False
    rubric: str | None = None
    examples: str | None = None
    max_prompt_chars: int | None = None
    formats: tuple[str, ...] = FORMATS[:1]
    preserve_structure: bool = True
    split_ratio: tuple[float, float] | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise ValueError("--output_dir is needed (in YAML: dataset.export.output_dir)")
        if Path(self.name).name != self.name or self.name in ("", ".."):
            raise ValueError(f"--name {self.name!r} becomes part of file names, so it must be one, without folders")
        if set(self.formats) == {"json", "jsonl"}:
            raise ValueError(
                "--formats json jsonl: load_dataset reads both files of such a folder, each row twice; ask for one of them, or "
                "for parquet too, which it then reads alone"
            )
        if self.type == "local" and self.path is None:
            raise ValueError("--type local needs --path: a file, a folder or a glob")
        if self.type == "huggingface" and self.path is not None:
            raise ValueError(f"--path {self.path} has no meaning with --type huggingface")
        for option in ("huggingface_split", "streaming"):
            if self.is_local and getattr(self, option) is not None:
                raise ValueError(f"--{option} has no meaning for local files")
        if self.split_ratio is not None:
            train, test = self.split_ratio
            if not math.isclose(train + test, 1) or train == 0:
                raise ValueError(f"--split_ratio {train:g} {test:g}: must sum to 1 and leave something to train on")

    @property
    def hub_split(self) -> str:
        """The split of the hub data set that is read where no files are."""
        return self.huggingface_split or "train"

    @property
    def is_local(self) -> bool:
        """Whether files are read, and not the hub."""
        return self.path is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options. None has a default here, so that a flag can be told from what a YAML file says."""
    add = parser.add_argument
    add("--config", help="YAML file with the same settings; a flag goes before it")
    add("--path", help="file, folder or glob (JSON, JSONL, JSONL.gz, Parquet) to read instead of the hub")
    add("--type", type=one_of(("local", "huggingface")), help="local (needs --path) or huggingface (without --path)")
    add("--huggingface_split", help="split of the hub data set (default train, the only one)")
    add("--streaming", type=boolean, metavar="true|false", help="keep no copy of what the hub sends (default true)")
    add("--limit", type=positive_integer, help="keep the first so many pairs (two rows each)")
    add(
        "--max_skipped_share",
        type=share,
        help=f"fail when more of the rows are unusable (0: at the first; default {Settings.max_skipped_share})",
    )
    add(
        "--ties",
        type=one_of(("keep", "drop")),
        help="keep: tie is a third verdict (default); drop: leave such pairs out, and the prompt offers A and B only",
    )
    add("--thinking", type=boolean, metavar="true|false", help="ask for a <think> block (default false)")
    add("--rubric", help="text file, a line for each thing to judge by")
    add("--examples", help="JSONL file of worked examples: prompt, response_a, response_b, label[, reason]")
    add("--max_prompt_chars", type=positive_integer, help="leave out pairs whose prompt has more characters")
    add("--output_dir", help="folder to write to")
    add("--formats", nargs="+", type=one_of(FORMATS), help=f"one or more of {', '.join(FORMATS)} (default parquet)")
    add(
        "--preserve_structure",
        type=boolean,
        metavar="true|false",
        help="true (default): an output for each input file, named after it; false: one, named after --name",
    )
    add(
        "--split_ratio",
        nargs=2,
        type=share,
        metavar=("TRAIN", "TEST"),
        help="split the prompts by --seed in these shares, instead of by the data set's own field split",
    )
    add("--seed", type=int, help=f"seed of --split_ratio (default {Settings.seed})")
    add("--name", help=f"name of the report and of a merged output (default {CONVERTER})")


def boolean(text: str) -> bool:
    """An argparse type: true or false."""
    return one_of(("true", "false"))(text) == "true"


def read_settings(options: argparse.Namespace) -> Settings:
    """The settings that flags, and where there is none the file of ``--config``, ask for.

    Raises:
        ValueError: an unknown key (the nearest is offered), a value that does not fit, those of ``Settings``.
    """
    values = _given(options)
    if options.config is not None:
        file = os.path.expanduser(options.config)
        parser = _FileParser(prog=file)
        add_arguments(parser)
        values = _given(parser.parse_args(words_of(file))) | values
    return Settings(**values)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    values = {field.name: getattr(options, field.name) for field in fields(Settings)}
    for name in ("path", "output_dir", "rubric", "examples"):
        if values[name] is not None:
            values[name] = os.path.expanduser(values[name])
    return {
        name: tuple(dict.fromkeys(value)) if name == "formats" else tuple(value) if name == "split_ratio" else value
        for name, value in values.items()
        if value is not None
    }


class _FileParser(Parser):
    """Reads the words of a file as those of a command line; an error is a ValueError that names the key."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog}: {message.removeprefix('argument --')}")


def words_of(file: str) -> list[str]:
    """The settings of a YAML file as words of a command line; a null is as good as no key.

    Raises:
        ValueError: no YAML, an unknown key or converter (the nearest is offered), or a section that is no mapping.
    """
    document = read_yaml(file)
    dataset = _mapping(file, "dataset", _mapping(file, "", document, ("dataset",)).get("dataset"), ("name", *SECTIONS))
    words = _flag(file, "name", dataset.get("name"))
    for section, keys in SECTIONS.items():
        found = dict(_mapping(file, f"dataset.{section}", dataset.get(section), keys))
        source = found.pop("source", None)
        if source not in (None, CONVERTER):
            raise ValueError(f"{file}: unknown converter {source!r} as source; {nearest(str(source), (CONVERTER,))}")
        for key, value in found.items():
            words += _flag(file, key, value)
    return words


def _mapping(file: str, place: str, value: Any, keys: Iterable[str]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{file}: {place or 'the file'} must hold {', '.join(keys)}; found {value!r:.60}")
    for key in value:
        if key not in keys:
            raise ValueError(f"{file}: unknown key {key!r} in {place or 'the file'}; {nearest(str(key), keys)}")
    return value


def _flag(file: str, key: str, value: Any) -> list[str]:
    if value is None:
        return []
    if key == "split_ratio":
        ratio = _mapping(file, f"dataset.export.{key}", value, ("train", "test"))
        if len(ratio) != 2:
            raise ValueError(f"{file}: {key} needs train and test; found {value!r:.60}")
        value = [ratio["train"], ratio["test"]]
    elif isinstance(value, dict) or (isinstance(value, list) and key != "formats"):
        raise ValueError(f"{file}: {key} must be one value; found {value!r:.60}")
    texts = [str(one).lower() if isinstance(one, bool) else str(one) for one in _listed(value)]
    # One word for one value, because a value may begin with a minus sign.
    return [f"--{key}", *texts] if isinstance(value, list) else [f"--{key}={texts[0]}"]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
