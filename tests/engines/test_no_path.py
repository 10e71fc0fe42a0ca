"""Where upstream offers no path at all: each reason is held against upstream's own code, and is the cell of what has none.

verl stands in none of the tested environments; `pip install --no-deps verl==0.9.1` is enough for what is read of it here.
"""

import ast
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from datasets_builders.teacher.access import SERVICES
from launch.answers.local import LOCAL
from tests.engines.record import record

ON_TRL = ("MODPO (TRL)", "MOODPO", "D2PO")
ENGINES_OF_ANSWERS = ("vLLM colocate", "vLLM server")
NO_ANSWERS = "a step of DPO trains on given pairs: {}'s trainer draws no answers, and has no use_vllm"


def mentioned(word: str, *files: Path) -> bool:
    return any(re.search(word, path.read_text(encoding="utf-8"), re.MULTILINE) for path in files)


def no_vllm_in_dpo(package: Path) -> bool:
    (file,) = package.glob("*/dpo_trainer.py")
    return not mentioned(r"use_vllm|rollout|generate\(", file)


def no_import_of_ray(package: Path) -> bool:
    return not mentioned(r"^\s*(import|from) ray\b", *package.rglob("*.py"))


def ray_trains_grpo_and_gkd(package: Path) -> bool:
    tree = ast.parse((package / "ray/megatron/pipeline.py").read_text(encoding="utf-8"))
    (registry,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_TRAINER_REGISTRY"
    ]
    return set(ast.literal_eval(registry)) == {"grpo", "gkd"}


def no_dpo(package: Path) -> bool:
    return not mentioned(r"(?i)(\b|_)dpo(\b|_)", *package.rglob("*.py"), *package.rglob("*.yaml"))


def scores_one_answer_at_a_time(package: Path) -> bool:
    return mentioned(r"self\.compute_score\(data\[i : i \+ 1\]\)", package / "experimental/reward_loop/reward_loop.py")


def asks_servers_alone(_: Path) -> bool:
    return not set(SERVICES) & set(LOCAL)


# Module and distribution of upstream, what must hold there, the reason, and the cells that have it.
CASES: list[tuple[str, str, Callable[[Path], bool], str, list[tuple[str, str]]]] = [
    (
        "swift", "ms-swift", no_vllm_in_dpo, NO_ANSWERS.format("ms-swift"),
        [("MODPO (ms-swift)", engine) for engine in ENGINES_OF_ANSWERS],
    ),
    (
        "trl", "trl", no_vllm_in_dpo, NO_ANSWERS.format("TRL"), [("MODPO (TRL)", engine) for engine in ENGINES_OF_ANSWERS],
    ),
    (
        "swift", "ms-swift", ray_trains_grpo_and_gkd, "the other half of what the cell of MODPO (ms-swift) under Ray says",
        [],  # which tests/swift_ext/test_ray_flag.py writes
    ),
    (
        "trl", "trl", no_import_of_ray, "TRL imports Ray nowhere: a training is spread by accelerate",
        [(method, "Ray") for method in ON_TRL],
    ),
    (
        "verl", "verl", no_dpo, "no word of DPO is in verl: it trains by PPO and its kin, by SFT and by distillation",
        [(method, "verl") for method in ("MODPO (ms-swift)", *ON_TRL)],
    ),
    (
        "verl", "verl", scores_one_answer_at_a_time,
        "verl hands a reward one answer at a time: the other side of its pair, with which every reward of the method compares, is not "
        "there, and the pack has none for verl",
        [("Generative reward model", "verl")],
    ),
    (
        "launch", "swift-trl-ext", asks_servers_alone, "win-rate asks servers and services alone; `judge` asks a model of this machine",
        [("win-rate", "transformers"), ("win-rate", "vLLM in process")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name", "holds", "reason", "cells"), CASES, ids=[case[2].__name__ + "-" + case[0] for case in CASES]
)
def test_upstream_has_no_such_path(module, name, holds, reason, cells):
    found = find_spec(module)
    if found is None:
        pytest.skip(f"{name} is not installed")
    assert holds(Path(found.submodule_search_locations[0]))
    for method, engine in cells:
        record(method, engine, "none", reason, (name,))
