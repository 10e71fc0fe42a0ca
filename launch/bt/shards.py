"""Parts of a run that several devices draw, and one run out of all of its parts."""

from pathlib import Path
from typing import Any

from datasets_builders.io import read_object
from launch.bt.judge import JudgedPair, read_pair_records

OVERALL, PAIRS = "overall.json", "pairs.jsonl"


def part_of(pairs: list, shard_id: int, num_shards: int) -> list:
    """The contiguous part of `pairs` that belongs to a shard; parts differ by one pair at most.

    Raises:
        ValueError: there is no such shard, or there are more shards than pairs.
    """
    if not 0 <= shard_id < num_shards:
        raise ValueError(
            f"--shard_id must be from 0 to {num_shards - 1} for --num_shards {num_shards}, found {shard_id}"
        )
    if num_shards > len(pairs):
        raise ValueError(f"--num_shards {num_shards} for {len(pairs)} pairs: a shard would be empty")
    return pairs[len(pairs) * shard_id // num_shards : len(pairs) * (shard_id + 1) // num_shards]


def merge_prompt(prompt: str, folders: list[Path]) -> tuple[dict[str, Any], dict[str, int], list[JudgedPair]]:
    """The head, the counts and the pairs of one prompt from the shards in `folders`, in the order of the shards.

    Raises:
        ValueError: see `merge`.
    """
    shards: dict[int, tuple[Path, dict[str, Any]]] = {}
    for folder in folders:
        file = folder / prompt / OVERALL
        if not file.is_file():
            raise ValueError(f"{file}: not there, so this shard of {prompt} is not finished")
        overall = read_object(file)
        number_ = overall["shard"]["shard_id"]
        if number_ in shards:
            raise ValueError(f"{file}: shard {number_} is in {shards[number_][0]} already")
        shards[number_] = file, overall
    first_file, first = shards[min(shards)]
    of = first["shard"]["num_shards"]
    for file, overall in shards.values():
        _check_same(file, _identity(overall), first_file, _identity(first))
    if missing := sorted(set(range(of)) - set(shards)):
        raise ValueError(f"{prompt}: shards {', '.join(map(str, missing))} of {of} are missing")
    answers: dict[str, int] = {}
    pairs: dict[int, JudgedPair] = {}
    for _, (file, overall) in sorted(shards.items()):
        for name, count in overall["answers"].items():
            answers[name] = answers.get(name, 0) + count
        for one in read_pair_records(file.with_name(PAIRS)):
            if one.index in pairs:
                raise ValueError(f"{file.with_name(PAIRS)}: pair {one.index} is in another shard too")
            pairs[one.index] = one
    if len(pairs) != first["shard"]["pairs"]:
        raise ValueError(f"{prompt}: the shards hold {len(pairs)} pairs, the run has {first['shard']['pairs']}")
    part = {**first["shard"], "shard_id": 0, "num_shards": 1}
    head = {name: first[name] for name in ("label", "settings", "scoring", "rows")} | {"shard": part}
    return head, answers, list(pairs.values())


def _identity(overall: dict[str, Any]) -> dict[str, Any]:
    # All that shards of one run have in common, flat.
    part = {name: value for name, value in overall["shard"].items() if name != "shard_id"}
    return {"label": overall["label"], **overall["settings"], **overall["scoring"], **part}


def _check_same(file: Path, found: dict[str, Any], first_file: Path, first: dict[str, Any]) -> None:
    for name in sorted(found.keys() | first.keys()):
        if found.get(name) != first.get(name):
            raise ValueError(
                f"{file}: made with {name} = {found.get(name)!r}, but {first_file} with {first.get(name)!r}"
            )
