"""Command lines that the claims share at the scale of one GPU: GRPO by a shipped run file, and evaluations.

A training that was stopped goes on from its newest whole checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from launch.answers.checkpoints import latest_checkpoint
from launch.pipelines.command_lines import flags, launch
from launch.pipelines.identity import PACK
from launch.pipelines.stages import Command, Resumed, Stage
from launch.reproduce.claim import Place

RUNS = PACK / "launch" / "runs"
# Drawn as in training: all of the distribution. Untouched and trained models speak by the same template.
SAMPLED = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
HOW = {"model_type": "qwen2", "template": "qwen2_5", "torch_dtype": "bfloat16"}


class Timed(NamedTuple):
    """A stage, and how many hours it is expected to take."""

    stage: Stage
    hours: float


def stages_of(planned: Callable[[Place], Sequence[Timed]]) -> Callable[[Place], list[Stage]]:
    """`Claim.stages` out of what a claim plans."""
    return lambda place: [one.stage for one in planned(place)]


def hours_of(planned: Callable[[Place], Sequence[Timed]]) -> Callable[[Place], Mapping[str, float]]:
    """`Claim.hours` out of the same; what needs no GPU has none."""
    return lambda place: {one.stage.name: one.hours for one in planned(place) if one.hours}


def builder(name: str, values: Mapping[str, Any], *more: str) -> Command:
    """A command of `python -m datasets_builders`; `more` stands behind its flags."""
    return Command(["python", "-m", "datasets_builders", name, *flags(values), *more])


def checkpoint(place: Place, seed: int, arm: str, steps: int) -> Path:
    """What a run of so many steps leaves."""
    return place.of(seed, arm) / f"checkpoint-{steps}"


def resumed(name: str, title: str, argv: list[str], folder: Path, results: Sequence[Path]) -> Stage:
    """A training stage that goes on from its newest whole checkpoint."""
    command = Resumed(Command(argv), partial(latest_checkpoint, folder))
    return Stage(name, title, [command], [folder], resumable=True, results=results)


def grpo(place: Place, seed: int, arm: str, run_file: str, data: Path, steps: int, **other: Any) -> Stage:
    """GRPO by a run file of `launch/runs`, as it is but for places, steps and what is the arm's own."""
    folder = place.of(seed, arm)
    values = {
        "external_plugins": PACK / "swift_ext" / "plugins" / f"{run_file.partition('/')[0]}.py",
        "dataset": data,
        "max_steps": steps,
        "logging_steps": 1,
        "save_steps": min(20, steps),
        "save_total_limit": 2,
        "report_to": "none",
        "add_version": False,
        "seed": seed,
        "data_seed": seed,
        "output_dir": folder,
        **other,
    }
    argv = ["swift", "rlhf", str(RUNS / run_file), *flags(values)]
    results = [checkpoint(place, seed, arm, steps), folder / "logging.jsonl"]
    return resumed(f"{arm}_s{seed}", f"seed {seed}: {arm}", argv, folder, results)


def evaluation(place: Place, seed: int, name: str, verb: str, done: str, values: Mapping[str, Any]) -> Stage:
    """An evaluation of one model, with answers drawn as in training.

    Args:
        done: what it makes of a model, in one word: part of the stage's name and the folder of the results.
        values: the model, the pairs and the verb's own flags.
    """
    out = place.of(seed, f"{done}/{name}")
    command = launch(verb, {**values, **HOW, **SAMPLED, "seed": seed, "out": out}, "--do_sample")
    return Stage(
        f"{name}_s{seed}_{done}", f"seed {seed}: {name}, {done}", [command], [out], results=[out / "result.json"]
    )
