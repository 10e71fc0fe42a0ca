"""Settings of a study, typed and checked together, and what of them makes it that study and no other."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from launch.answers.records import check_label
from launch.cli.setting_errors import sentences
from launch.tune.objective import KINDS

Positive = Annotated[int, Field(gt=0)]
# Of a worker or of a single start, not of the study.
NOT_IDENTITY = ("output_root", "worker_id", "gpu_id", "n_trials", "timeout", "max_failures", "summarize_only")


class TuneSettings(BaseModel):
    """One study and one worker of it."""

    model_config = ConfigDict(extra="forbid")

    # study
    study_name: str = Field(description="name of the study, and of its folder in --output_root")
    output_root: Path = Field(description="folder of all studies")
    n_trials: Positive = Field(
        24, description="budget: trials that end well or are pruned, over all workers; failed ones are not counted"
    )
    rung_steps: list[Positive] = Field(
        [300, 600, 1000], description="steps at which trials are judged, as 300,600,1000"
    )
    reduction_factor: int = Field(2, ge=2, description="one trial in so many passes a rung")
    seed: int = Field(42, ge=0, description="seed of the sampler; each worker adds a number of its own")
    space: Path | None = Field(None, description="YAML file of the search space (default: the reference's)")
    objective: Literal[*KINDS] = Field("ranking", description=f"what is maximised: one of {', '.join(KINDS)}")
    metrics: dict[str, float] = Field({}, description="NAME=NUMBER ... for weighted_sum, hypervolume and front")
    # run
    config: Path = Field(description="run file of trl_ext.modpo.script that all trials share")
    sft_model_name: str | None = Field(None, description="model to train (default: the run file's)")
    margin_reward_model_name: str | None = Field(None, description="adapter as the margin (default: the run file's)")
    margin_role: Literal["reward", "cost"] = Field("reward", description="role of --margin_reward_model_name")
    dataset_name: str | None = Field(None, description="folder or data set with a train and a test split")
    w: float = Field(0.7, gt=0, le=1, description="weight of the preference, the same in all trials")
    train_seed: int = Field(42, ge=0, description="seed of the training runs")
    eval_steps: Positive | None = Field(None, description="further evaluations every so many steps, beside the rungs'")
    save_steps: Positive | None = Field(None, description="further checkpoints every so many steps, beside the rungs'")
    # worker
    worker_id: str = Field("worker0", description="name of this worker; one alive at a time")
    gpu_id: str | None = Field(None, description="CUDA_VISIBLE_DEVICES of its runs; '' for the processor, with use_cpu")
    timeout: float = Field(0, ge=0, description="seconds after which this worker starts no further trial; 0: never")
    max_failures: Positive = Field(3, description="failed runs in a row after which this worker gives up")
    summarize_only: bool = Field(False, description="write the summary of what there is, train nothing")

    @model_validator(mode="after")
    def _fits_together(self):
        check_label(self.study_name)
        check_label(self.worker_id)
        check_rungs(self.rung_steps, self.reduction_factor)
        if "," in (self.gpu_id or ""):
            raise ValueError(f"gpu_id {self.gpu_id!r}: one device per worker; start a worker for each")
        if not self.config.is_file():
            raise ValueError(f"config: no file {self.config}")
        return self

    @property
    def folder(self) -> Path:
        """Of the study."""
        return self.output_root / self.study_name

    def identity(self) -> dict[str, Any]:
        """All that makes trials comparable; a study is not continued with anything else."""
        fields = self.model_dump(mode="json", exclude=set(NOT_IDENTITY))
        return fields | {name: getattr(self, name).read_text("utf-8") for name in ("config", "space") if fields[name]}


def check_rungs(rungs: list[int], factor: int) -> None:
    """Whether Optuna's successive halving, whose rungs lie at first x factor^k, judges once at each rung but the last.

    Raises:
        ValueError: steps that do not increase, or a rung that Optuna would judge not at all or twice.
    """
    if any(later <= earlier for earlier, later in pairwise(rungs)):
        raise ValueError(f"rung_steps {rungs} must increase")
    for power, step in enumerate(rungs[:-1]):
        low, high = rungs[0] * factor**power, rungs[0] * factor ** (power + 1)
        if not low <= step < high:
            raise ValueError(
                f"rung_steps {rungs}: with reduction_factor {factor} rung {power + 1} must lie in [{low}, {high}), "
                f"found {step}; only the last one is free"
            )


def make_settings(fields: dict[str, Any]) -> TuneSettings:
    """Typed settings.

    Raises:
        ValueError: every problem is named, with the flag and what was found.
    """
    try:
        return TuneSettings.model_validate(fields)
    except ValidationError as error:
        raise ValueError(sentences(error, mark="--")) from error
