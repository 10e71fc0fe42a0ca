"""Whole pairs: both rows of each are in the file, agree, and are enough for one generation batch."""

from typing import Any

from datasets_builders.io import read_rows
from launch.doctor.arguments import is_here
from launch.doctor.batches import generation_numbers
from launch.doctor.findings import Finding, error, ok, skipped
from launch.doctor.rows import readable, sources
from launch.doctor.setup import Setup, here

NAME = "pairs"


def _classes(method: str) -> tuple[Any, type]:
    """The pair columns of a method and its arguments class."""
    if method == "bt_grpo":
        from swift_ext.bt_grpo import PairGRPOConfig
        from swift_ext.paired_grpo.pair_index import PREFERRED_SIDE

        return PREFERRED_SIDE, PairGRPOConfig
    from swift_ext.pairwise_judge import JudgeGRPOConfig
    from swift_ext.pairwise_judge.trainer import JudgeGRPOTrainer

    return JudgeGRPOTrainer.pair_columns, JudgeGRPOConfig


def check_pairs(setup: Setup) -> list[Finding]:
    """The index of each local file, whole files: a pair may stand anywhere in it."""
    if setup.run.method.rows not in ("scored pairs", "judged pairs"):
        return []
    if not is_here(setup.run.method) or setup.settings is None or setup.values is None:
        return skipped(NAME, "ms-swift is not installed here, or the settings could not be read")
    findings: list[Finding] = []
    training = set(setup.value("dataset") or [])
    for source in sources(setup):
        if readable(source):
            findings += _check(setup, source, str(here(source)), source in training)
        else:
            findings += skipped(NAME, f"{source} is not here")
    return findings


def _check(setup: Setup, source: str, path: str, training: bool) -> list[Finding]:
    from swift_ext.paired_grpo.pair_index import index_pairs
    from swift_ext.paired_grpo.sampler import PairRepeatSampler

    columns, config_class = _classes(setup.run.method.name)
    names = set(columns.names)
    rows = [{name: value for name, value in row.items() if name in names} for _, row in read_rows(path)]
    prefix = setup.settings.model_config["env_prefix"]
    try:
        index = index_pairs(rows, columns)
        index.check(setup.settings.max_bad_pairs, f"{prefix}MAX_BAD_PAIRS")
        found = (
            f"{source}: {len(rows)} rows are {len(index)} whole pairs of {index.total}; faults: {index.bad or 'none'}"
        )
        pairs = _pairs_a_batch(setup, config_class) if training else None
        if pairs is not None:
            group = 2 * setup.value("num_generations")
            batches = len(PairRepeatSampler(index, group // 2, pairs)) // (pairs * group)
            found += f"; {pairs} pairs per generation batch, {batches} batches per epoch"
    except ValueError as problem:
        return error(NAME, f"{source}: {problem}", f"python -m datasets_builders {columns.builder} writes whole pairs")
    return ok(NAME, found)


def _pairs_a_batch(setup: Setup, config_class: type) -> int | None:
    """None where the numbers are refused, which is the finding of the check of batches."""
    try:
        numbers = generation_numbers(setup, config_class)
    except ValueError:
        return None
    return numbers.generation_batch_size // (2 * numbers.num_generations)
