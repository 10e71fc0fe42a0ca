"""The trainer on two ranks, which see other rows and must agree on everything else."""

import json

import numpy as np
import pytest

from tests.engines.record import record
from tests.tiny import build_model

pytestmark = pytest.mark.integration


def test_two_ranks_draw_the_same_weights_for_the_same_rows(warm_trl, tmp_path):
    """Every row gets its draw whichever rank it is on; both ranks hold the same statistics and the same policy."""
    from trl_ext import MOODPOConfig

    model = build_model(tmp_path / "model", end_gain=1.5)
    warm_trl.run("tests.moodpo.two_ranks", [model, tmp_path], tmp_path / "log", processes=2)
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0]["state"] == ranks[1]["state"] and ranks[0]["digest"] == ranks[1]["digest"]
    assert ranks[0]["logs"]["objective/scores/first"] == pytest.approx(np.mean([r["score"] for r in ranks]), rel=1e-6)
    assert ranks[0]["state"]["normaliser"]["count"] == [32.0, 32.0]  # 4 steps, 2 ranks, 2 prompts, 2 answers
    objectives = [f"{name}=tests.moodpo.reward_functions:{name}" for name in ("first", "second")]
    config = MOODPOConfig(
        output_dir=str(tmp_path), reward_models=objectives, seed=5, use_cpu=True, bf16=False, report_to="none"
    )
    sampler = config.sampler()
    drawn = [tuple(entry) for rank in ranks for entry in rank["drawn"]]
    assert sorted(row for epoch, row, *_ in drawn if epoch == 0) == list(range(8))  # each row once, on one rank
    assert {epoch for epoch, *_ in drawn} == {0, 1}
    for epoch, row, *weights in drawn:
        assert tuple(weights) == sampler.draw(epoch, row)
    assert ranks[0]["evaluation"] == ranks[1]["evaluation"] and len(ranks[0]["evaluation"]) > 10
    for rank in ranks:  # an epoch has two steps; the run was continued after the third
        assert rank["drawn_after_resume"] == rank["drawn"][-2:]
        assert rank["digest_after_resume"] == rank["digest"]
    seen = "the trainer on two CPU ranks: each row draws its weights whichever rank it is on; statistics, policy and evaluation "
    seen += "of both ranks agree, and a resumed run ends in the same weights"
    record("MOODPO", "DDP", "ran", seen, ("trl", "transformers", "torch"))
