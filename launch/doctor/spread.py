"""How many groups would teach nothing, because all their rewards are equal, estimated from sampled scores."""

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb
from pathlib import Path

from datasets_builders.io import read_rows
from launch.common.installed import page
from launch.common.statistics import bootstrap_mean_interval
from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.setup import Setup
from launch.scores.score_files import is_number

NAME = "zero variance"
NOTHING, LITTLE = 0.9, 0.5  # shares of groups without spread: an error, a warning
PAIRS = "pairs.jsonl"  # of `python -m launch variance`


def equal_chance(samples: Sequence[Hashable], group: int) -> float:
    """Chance that `group` draws from K samples are all equal.

    Draws without replacement when there are enough samples, which is free of bias; with replacement otherwise, which
    is a little too high for few samples. An answer without a score (None) is a value of its own.

    Raises:
        ValueError: no sample, or a group under 2.
    """
    if not samples or group < 2:
        raise ValueError(
            f"a chance of equal draws needs samples and a group of at least 2, got {len(samples)} and {group}"
        )
    counts, total = Counter(samples).values(), len(samples)
    if total >= group:
        return sum(comb(n, group) for n in counts) / comb(total, group)
    return sum((n / total) ** group for n in counts)


def read_samples(path: Path) -> list[list[float | None]]:
    """Sampled scores, one list a prompt: `scores` (two sides, of `variance`) or `rewards` (one list) of each row.

    Raises:
        ValueError: no such file, a row without either field, or no rows.
    """
    if path.is_dir():
        files = sorted(path.rglob(PAIRS))
        if not files:
            raise ValueError(f"{path} holds no {PAIRS}: it is no folder of python -m launch variance")
        return [samples for file in files for samples in read_samples(file)]
    groups: list[list[float | None]] = []
    for line, row in read_rows(path):
        if isinstance(row.get("scores"), list) and all(isinstance(side, list) and side for side in row["scores"]):
            found = row["scores"]
        elif isinstance(row.get("rewards"), list) and row["rewards"]:
            found = [row["rewards"]]
        else:
            raise ValueError(
                f"{path}:{line}: neither 'scores' (two lists) nor 'rewards' (one list), found {sorted(row)}"
            )
        for value in (value for samples in found for value in samples):
            if value is not None and not is_number(value):
                raise ValueError(f"{path}:{line}: {value!r:.40} among the samples is neither a finite number nor null")
        groups += found
    if not groups:
        raise ValueError(f"{path}: no rows")
    return groups


def check_spread(setup: Setup, samples: Path | None) -> list[Finding]:
    """The expected share of groups without spread, with a bootstrap interval over prompts; or what to run to know it."""
    if not setup.run.method.grouped:
        return []
    group = int(setup.value("num_generations", 8))
    if samples is None:
        tool = (
            "python -m launch variance --model MODEL --do_sample ..."
            if setup.run.method.name == "bt_grpo"
            else "sampled rewards"
        )
        return skipped(
            NAME,
            f"no samples were given: the share of groups of {group} without spread is not known",
            f"--samples FOLDER of {tool}",
        )
    groups = read_samples(samples)
    share = bootstrap_mean_interval([equal_chance(one, group) for one in groups])
    drawn = min(map(len, groups))
    ends = "" if share.low is None else f" [{share.low:.0%}, {share.high:.0%}]"
    found = (
        f"{share.value:.0%}{ends} of groups of {group} would have equal scores "
        f"({len(groups)} prompts, {drawn} or more samples each)"
    )
    fix = f"a warm-up ({page('bt_grpo')}), a higher temperature, more num_generations, or dynamic_sample: true"
    if share.value >= NOTHING:
        return error(NAME, f"{found}: there is next to no gradient", fix)
    return warning(NAME, found, fix) if share.value >= LITTLE else ok(NAME, found)
