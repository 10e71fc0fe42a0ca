"""Configuration of the MODPO pipeline: a preset, a YAML file and flags, in this order, typed and checked together."""

import argparse
import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from launch.cli.setting_errors import sentences

PACK = Path(__file__).parents[1]
PRESETS = PACK / "runs" / "modpo"
# Settings that decide what a run means; with --require_explicit_criticals none may come from a default or a preset.
CRITICAL = ["out", "run_tag", "w_values", "max_length", "max_new_tokens", "eval_size", "beta", "margin_role"]
Positive = Annotated[int, Field(gt=0)]


class PipelineConfig(BaseModel):
    """Every knob of the pipeline. Fields of one group stand together."""

    model_config = ConfigDict(extra="forbid")

    # run
    out: Path = Field(description="folder of the run")
    run_tag: str = Field("modpo", description="name of the run; another tag in the same folder is refused")
    preflight_only: bool = Field(False, description="check everything, print the stages, spend nothing")
    require_explicit_criticals: bool = Field(False, description=f"demand that {', '.join(CRITICAL)} are given by hand")
    # model
    model: str = Field(description="base model: folder, hub name, or `embedded` for SmolLM2 from its PyPI package")
    model_type: str | None = Field(None, description="ms-swift's --model_type, where it cannot be told from the folder")
    template: str | None = Field(None, description="ms-swift's --template")
    system: str | None = Field(None, description="system message of every row")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    processes: Positive = Field(1, description="processes of a training stage (NPROC_PER_NODE)")
    deepspeed: str | None = Field(None, description="ms-swift's --deepspeed: zero2, zero3 or a file")
    # data
    data: Literal["helpsteer", "preference", "sampled", "files"] = "helpsteer"
    dataset: str | None = Field(None, description="name for `python -m datasets_builders preference`")
    source: str | None = Field(None, description="local file(s) in the data set's schema instead of the hub")
    validation_source: str | None = Field(None, description="the same for the validation split")
    preference: str | None = Field(None, description="attribute, dimension or function that the trained labels follow")
    margin_preference: str | None = Field(None, description="the same for the margin adapter's labels")
    min_gap: float | None = None
    preference_file: str | None = Field(None, description="data = files: pairs in ms-swift's format")
    preference_val_file: str | None = None
    margin_file: str | None = None
    margin_val_file: str | None = None
    prompts: str | None = Field(None, description="data = sampled: prompts to sample from")
    eval_prompts: str | None = Field(None, description="prompts to evaluate on; default: the validation pairs")
    samples_per_prompt: Positive = Field(4, description="data = sampled: completions a prompt")
    val_prompts: Positive = Field(16, description="data = sampled: prompts held out to check the margin adapter")
    train_limit: Positive | None = Field(None, description="at most this many pairs of each kind")
    data_num_proc: Positive = 1
    # objectives
    w_values: list[float] = Field(description="weights of the trained preference")
    require_w_values: list[float] | None = Field(None, description="refuse any other grid than this one")
    beta: float = Field(0.1, gt=0)
    margin: Literal["adapter", "function"] = "adapter"
    margin_function: str | None = Field(None, description="margin = function: registered name or dotted path")
    margin_role: Literal["reward", "cost"] = "reward"
    require_margin_role: Literal["reward", "cost"] | None = Field(None, description="refuse the other role")
    margin_beta: float | None = Field(None, description="multiplies the margin; default: beta for an adapter, else 1")
    margin_weight: float | None = Field(None, ge=0, description="fixed weight of the margin; default 1 - w")
    min_margin_accuracy: float = Field(0.6, ge=0, le=1, description="the run stops below this held-out accuracy")
    # training
    sft: bool = Field(True, description="fine-tune and merge the base on the chosen side first")
    train_max_length: Positive = 512
    train_batch_size: Positive = 1
    eval_batch_size: Positive = 1
    grad_accum: Positive = 8
    sft_max_steps: Positive = 1000
    dpo_max_steps: Positive = 1000
    modpo_max_steps: Positive = 1000
    sft_learning_rate: float = Field(1e-4, gt=0)
    dpo_learning_rate: float = Field(1e-4, gt=0)
    modpo_learning_rate: float = Field(1e-4, gt=0)
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.05, ge=0)
    lora_rank: Positive = 16
    lora_alpha: Positive = 32
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    gradient_checkpointing: bool = True
    save_steps: Positive = 200
    eval_steps: Positive = 200
    logging_steps: Positive = 10
    train_seed: int = 42
    precompute: bool = Field(True, description="compute reference and margins once for the whole grid")
    sft_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of `swift sft`")
    margin_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of the margin stage")
    modpo_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of the MODPO stages")
    # generation
    eval_size: Positive = 300
    max_length: Positive = Field(4096, description="tokens of prompt and answer together")
    max_input_length: Positive | None = Field(None, description="tokens of the prompt; default: max_length - max_new_tokens")
    max_new_tokens: Positive = 2560
    gen_batch_size: Positive = 4
    gen_samples: Positive = Field(1, description="completions a held-out prompt")
    gen_do_sample: bool = False
    gen_temperature: float = Field(1.0, gt=0)
    gen_top_p: float = Field(1.0, gt=0, le=1)
    gen_repetition_penalty: float = Field(1.0, gt=0)
    gen_no_repeat_ngram_size: int = Field(0, ge=0)
    # scores and report
    scores: list[str] = Field(default_factory=list, description="rewards for `python -m launch score`; {margin} = the adapter")
    x: str = Field("preference", description="score on the horizontal axis")
    y: str = Field("margin", description="score on the vertical axis")
    title: str = "MODPO trade-off"
    # tracking
    wandb_project: str | None = None
    wandb_run_group: str | None = None
    wandb_tags: str | None = None

    @model_validator(mode="after")
    def _fits_together(self):
        problems = []
        for w in self.w_values:
            if not 0 < w <= 1:
                problems.append(f"w_values holds {w:g}: every w must lie in (0, 1]")
        if len(set(self.w_values)) != len(self.w_values):
            problems.append(f"w_values holds a value twice: {self.w_values}")
        if self.require_w_values is not None and sorted(self.w_values) != sorted(self.require_w_values):
            problems.append(f"w_values is {self.w_values}, require_w_values demands {self.require_w_values}")
        if self.require_margin_role is not None and self.margin_role != self.require_margin_role:
            problems.append(f"margin_role is {self.margin_role!r}, require_margin_role demands {self.require_margin_role!r}")
        if self.max_input_length is None and self.max_length <= self.max_new_tokens:
            problems.append(f"max_length {self.max_length} leaves no room for a prompt beside max_new_tokens {self.max_new_tokens}")
        if self.max_input_length is not None and self.max_input_length > self.max_length:
            problems.append(f"max_input_length {self.max_input_length} is above max_length {self.max_length}")
        if self.margin == "function" and self.margin_function is None:
            problems.append("margin = function needs margin_function")
        if self.data == "preference" and self.dataset is None:
            problems.append("data = preference needs dataset")
        if self.data == "files" and self.preference_file is None:
            problems.append("data = files needs preference_file")
        if self.data == "sampled" and self.prompts is None:
            problems.append("data = sampled needs prompts")
        if self.data == "files" and self.margin == "adapter" and (self.margin_file is None or self.margin_val_file is None):
            problems.append("data = files with margin = adapter needs margin_file and margin_val_file")
        if self.data in ("helpsteer", "sampled") and self.preference is None:
            problems.append(f"data = {self.data} needs preference")
        if self.data != "files" and self.margin == "adapter" and self.margin_preference is None:
            problems.append("margin = adapter needs margin_preference")
        if not self.gen_do_sample and (self.gen_temperature != 1 or self.gen_top_p != 1 or self.gen_samples != 1):
            problems.append("gen_temperature, gen_top_p and gen_samples have no effect without gen_do_sample: true")
        if self.sft and self.data == "sampled":
            problems.append("data = sampled starts from an instruct model: set sft to false")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, PipelineConfig.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def build_parser() -> argparse.ArgumentParser:
    """One flag a field; lists take several values or one comma-separated value, maps a JSON or YAML text."""
    parser = argparse.ArgumentParser(
        prog="python -m launch helpsteer-modpo", description=__doc__, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    presets = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    parser.add_argument("--preset", help=f"one of {', '.join(presets)} (default helpsteer)")
    parser.add_argument("--config", type=Path, help="YAML file with any of the settings below")
    for name, info in PipelineConfig.model_fields.items():
        default = "" if info.is_required() or info.default is None else f" (default {info.default})"
        help_text = f"{info.description or ''}{default}".replace("%", "%%")
        kind = str(info.annotation)
        if info.annotation is bool:
            parser.add_argument(f"--{name}", nargs="?", const="true", help=help_text)
        else:
            parser.add_argument(f"--{name}", nargs="+" if "list[" in kind else None, help=help_text)
    return parser


def _from_text(name: str, value):
    kind = str(PipelineConfig.model_fields[name].annotation)
    if "list[" in kind:
        return [part for text in value for part in str(text).split(",")] if name.endswith("w_values") else value
    if "dict[" in kind:
        return yaml.safe_load(value)
    return value


def load_config(argv: list[str]) -> tuple[PipelineConfig, str]:
    """The configuration and the preset's name.

    Raises:
        ValueError: an unknown preset, setting or value. Every problem is named, with what was found.
    """
    options = vars(build_parser().parse_args(argv))
    preset, file = options.pop("preset", "helpsteer"), options.pop("config", None)
    path = PRESETS / f"{preset}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in PRESETS.glob("*.yaml"))
        near = difflib.get_close_matches(preset, known, n=1)
        raise ValueError(f"no preset {preset!r}: there are {known}" + (f"; did you mean {near[0]!r}?" if near else ""))
    given = {}
    if file is not None:
        if not file.is_file():
            raise ValueError(f"--config {file}: no such file")
        given = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    given |= {name: _from_text(name, value) for name, value in options.items()}
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for name in ("prompts", "eval_prompts"):
        if name in values:  # a preset names files of the pack, wherever it is installed
            values[name] = str(PACK / values[name])
    values |= given
    unknown = [f"{name!r}{_nearest(name)}" for name in values if name not in PipelineConfig.model_fields]
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
