"""Shipped scalings let the rewards do what they say, others are named with the size of what they undo."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("swift")

from swift.rl_core.advantage import compute_advantages

from swift_ext.bt_grpo import scaling as bt
from swift_ext.bt_grpo.rewards import REWARDS as BT_REWARDS
from swift_ext.bt_grpo.settings import BTSettings
from swift_ext.pairwise_judge import scaling as judge
from swift_ext.pairwise_judge.rewards import REWARDS as JUDGE_REWARDS
from swift_ext.settings import read_settings

RUNS = Path(__file__).parents[2] / "launch" / "runs"
OF_BT = [path for path in sorted((RUNS / "bt_grpo").glob("*.yaml")) if path.stem != "warmup_sft"]
OF_JUDGE = sorted((RUNS / "pairwise_judge").glob("*.yaml"))


def arguments(run: dict, **changed) -> SimpleNamespace:
    """The arguments of a run file that matter here, with ms-swift's defaults."""
    names = {"scale_rewards": None, "num_generations": 8, "reward_weights": None}
    return SimpleNamespace(**{name: run.get(name, default) for name, default in names.items()} | changed)


def bt_run(path, monkeypatch):
    run = yaml.safe_load(path.read_text())
    for name, value in run["ENV"].items():
        monkeypatch.setenv(name, str(value))
    return run, BT_REWARDS[run["reward_funcs"]], read_settings(BTSettings)


@pytest.mark.parametrize("path", OF_BT, ids=lambda path: path.stem)
def test_a_shipped_scorer_s_pairs_weigh_what_its_reward_says(path, monkeypatch):
    run, reward, settings = bt_run(path, monkeypatch)
    terms = bt.cancelled_terms(settings, reward, arguments(run))
    assert all(share < 0.05 for share in terms.values()), terms
    assert bt.scaling_warnings(settings, [reward], arguments(run)) == []
    assert run["scale_rewards"] in ("batch", "none", "group")  # said, not left to a default
    if terms:
        monkeypatch.setenv("BT_MIN_REWARD_STD", "0")
        monkeypatch.delenv("BT_MIN_REWARD_STD_MODE", raising=False)
        alone = read_settings(BTSettings)
        undone = bt.cancelled_terms(alone, reward, arguments(run, scale_rewards="group"))
        assert min(undone.values()) > 0.5
        assert (
            "--scale_rewards group undoes"
            in bt.scaling_warnings(alone, [reward], arguments(run, scale_rewards=None))[0]
        )


def advantages(run: dict, answers: list[str], columns: dict, names: list[str], weights: list[float]) -> torch.Tensor:
    rewards = judge.reward_columns([JUDGE_REWARDS[name] for name in names], answers, columns)
    found, _ = compute_advantages(
        rewards, torch.tensor(weights, dtype=torch.float64), run["num_generations"], scale_rewards=run["scale_rewards"]
    )
    return found


@pytest.mark.parametrize("path", OF_JUDGE, ids=lambda path: path.stem)
def test_agreement_of_the_orders_changes_an_advantage_under_a_shipped_judge_s_scaling(path):
    """Under group scaling by at most 1e-3: every right answer of a group earns the same bonus."""
    run = yaml.safe_load(path.read_text())
    answers, columns = judge.typical_answers(run["num_generations"])
    plain = (["pairwise_preference"], [1.0])
    bonus = (["pairwise_preference", "pairwise_consistency"], [1.0, 0.5])

    def largest_change(scaling: str) -> float:
        before, after = (advantages(run | {"scale_rewards": scaling}, answers, columns, *one) for one in (plain, bonus))
        return (after - before).abs().max().item()

    assert largest_change(run["scale_rewards"]) > 0.2
    assert largest_change("group") < 1e-3
    names = [str(one) for one in np.atleast_1d(run["reward_funcs"])]
    assert judge.scaling_warnings([JUDGE_REWARDS[name] for name in names], arguments(run)) == []


@pytest.mark.parametrize(
    ("names", "weights", "scaling", "warned"),
    [
        (["pairwise_preference", "pairwise_consistency"], [1.0, 0.5], "group", "undoes 100% of the bonus"),
        (["pairwise_preference", "pairwise_consistency"], [1.0, 0.5], None, "undoes 100% of the bonus"),
        (["pairwise_preference_by_strength"], None, "gdpo", "--scale_rewards gdpo undoes 100% of the weight of clear"),
        (["pairwise_preference", "pairwise_consistency"], [1.0, 0.5], "gdpo", "gdpo undoes 34% of the bonus"),
        (["pairwise_preference", "pairwise_consistency"], [1.0, 0.5], "batch", None),
        (["pairwise_preference_by_strength"], None, "none", None),
        (["pairwise_preference", "pairwise_format"], [1.0, 0.1], "group", None),
    ],
)
def test_a_judge_is_warned_with_the_size(names, weights, scaling, warned):
    args = SimpleNamespace(scale_rewards=scaling, num_generations=4, reward_weights=weights)
    warnings = judge.scaling_warnings([JUDGE_REWARDS[name] for name in names], args)
    assert len(warnings) == (warned is not None) and (warned is None or warned in warnings[0])


def test_a_hard_clip_names_the_points_past_which_nothing_pushes(monkeypatch):
    monkeypatch.setenv("BT_DELTA_TEMP", "5")
    monkeypatch.setenv("BT_DELTA_NEG_CLIP", "1.1")
    args = SimpleNamespace(scale_rewards="batch", num_generations=8)
    reward = BT_REWARDS["bt_pointwise_baseline"]
    (warning,) = bt.scaling_warnings(read_settings(BTSettings), [reward], args)
    assert "wrong by more than 5.5 points" in warning and "BT_DELTA_CLIP_KIND=soft" in warning
    monkeypatch.setenv("BT_DELTA_CLIP_KIND", "soft")
    assert bt.scaling_warnings(read_settings(BTSettings), [reward], args) == []


@pytest.mark.parametrize("path", [one for one in OF_BT if "hardmine" in one.stem or "hardpair" in one.stem])
def test_weights_on_the_advantage_are_kept_under_group_scaling(path, monkeypatch):
    monkeypatch.setenv("BT_PAIR_WEIGHT_ON", "advantage")
    run, reward, settings = bt_run(path, monkeypatch)
    assert "the weights of pairs" not in bt.cancelled_terms(settings, reward, arguments(run, scale_rewards="group"))
