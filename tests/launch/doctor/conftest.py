"""One world of tiny models and data for all tests, and the doctor as a function."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import tiny
from tests.launch.doctor.clean_runs import build_world, write_run

HAS_SWIFT = find_spec("swift") is not None


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    return build_world(tmp_path_factory.mktemp("doctor"))


@pytest.fixture(scope="session")
def contrary(world) -> Path:
    """Pairs of which the margin adapter prefers every rejected answer."""
    from launch.answers.policy import Policy
    from launch.scores.check_margin import implicit_rewards, read_pairs

    policy = Policy(
        str(world / "model"), adapters={"m": str(world / "margin")}, model_type="llama", template_type="chatml",
        torch_dtype="float32",
    )  # fmt: skip
    pairs = read_pairs(world / "pairs.jsonl")
    rewards = implicit_rewards(policy, [policy.encode_pair_row(side) for pair in pairs for side in pair], "m", 0.1)
    rows = []
    for (chosen, rejected), first, second in zip(pairs, rewards[::2], rewards[1::2], strict=True):
        better, worse = (chosen, rejected) if first > second else (rejected, chosen)
        rows.append({"messages": worse, "rejected_response": better[-1]["content"]})
    return tiny.write_rows(world / "contrary.jsonl", rows)


@pytest.fixture
def doctor(tmp_path):
    """doctor(run, *flags) -> (exit code, findings), through the real main."""
    from launch.doctor.doctor import main

    def call(run: dict | None, *flags: str) -> tuple[int, list[dict]]:
        out = tmp_path / "findings.json"
        file = [] if run is None else [str(write_run(tmp_path / "run.yaml", run))]
        code = main([*file, *flags, "--json", str(out)])
        written = json.loads(out.read_text())
        assert written["exit_code"] == code
        return code, written["findings"]

    return call
