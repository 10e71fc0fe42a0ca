"""The stock loss code of ms-swift's DPOTrainer, fed by MODPOTrainer: worked numbers in fp64, and the limit of plain DPO.

Objects are made without their constructors; `concatenated_forward` returns given log-probs, everything behind it is real.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trl_ext.modpo.margins import Margin
from trl_ext.objectives.unscored import UnscoredPairs

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "modpo.json").read_text())["modpo_loss"]
LOSS_TYPES = [
    "sigmoid", "hinge", "ipo", "robust", "exo_pair", "bco_pair", "sppo_hard", "nca_pair", "aot", "aot_unpaired", "apo_zero",
    "apo_down", "discopop",
]  # fmt: skip


def bare(cls, policy: dict, reference: dict, beta: float, loss_type: str, **attributes):
    """A trainer whose policy and reference have the given log-probs."""
    from trl.experimental.bco.bco_trainer import RunningMoments

    accelerator = SimpleNamespace(
        device=torch.device("cpu"),
        gather_for_metrics=lambda x: x,
        gather=lambda x: x,
        use_distributed=False,
        num_processes=1,
    )
    trainer = object.__new__(cls)
    extra = {"mean_chosen_logits": torch.zeros(1), "mean_rejected_logits": torch.zeros(1), "nll_loss": torch.ones(1)}
    counts = {
        f"{side}_completion_token_counts": torch.arange(3, 3 + len(policy["chosen_logps"]))
        for side in ("chosen", "rejected")
    }
    values = {
        "accelerator": accelerator, "beta": beta, "label_smoothing": 0.1 if loss_type == "robust" else 0.0,
        "reference_free": False, "f_divergence_type": "reverse_kl", "f_divergence_params": {}, "loss_type": [loss_type],
        "loss_weights": None, "use_weighting": False, "aux_loss_enabled": False, "ref_model": "given", "model": None,
        "ref_adapter_name": None, "_peft_has_been_casted_to_bf16": False, "running": RunningMoments(accelerator),
        "args": SimpleNamespace(beta=beta, discopop_tau=0.05, rpo_alpha=None),
        "label_pad_token_id": -100, "template": SimpleNamespace(sequence_parallel_size=1, padding_free=False),
        "concatenated_forward": lambda model, batch, is_ref_model=False: {**(reference if is_ref_model else policy), **extra, **counts},
    } | attributes  # fmt: skip
    trainer.__dict__.update(values)
    return trainer


def stock_of(module) -> type:
    """ms-swift's own trainer, the one above MODPOTrainer that loads no code of the pack."""
    return next(one for one in module.MODPOTrainer.__mro__ if one.__module__ == "swift.rlhf_trainers.dpo_trainer")


def modpo(module, policy, reference, beta, w, margins, values, loss_type):
    """As the constructor leaves it: beta / w, and a source of margins in place of adapters."""
    trainer = bare(
        module.MODPOTrainer,
        policy,
        reference,
        beta,
        loss_type,
        margins=margins,
        store=None,
        live="given" if margins else None,
    )
    trainer.beta, trainer._unscored = beta / w, UnscoredPairs()
    if margins:
        trainer.reference_and_margins = lambda batch: (
            torch.cat([reference["chosen_logps"], reference["rejected_logps"]]), values,
        )  # fmt: skip
    return trainer


def batch(pairs: int) -> dict:
    """Two scored tokens a side."""
    return {"labels": torch.ones(2 * pairs, 2, dtype=torch.long)}


