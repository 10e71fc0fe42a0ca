"""Log-probs of completions against a loop, worked numbers and the fp32 softmax of bf16 logits."""

import json
import math
from pathlib import Path

import pytest
import torch

from trl_ext.objectives import completion_logps, implicit_reward, selective_logps

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "modpo.json").read_text())["implicit_reward"]


def loop(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Written out: position t is predicted from the logits at t - 1, in fp64."""
    sums = []
    for row_logits, row_labels in zip(logits.double().tolist(), labels.tolist(), strict=True):
        total = 0.0
        for t in range(1, len(row_labels)):
            if row_labels[t] != -100:
                total += row_logits[t - 1][row_labels[t]] - math.log(sum(math.exp(v) for v in row_logits[t - 1]))
        sums.append(total)
    return torch.tensor(sums, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_implicit_reward_of_the_worked_cases(case):
    """beta (log pi_adapter - log pi_base) over the labelled tokens; one case divides both sums by their count."""
    labels = torch.tensor(case["labels"])
    counts = (labels[:, 1:] != -100).sum(-1) if case["average_log_prob"] else 1
    logps = {k: completion_logps(torch.tensor(case[f"{k}_logits"]), labels) / counts for k in ("adapter", "base")}
    for name, found in logps.items():
        torch.testing.assert_close(found, torch.tensor(case[f"{name}_logps"]), rtol=0, atol=1e-5)
    reward = implicit_reward(logps["adapter"], logps["base"], case["beta"])
    torch.testing.assert_close(reward, torch.tensor(case["reward"]), rtol=0, atol=1e-5)


def batch(dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 9, 17, generator=generator).mul(3).to(dtype)
    labels = torch.randint(0, 17, (4, 9), generator=generator)
    labels[0, :3] = -100  # prompt
    labels[1, 7:] = -100  # right padding
    labels[2] = -100  # nothing left after truncation
    labels[3, [2, 5]] = -100  # a hole
    return logits, labels


def test_completion_logps_match_a_loop():
    logits, labels = batch()
    torch.testing.assert_close(completion_logps(logits, labels).double(), loop(logits, labels), rtol=1e-6, atol=1e-5)
    assert completion_logps(logits, labels)[2] == 0


def test_the_logits_of_masked_positions_do_not_matter():
    logits, labels = batch()
    changed = logits.clone()
    changed[0, :2], changed[1, 6:], changed[:, -1] = 50.0, -50.0, 7.0
    assert torch.equal(completion_logps(logits, labels), completion_logps(changed, labels))


def test_the_end_token_counts():
    """Masking the last labelled token takes exactly its log-prob away."""
    logits, labels = batch()
    without = labels.clone()
    without[0, -1] = -100
    last = torch.log_softmax(logits[0, -2], -1)[labels[0, -1]]
    difference = completion_logps(logits, labels)[0] - completion_logps(logits, without)[0]
    torch.testing.assert_close(difference, last, rtol=0, atol=1e-5)
    assert last < -0.01


def test_another_ignore_index():
    logits, labels = batch()
    other = labels.masked_fill(labels == -100, -1)
    assert torch.equal(completion_logps(logits, other, ignore_index=-1), completion_logps(logits, labels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_raised_before_the_softmax(dtype):
    """Values and gradients equal those of the fp32 log-softmax of the same numbers; the low-precision one is far off."""
    logits, labels = batch(dtype)
    labels = labels.clamp_min(0)
    low, high = logits.clone().requires_grad_(), logits.float().requires_grad_()
    found = selective_logps(low, labels)
    expected = torch.log_softmax(high, -1).gather(-1, labels[..., None])[..., 0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    naive = torch.log_softmax(logits, -1).gather(-1, labels[..., None])[..., 0].float()
    assert (naive - expected).abs().max() > 10 * (found - expected).abs().max()
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    found.backward(upstream)
    expected.backward(upstream)
    rounding = torch.finfo(dtype).eps / 2  # the gradient is rounded once, at the end
    torch.testing.assert_close(low.grad.float(), high.grad, rtol=rounding * 1.01, atol=1e-6)


def test_no_gradient_is_kept_where_none_is_asked_for():
    logits, labels = batch(torch.bfloat16)
    with torch.no_grad():
        assert not completion_logps(logits.requires_grad_(), labels).requires_grad
