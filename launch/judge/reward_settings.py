"""Who judges, when a judge serves as a reward function: a short YAML file, which the environment names."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveInt, ValidationError, model_validator

from datasets_builders.choices import nearest
from datasets_builders.model_names import refuse_missing_folder
from datasets_builders.teacher.access import find_access
from datasets_builders.teacher.clients import load_package
from datasets_builders.yaml_file import read_mapping
from launch.cli.setting_errors import sentences

VARIABLE = "PAIRWISE_JUDGE_CONFIG"


class RewardSettings(BaseModel):
    """The keys of the YAML file. Either `model` or both of `base_url` and `api_model`; answers are greedy.

    Attributes:
        model: folder or hub name of a local judge; its chat template is the tokenizer's.
        adapter: LoRA adapter of it.
        torch_dtype: float32, bfloat16 or float16; None takes the model's own.
        base_url, api_model: a server that speaks the OpenAI protocol, and the model's name there.
        rubric: lines to judge by; none leaves it at helpfulness.
        thinking: ask for reasoning before the verdict.
        ties: offer tie as an answer.
        max_new_tokens: of one answer.
        batch_size: texts judged at once, or requests in flight.
        rpm_limit: requests per minute to a server; none sends a batch at once.
        rounds, both_orders, missing, seed: see `trl_ext.pairwise_judge.judge_reward.JudgeReward`.
    """

    model_config = ConfigDict(frozen=True, strict=True, protected_namespaces=())

    model: str | None = None
    adapter: str | None = None
    torch_dtype: str | None = None
    base_url: str | None = None
    api_model: str | None = None
    rubric: list[str] = []
    thinking: bool = False
    ties: bool = True
    max_new_tokens: PositiveInt = 1024
    batch_size: PositiveInt = 16
    rpm_limit: PositiveInt | None = None
    rounds: PositiveInt | None = None
    both_orders: bool = True
    missing: FiniteFloat | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _one_judge(self) -> "RewardSettings":
        if bool(self.base_url) != bool(self.api_model) or bool(self.model) == bool(self.base_url):
            raise ValueError("name one judge: model, or base_url together with api_model")
        if self.base_url and (self.adapter or self.torch_dtype):
            raise ValueError("adapter and torch_dtype belong to a local model; a server decides them itself")
        for key in ("model", "adapter"):
            if (name := getattr(self, key)) is not None:
                refuse_missing_folder(name, key)
        return self


def read_settings(path: str | Path) -> RewardSettings:
    """The settings of a YAML file.

    Raises:
        ValueError: no such file, no mapping, an unknown key (the nearest is offered), a value that cannot be, or no folder
            where the name of the model or the adapter can be no hub's.
    """
    given = read_mapping(path)
    for name in given:
        if name not in RewardSettings.model_fields:
            raise ValueError(f"{path}: unknown key {name!r}; {nearest(str(name), RewardSettings.model_fields)}")
    try:
        return RewardSettings.model_validate(given)
    except ValidationError as error:
        raise ValueError(f"{path}: {sentences(error)}") from error


def judge_of_environment() -> RewardSettings:
    """The settings of the file that PAIRWISE_JUDGE_CONFIG names, with what can be known to fail before a judge is loaded.

    Raises:
        ValueError: the variable names no file; an error of `read_settings`; a server's address or key that no request can
            have, its client is not installed, or a folder of the judge with a file that is not whole.
    """
    from trl_ext.modpo.model_dir import check_whole

    path = os.environ.get(VARIABLE)
    if not path:
        raise ValueError(f"set {VARIABLE} to a YAML file that names the judge: model, or base_url and api_model")
    settings = read_settings(path)
    try:
        if settings.base_url:
            find_access("openai", settings.base_url)
            load_package("openai", "a judge at base_url")
        for folder in (settings.model, settings.adapter):
            if folder is not None:
                check_whole(folder)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return settings
