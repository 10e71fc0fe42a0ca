"""Configuration of the MODPO pipeline: a preset, a YAML file and flags, in this order, typed and checked together."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from datasets_builders.choices import nearest
from datasets_builders.command_line import Parser
from datasets_builders.yaml_file import read_yaml
from launch.cli.flags import long_dtype
from launch.cli.setting_errors import sentences
from launch.cli.verbs import verb_parser
from launch.common.installed import PACK
from launch.pipelines.config import CRITICAL, PipelineConfig

PRESETS = PACK / "launch" / "runs" / "modpo"
NO_DEFAULTS: Mapping[str, str] = {}


def make_parser(
    verb: str = "helpsteer-modpo", description: str | None = __doc__, defaults: Mapping[str, str] = NO_DEFAULTS
) -> Parser:
    """One flag a field; lists take several values or one comma-separated value, maps a JSON or YAML text.

    Args:
        defaults: flag -> its value when it is not given; a preset among them is fixed.
    """
    parser = verb_parser(verb, description, argument_default=argparse.SUPPRESS)
    presets = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if "preset" not in defaults:
        parser.add_argument("--preset", help=f"one of {', '.join(presets)} (default helpsteer)")
    parser.add_argument("--config", type=Path, help="YAML file with any of the settings below")
    for name, info in PipelineConfig.model_fields.items():
        nothing = info.is_required() or info.default_factory is not None or info.default is None
        default = "" if nothing else f" (default {info.default})"
        default = f" (default {defaults[name]})" if name in defaults else default
        help_text = f"{info.description or ''}{default}".replace("%", "%%")
        kind = str(info.annotation)
        if info.annotation is bool:
            parser.add_argument(f"--{name}", nargs="?", const="true", help=help_text)
        else:
            parser.add_argument(f"--{name}", nargs="+" if "list[" in kind else None, help=help_text)
    return parser


def _from_yaml(name: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"--{name} {text!r}: not YAML or JSON") from error


def _from_text(name: str, value):
    kind = str(PipelineConfig.model_fields[name].annotation)
    if "list[" in kind:
        return [part for text in value for part in str(text).split(",")] if name.endswith("w_values") else value
    if "dict[" in kind:
        return _from_yaml(name, value)
    return value


def _renamed(given: dict[str, Any]) -> dict[str, Any]:
    """`given` with today's names and values: `precision: bf16` is `torch_dtype: bfloat16`, and says so for one release."""
    if "precision" in given:
        print("precision is now torch_dtype; the old name ends with the next release", file=sys.stderr)
        given = {**given, "torch_dtype": given["precision"]}
        del given["precision"]
    if given.get("torch_dtype", "auto") != "auto":
        given = {**given, "torch_dtype": long_dtype(str(given["torch_dtype"]))}
    return given


def load_config(
    argv: list[str], parser: Parser | None = None, defaults: Mapping[str, str] = NO_DEFAULTS
) -> tuple[PipelineConfig, str]:
    """The configuration and the preset's name.

    Args:
        parser: of `argv`; that of `helpsteer-modpo` by default.
        defaults: as for `make_parser`.

    Raises:
        ValueError: an unknown preset, setting or value. Every problem is named, with what was found.
    """
    options = {**defaults, **vars((parser or make_parser()).parse_args(argv))}
    preset, file = options.pop("preset", "helpsteer"), options.pop("config", None)
    path = PRESETS / f"{preset}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in PRESETS.glob("*.yaml"))
        raise ValueError(f"no preset {preset!r}; {nearest(preset, known)}")
    given = {}
    if file is not None:
        given = read_yaml(file, f"--config {file}") or {}
        if not isinstance(given, dict):
            raise ValueError(f"--config {file}: a mapping of settings is needed, found a {type(given).__name__}")
    given |= {name: _from_text(name, value) for name, value in options.items()}
    values = read_yaml(path) or {}
    for name in ("prompts", "eval_prompts"):
        if name in values:  # a preset names files of the pack, wherever it is installed
            values[name] = str(PACK / values[name])
    values |= _renamed(given)
    unknown = [
        f"{name!r}; {nearest(str(name), PipelineConfig.model_fields)}"
        for name in values
        if name not in PipelineConfig.model_fields
    ]
    if unknown:
        raise ValueError(f"{file or path}: unknown setting {', '.join(unknown)}")
    if str(values.get("require_explicit_criticals", False)).lower() == "true":
        missing = [name for name in CRITICAL if name not in given]
        if missing:
            raise ValueError(f"require_explicit_criticals: give {', '.join('--' + name for name in missing)} by hand")
    try:
        return PipelineConfig.model_validate(values), preset
    except ValidationError as error:
        raise ValueError(sentences(error)) from error