def sides(case: dict, prefix: str, **options) -> dict:
    return {
        f"{side}_logps": torch.tensor(case[f"{prefix}_{side}_logps"], dtype=torch.float64, **options)
        for side in ("chosen", "rejected")
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_stock_loss_gives_the_worked_numbers(case, modpo_module):
    """Loss, h of both sides and gradients, to 1e-12 of the magnitudes that are summed."""
    policy, reference = sides(case, "policy", requires_grad=True), sides(case, "ref")
    margins = [Margin(f"m{j}", "function", "brevity", "reward", w, 1.0) for j, w in enumerate(case["w"][1:])]
    values = torch.tensor(case["margin_chosen"] + case["margin_rejected"], dtype=torch.float64)
    trainer = modpo(modpo_module, policy, reference, case["beta"], case["w"][0], margins, values, case["loss_type"])
    shifted = trainer.compute_ref_log_probs(batch(len(values) // 2))
    losses, chosen, rejected = trainer.dpo_loss(*policy.values(), *shifted, case["loss_type"])
    losses.sum().backward()
    scale = max(1.0, *(abs(v) for v in case["chosen_rewards"] + case["rejected_rewards"] + case["losses"]))
    scale = max(scale, case["beta"] / case["w"][0] * max(abs(v) for v in case["policy_chosen_logps"]))
    for found, expected in [
        (losses, case["losses"]), (chosen, case["chosen_rewards"]), (rejected, case["rejected_rewards"]),
        (policy["chosen_logps"].grad, case["d_sumloss_d_policy_chosen"]),
        (policy["rejected_logps"].grad, case["d_sumloss_d_policy_rejected"]),
    ]:  # fmt: skip
        expected = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-12 * scale)


def random_sides(seed: int, **options) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{side}_logps": (torch.randn(6, generator=generator) * 3 - 40).requires_grad_(**options)
        for side in ("chosen", "rejected")
    }


@pytest.mark.parametrize("train_eval", ["train", "eval"])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_without_margins_and_w_one_every_loss_type_is_stock_to_the_last_bit(loss_type, train_eval, modpo_module):
    """Loss, metrics (names included) and gradients."""
    stock_class = stock_of(modpo_module)
    results = []
    for build in ("stock", "modpo"):
        policy, reference = random_sides(0), random_sides(1, requires_grad=False)
        trainer = (
            bare(stock_class, policy, reference, 0.1, loss_type)
            if build == "stock"
            else modpo(modpo_module, policy, reference, 0.1, 1.0, [], None, loss_type)
        )
        loss, metrics = trainer.get_batch_loss_metrics(None, batch(6), train_eval)
        loss.backward()
        results.append((loss.detach(), metrics, [value.grad for value in policy.values()]))
    (stock_loss, stock_metrics, stock_gradients), (loss, metrics, gradients) = results
    assert torch.equal(loss, stock_loss)
    assert metrics == stock_metrics
    for found, expected in zip(gradients, stock_gradients, strict=True):
        assert torch.equal(found, expected) and found.abs().max() > 0


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_every_loss_type_sees_beta_over_w_and_the_shifted_reference(loss_type, modpo_module):
    """The same as stock DPO with both written in by hand; a margin with gap moves every loss."""
    policy, reference = random_sides(0), random_sides(1, requires_grad=False)
    values = torch.randn(12, 2, generator=torch.Generator().manual_seed(2)) * 5
    margins = [Margin("a", "adapter", "x", "reward", 0.3, 0.5), Margin("b", "function", "brevity", "cost", 0.2, 1.0)]
    loss, metrics = modpo(modpo_module, policy, reference, 0.1, 0.5, margins, values, loss_type).get_batch_loss_metrics(
        None, batch(6)
    )
    # shift = (0.3 * 0.5 m_a - 0.2 m_b) / 0.1
    shift = ((0.15 * values[:, 0] - 0.2 * values[:, 1]) / 0.1).chunk(2)
    moved = {key: value + shift[i] for i, (key, value) in enumerate(reference.items())}
    stock_class = stock_of(modpo_module)
    expected, _ = bare(stock_class, policy, moved, 0.2, loss_type).get_batch_loss_metrics(None, batch(6))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    unmoved, _ = bare(stock_class, policy, reference, 0.2, loss_type).get_batch_loss_metrics(None, batch(6))
    assert abs(loss - unmoved) > 1e-3
    assert metrics["margin_rewards/a/chosen"] == pytest.approx(0.5 * values[:6, 0].mean().item(), abs=1e-5)
    gap = values[:6, 1].mean() - values[6:, 1].mean()
    assert metrics["margin_rewards/b/gap"] == pytest.approx(gap.item(), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_summed_in_fp32_only_when_margins_are_at_stake(dtype, modpo_module):
    """With margins: values of the fp32 log-softmax. Without: the parent's values, so that w = 1 stays plain DPO."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 7, 40, generator=generator).mul(4).to(dtype)
    labels = torch.randint(0, 40, (2, 7), generator=generator)
    labels[0, :3] = -100
    mask = labels != -100
    expected = torch.log_softmax(logits.float(), -1).gather(-1, labels.clamp_min(0)[..., None])[..., 0] * mask
    template = SimpleNamespace(sequence_parallel_size=1)
    results = {}
    for name, margins in {"with": [Margin("a", "adapter", "x", "reward", 0.3, 0.5)], "without": []}.items():
        trainer = bare(
            modpo_module.MODPOTrainer, random_sides(0), {}, 0.1, "sigmoid", margins=margins, template=template
        )
        results[name] = trainer.get_per_token_logps(logits.clone(), labels)
    stock = bare(stock_of(modpo_module), random_sides(0), {}, 0.1, "sigmoid", template=template)
    parent = stock.get_per_token_logps(logits.clone(), labels)
    logps, means, found_mask = results["with"]
    torch.testing.assert_close(logps, expected, rtol=0, atol=1e-5)
    assert torch.equal(means, parent[1]) and torch.equal(found_mask, mask)
    for found, wanted in zip(results["without"], parent, strict=True):
        assert torch.equal(found, wanted)
    assert (parent[0].float() - expected).abs().max() > 1e-3


def test_a_margin_that_is_not_finite_names_margin_side_pair_step_and_text(modpo_module):
    margins = [Margin("a", "adapter", "x", "reward", 0.3, 1.0), Margin("b", "adapter", "x", "reward", 0.2, 1.0)]
    values = torch.zeros(4, 2)
    values[3, 1] = torch.nan  # rejected half, second pair
    policy = reference = {f"{side}_logps": torch.zeros(2) for side in ("chosen", "rejected")}
    trainer = modpo(modpo_module, policy, reference, 0.1, 0.5, margins, values, "sigmoid")
    trainer.state = SimpleNamespace(global_step=17)
    trainer.template = SimpleNamespace(
        sequence_parallel_size=1,
        padding_free=False,
        tokenizer=SimpleNamespace(decode=lambda ids, **_: f"text of {ids.tolist()}"),
    )
    trainer.processing_class = trainer.template.tokenizer
    with pytest.raises(
        ValueError, match=r"margin 'b' is nan for the rejected side of pair 1 of step 17: 'text of \[3\]'"
    ):
        trainer.compute_ref_log_probs(batch(2) | {"input_ids": torch.arange(4)[:, None]})
