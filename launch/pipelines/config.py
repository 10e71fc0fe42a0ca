"""Configuration of the MODPO pipeline: a preset, a YAML file and flags, in this order, typed and checked together."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from datasets_builders.choices import nearest
from datasets_builders.command_line import Parser
from datasets_builders.yaml_file import read_yaml
from launch.cli.flags import long_dtype
from launch.cli.setting_errors import sentences
from launch.cli.verbs import verb_parser
from launch.common.installed import PACK

PRESETS = PACK / "launch" / "runs" / "modpo"
# Settings that decide what a run means; with --require_explicit_criticals none may come from a default or a preset.
CRITICAL = ["out", "run_tag", "w_values", "max_length", "max_new_tokens", "eval_size", "beta", "margin_role"]
NO_DEFAULTS: Mapping[str, str] = {}
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
    torch_dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="numbers of the weights; auto: bfloat16 where the device has it, else float32"
    )
    processes: Positive = Field(1, description="processes of a training stage (NPROC_PER_NODE)")
    stages_at_once: Positive = Field(1, description="stages that run at a time, where none reads what another writes")
    deepspeed: str | None = Field(None, description="ms-swift's --deepspeed: zero2, zero3 or a file")
    # data
    data: Literal["helpsteer", "preference", "sampled", "files"] = Field(
        "helpsteer",
        description="where pairs come from: `helpsteer`, `preference` (a published set), `sampled` (answers of the model), `files`",
    )
    dataset: str | None = Field(None, description="name for `python -m datasets_builders preference`")
    source: str | None = Field(None, description="local file(s) in the data set's schema instead of the hub")
    validation_source: str | None = Field(None, description="the same for the validation split")
    preference: str | None = Field(None, description="attribute, dimension or function that the trained labels follow")
    margin_preference: str | None = Field(None, description="the same for the margin adapter's labels")
    min_gap: float | None = Field(None, description="least rating difference of a pair")
    preference_file: str | None = Field(None, description="data = files: pairs in ms-swift's format")
    preference_val_file: str | None = Field(None, description="the same, held out")
    margin_file: str | None = Field(None, description="data = files: pairs that the margin adapter learns from")
    margin_val_file: str | None = Field(None, description="the same, held out")
    prompts: str | None = Field(None, description="data = sampled: prompts to sample from")
    eval_prompts: str | None = Field(None, description="prompts to evaluate on; default: the validation pairs")
    samples_per_prompt: Positive = Field(4, description="data = sampled: completions per prompt")
    val_prompts: Positive = Field(16, description="data = sampled: prompts held out to check the margin adapter")
    train_limit: Positive | None = Field(None, description="at most this many pairs of each kind")
    data_num_proc: Positive = Field(1, description="processes that read rows")
    # objectives
    w_values: list[float] = Field(description="weights of the trained preference")
    require_w_values: list[float] | None = Field(None, description="refuse any other grid than this one")
    beta: float = Field(0.1, gt=0, description="beta of DPO and MODPO")
    margin: Literal["adapter", "function"] = Field(
        "adapter", description="what gives the margin: an adapter that is trained first, or a function of the texts"
    )
    margin_function: str | None = Field(None, description="margin = function: registered name or dotted path")
    margin_role: Literal["reward", "cost"] = Field("reward", description="reward: more is better; cost: less is better")
    require_margin_role: Literal["reward", "cost"] | None = Field(None, description="refuse the other role")
    margin_beta: float | None = Field(None, description="multiplies the margin; default: beta for an adapter, else 1")
    margin_weight: float | None = Field(None, ge=0, description="fixed weight of the margin; default 1 - w")
    min_margin_accuracy: float = Field(0.6, ge=0, le=1, description="the run stops below this held-out accuracy")
    share_prompts: bool = Field(
        False, description="DPO reads a pair's prompt once, too, as MODPO does; rounding differs"
    )
    start: Literal["reference", "margins"] = Field("reference", description="where the policies begin (MODPO_START)")
    soup: bool = Field(
        False, description="beside the policies, mixtures of the two single-objective DPO adapters by the same weights"
    )
    # training
    sft: bool = Field(True, description="fine-tune and merge the base on the chosen side first")
    train_max_length: Positive = Field(512, description="longest training row in tokens")
    train_batch_size: Positive = Field(1, description="rows per process and training step")
    eval_batch_size: Positive = Field(1, description="rows per process and evaluation step")
    grad_accum: Positive = Field(8, description="batches that make one optimizer step")
    sft_max_steps: Positive = Field(1000, description="optimizer steps")
    dpo_max_steps: Positive = Field(1000, description="optimizer steps of the margin adapter")
    modpo_max_steps: Positive = Field(1000, description="optimizer steps for each w")
    sft_learning_rate: float = Field(1e-4, gt=0, description="highest learning rate of AdamW")
    dpo_learning_rate: float = Field(1e-4, gt=0, description="highest learning rate of AdamW for the margin adapter")
    modpo_learning_rate: float = Field(1e-4, gt=0, description="highest learning rate of AdamW")
    learning_rate_times_w: bool = Field(
        False, description="modpo_learning_rate times w, as the loss divides its step by w"
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.05, ge=0, description="weight decay of AdamW")
    lora_rank: Positive = Field(16, description="rank of all adapters")
    lora_alpha: Positive = Field(32, description="alpha of all adapters")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="dropout of all adapters")
    gradient_checkpointing: bool = Field(True, description="less memory, more time")
    save_steps: Positive = Field(200, description="steps between checkpoints")
    eval_steps: Positive = Field(200, description="steps between evaluations")
    logging_steps: Positive = Field(10, description="steps between log entries")
    train_seed: int = Field(42, description="seed of training")
    precompute: bool = Field(True, description="compute reference and margins once for the whole grid")
    sft_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of `swift sft`")
    margin_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of the margin stage")
    modpo_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of the MODPO stages")
    # generation
    eval_size: Positive = Field(300, description="held-out prompts to answer, the first so many")
    max_length: Positive = Field(4096, description="tokens of prompt and answer together")
    max_input_length: Positive | None = Field(
        None, description="tokens of the prompt; default: max_length - max_new_tokens"
    )
    max_new_tokens: Positive = Field(2560, description="longest answer in tokens")
    gen_batch_size: Positive = Field(4, description="prompts answered at once")
    gen_samples: Positive = Field(1, description="completions per held-out prompt")
    gen_do_sample: bool = Field(False, description="sample; greedy otherwise")
    gen_temperature: float = Field(1.0, gt=0, description="temperature of gen_do_sample")
    gen_top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens with this share")
    gen_repetition_penalty: float = Field(
        1.0, gt=0, description="divides the logits of tokens that were there; 1: none"
    )
    gen_no_repeat_ngram_size: int = Field(0, ge=0, description="tokens of a sequence that may not come again; 0: any")
    # scores and report
    scores: list[str] = Field(
        default_factory=list, description="rewards for `python -m launch score`; {margin} = the adapter"
    )
    x: str = Field("preference", description="score on the horizontal axis")
    y: str = Field("margin", description="score on the vertical axis")
    title: str = Field("MODPO trade-off", description="title of the report")
    # tracking
    wandb_project: str | None = Field(None, description="project of Weights & Biases, where report_to names it")
    wandb_run_group: str | None = Field(None, description="group of Weights & Biases")
    wandb_tags: str | None = Field(None, description="tags of Weights & Biases, separated by commas")

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
            problems.append(
                f"margin_role is {self.margin_role!r}, require_margin_role demands {self.require_margin_role!r}"
            )
        if self.max_input_length is None and self.max_length <= self.max_new_tokens:
            problems.append(
                f"max_length {self.max_length} leaves no room for a prompt beside max_new_tokens {self.max_new_tokens}"
            )
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
        if (
            self.data == "files"
            and self.margin == "adapter"
            and (self.margin_file is None or self.margin_val_file is None)
        ):
            problems.append("data = files with margin = adapter needs margin_file and margin_val_file")
        if self.data in ("helpsteer", "sampled") and self.preference is None:
            problems.append(f"data = {self.data} needs preference")
        if self.data != "files" and self.margin == "adapter" and self.margin_preference is None:
            problems.append("margin = adapter needs margin_preference")
        if not self.gen_do_sample and (self.gen_temperature != 1 or self.gen_top_p != 1 or self.gen_samples != 1):
            problems.append("gen_temperature, gen_top_p and gen_samples have no effect without gen_do_sample: true")
        if self.margin != "adapter" and (self.soup or self.start == "margins"):
            problems.append("soup and start = margins need margin = adapter: there is nothing else to mix or begin at")
        if self.soup and (self.margin_role, self.margin_weight, self.margin_beta) != ("reward", None, None):
            problems.append(
                "soup mixes by w and 1 - w: margin_role must be reward, margin_weight and margin_beta must not be set"
            )
        if self.sft and self.data == "sampled":
            problems.append("data = sampled starts from an instruct model: set sft to false")
        if problems:
            raise ValueError("; ".join(problems))
        return self


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
