"""The benchmark of the two local back ends, rehearsed with a tiny model: what is counted, not how fast it is."""

import json
from importlib.util import find_spec

import pytest

from benchmarks.vllm_backend import main
from tests import tiny

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment"),
]


def test_both_answer_all_prompts_in_every_round(tmp_path, monkeypatch):
    for name, value in (
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
        ("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
        ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
    ):
        monkeypatch.setenv(name, value)
    model = tiny.build_model(tmp_path / "model", seed=4, head_dim=32)
    flags = ["--model", str(model), "--answers", "10", "--max_new_tokens", "6", "--rounds", "2"]
    main([*flags, "--out", str(tmp_path / "result.json")])
    result = json.loads((tmp_path / "result.json").read_text())
    assert len(result["rounds"]) == 2
    for one in result["rounds"]:
        # Each draws by its own chance, so that lengths differ; few of its answers end early.
        assert all(30 < one[name]["tokens"] <= 60 and one[name]["elapsed"] > 0 for name in ("transformers", "vllm"))
    one, other = result["rounds"], result["ratios"]["elapsed"]
    expected = [
        (turn["vllm"]["tokens"] / turn["vllm"]["elapsed"])
        / (turn["transformers"]["tokens"] / turn["transformers"]["elapsed"])
        for turn in one
    ]
    assert other == pytest.approx(expected)
