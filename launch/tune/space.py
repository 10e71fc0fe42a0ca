"""The search space: which settings of a run are tuned, and between what. Typed; a misspelt name offers the nearest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from datasets_builders.choices import nearest
from datasets_builders.yaml_file import read_yaml

if TYPE_CHECKING:
    from optuna.trial import Trial

# Settings of a run that a study may vary. w is not among them: it says what the objective is.
TUNABLE = (
    "learning_rate", "weight_decay", "warmup_ratio", "beta", "margin_mult", "label_smoothing", "max_grad_norm",
    "lora_r", "lora_alpha", "lora_dropout", "gradient_accumulation_steps", "lr_scheduler_type",
)  # fmt: skip


class Interval(BaseModel):
    """Numbers from `low` to `high`, both included; `log` draws their logarithm; `integer` whole ones."""

    model_config = ConfigDict(extra="forbid")

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _ordered(self):
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, found {self.low:g}")
        if self.integer and (self.low % 1 or self.high % 1):
            raise ValueError(f"integer needs whole ends, found {self.low:g} and {self.high:g}")
        return self

    def suggest(self, trial: "Trial", name: str) -> float | int:
        """The trial's value; the same one when it is asked again."""
        if self.integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class Choices(BaseModel):
    """One of a few values."""

    model_config = ConfigDict(extra="forbid")

    choices: Annotated[list[float | int | str], Field(min_length=1)]

    def suggest(self, trial: "Trial", name: str) -> float | int | str:
        """The trial's value; the same one when it is asked again."""
        return trial.suggest_categorical(name, self.choices)


Space = dict[str, Interval | Choices]
DEFAULT = {
    "learning_rate": {"low": 5e-5, "high": 8e-4, "log": True},
    "weight_decay": {"low": 0.0, "high": 0.1},
    "warmup_ratio": {"low": 0.02, "high": 0.12},
    "beta": {"choices": [0.1, 0.2, 0.5]},
    "margin_mult": {"low": 0.5, "high": 2.0, "log": True},
}


def make_space(entries: dict[str, Any], where: str = "space") -> Space:
    """The typed space.

    Raises:
        ValueError: an unknown name, or an entry that is neither `low` and `high` nor `choices`; `where` is named.
    """
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{where}: a mapping of settings to intervals or choices is needed, found {entries!r}")
    for name, entry in entries.items():
        if name == "w":
            raise ValueError(f"{where}: w cannot be tuned, the study's objective is a function of it; use --w")
        if name not in TUNABLE:
            raise ValueError(f"{where}: {name!r} cannot be tuned; {nearest(str(name), TUNABLE)}")
        if not isinstance(entry, dict) or not ("choices" in entry or {"low", "high"} <= set(entry)):
            raise ValueError(f"{where}: {name} needs low and high, or choices, found {entry!r}")
    space, problems = {}, []
    for name, entry in entries.items():
        try:
            space[name] = (Choices if "choices" in entry else Interval).model_validate(entry)
        except ValidationError as error:
            for issue in error.errors():
                inner = "".join(f" {part}" for part in issue["loc"])
                problems.append(f"{name}:{inner} {issue['msg'].removeprefix('Value error, ')}")
    if problems:
        raise ValueError(f"{where}: {'; '.join(problems)}")
    return space


def read_space(path: Path | None) -> Space:
    """The space of a YAML file, or the default one.

    Raises:
        ValueError: no such file, or see `make_space`.
    """
    if path is None:
        return make_space(DEFAULT)
    return make_space(read_yaml(path, f"--space {path}"), f"--space {path}")
