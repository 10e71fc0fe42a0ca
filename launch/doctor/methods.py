"""The kinds of run that the doctor knows, and which of them a run file is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets_builders.choices import nearest
from swift_ext import PREFIXES

RLHF = ("swift.arguments.RLHFArguments",)
Rows = Literal["pairs", "scored pairs", "judged pairs", "trl pairs", "prompt file", "prompts", "other"]


@dataclass(frozen=True)
class Method:
    """One kind of run.

    Attributes:
        name: as `--method` takes it.
        upstream: distribution that runs it.
        arguments: dotted paths of the dataclasses whose fields are its keys; empty when they are known otherwise.
        rows: what its data must look like.
        plugin: stem of the plugin file that makes it this method.
        settings: dotted path of its settings class, read from the environment.
        grouped: several completions of a prompt are compared, so that a group without spread teaches nothing.
    """

    name: str
    upstream: Literal["ms-swift", "trl", "megatron", "launch"]
    arguments: tuple[str, ...] = ()
    rows: Rows = "other"
    plugin: str | None = None
    settings: str | None = None
    grouped: bool = False

    @property
    def dpo(self) -> bool:
        return self.rows in ("pairs", "trl pairs")


def _trl(config: str, *more: str) -> tuple[str, ...]:
    return ("trl.ScriptArguments", *more, config, "trl.ModelConfig", "trl.DatasetMixtureConfig")


_JUDGE = "swift_ext.pairwise_judge.settings.JudgeSettings"
_ALL = (
    Method("modpo", "ms-swift", RLHF, "pairs", "modpo", "swift_ext.modpo.settings.MODPOSettings"),
    Method("bt_grpo", "ms-swift", RLHF, "scored pairs", "bt_grpo", "swift_ext.bt_grpo.settings.BTSettings", True),
    Method("pairwise_judge", "ms-swift", RLHF, "judged pairs", "pairwise_judge", _JUDGE, True),
    Method("modpo-trl", "trl", _trl("trl_ext.modpo.config.MODPOConfig"), "trl pairs"),
    Method(
        "moodpo", "trl", ("trl_ext.moodpo.script.ScriptArguments", "trl_ext.moodpo.config.MOODPOConfig"), "prompt file"
    ),
    Method("d2po", "trl", _trl("trl_ext.d2po.config.D2POConfig", "trl_ext.d2po.script.PromptArguments"), "prompts"),
    Method("modpo-pipeline", "launch", ("launch.pipelines.config.PipelineConfig",)),
    Method("swift-dpo", "ms-swift", RLHF, "pairs"),
    Method("swift-rm", "ms-swift", RLHF, "pairs"),
    Method("swift-grpo", "ms-swift", RLHF, grouped=True),
    Method("swift-rlhf", "ms-swift", RLHF),
    Method("swift-sft", "ms-swift", ("swift.arguments.SftArguments",)),
    Method("megatron", "megatron"),
    Method("trl-dpo", "trl", _trl("trl.DPOConfig"), "trl pairs"),
    Method("trl-reward", "trl", _trl("trl.RewardConfig"), "trl pairs"),
    Method("trl-sft", "trl", _trl("trl.SFTConfig")),
)
METHODS = {method.name: method for method in _ALL}
_OF_PLUGIN = {method.plugin: method for method in _ALL if method.plugin}
_OF_PREFIX = {prefix: name for name, prefix in PREFIXES.items()}
_MEGATRON = {"colocate_groups", "micro_batch_size", "tensor_model_parallel_size"}
# Keys that only one kind of run has, asked in this order.
_TELLING = (
    ("modpo-pipeline", {"w_values", "run_tag"}),
    ("moodpo", {"sft_model_path", "csv_path"}),
    ("d2po", {"gold", "window_pairs", "labels_per_window"}),
)


def plugin_stems(values: Mapping[str, Any]) -> list[str]:
    """Names of the plugin files of a run, without folder and ending."""
    given = values.get("external_plugins") or []
    return [Path(one).stem for one in (given if isinstance(given, list) else [given])]


def of_prefix(environ: Mapping[str, str]) -> str | None:
    """The method whose settings the environment holds, if it is one method's."""
    found = {name for prefix, name in _OF_PREFIX.items() for key in environ if key.startswith(prefix)}
    return found.pop() if len(found) == 1 else None


def detect(values: Mapping[str, Any], environ: Mapping[str, str], header: str = "") -> Method | None:
    """The method of a run by its plugin, its telling keys, its launch line, then its environment; None: nothing says.

    Args:
        values: keys and values of the run.
        environ: environment with the run file's `ENV:` map in it.
        header: the comments at the top of the run file, which hold its launch line.
    """
    if _MEGATRON & values.keys():  # it loads plugins too
        return METHODS["megatron"]
    for stem in plugin_stems(values):
        if stem in _OF_PLUGIN:
            return _OF_PLUGIN[stem]
    for name, keys in _TELLING:
        if keys & values.keys():
            return METHODS[name]
    if "model_name_or_path" in values or "dataset_name" in values:
        if {"w", "margins"} & values.keys():
            return METHODS["modpo-trl"]
        said = re.search(r"\btrl(?:\.scripts\.| )(dpo|reward|sft)\b", header)
        guess = "reward" if values.get("lora_task_type") == "SEQ_CLS" else "dpo"
        return METHODS[f"trl-{said[1] if said else guess}"]
    if re.search(r"^#\s*Launch:\s+swift sft ", header, re.MULTILINE):
        return METHODS["swift-sft"]
    if "rlhf_type" in values:
        return METHODS.get(f"swift-{values['rlhf_type']}", METHODS["swift-rlhf"])
    by_environment = of_prefix(environ)
    if by_environment is not None:
        return METHODS[by_environment]
    return METHODS["swift-sft"] if "model" in values else None


def named(name: str) -> Method:
    """The method that `--method` names.

    Raises:
        ValueError: there is none; the nearest is offered.
    """
    if name not in METHODS:
        raise ValueError(f"--method {name!r}: {nearest(name, METHODS)}")
    return METHODS[name]
