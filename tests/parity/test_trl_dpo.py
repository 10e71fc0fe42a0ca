"""trl_ext's MODPOTrainer at w = 1, and with a margin of weight 0, is TRL's DPOTrainer to the last digit, in both versions."""

from importlib.util import find_spec

import pytest

from tests.tiny import build_model, preference_rows, write_rows

from .conftest import chosen
from .outcomes import NOTHING, judge
from .rows import FORMS, trl_form, trl_implicit, trl_texts
from .variants import Variant, check

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed in this environment"),
]
SUITE = "TRL's DPOTrainer"
LIMITS = {
    "no margin": None,
    "function": [{"function": "brevity", "weight": 0.0}],
    "adapter": [{"adapter": "@adapter", "weight": 0.0}],
}
LOSSES = (
    "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "discopop", "apo_zero", "apo_down", "sft",
)  # fmt: skip


def V(
    config: dict | None = None, data: str = "pairs", refused: dict | None = None, upstream: str | None = None, **given
):
    return Variant({"config": config or {}, **given}, data, refused or {}, upstream)


FULL = {"learning_rate": 1e-4}
EVALUATED = {"eval_strategy": "steps", "eval_steps": 2}
NO_REFERENCE = dict.fromkeys(("function", "adapter"), "has no reference term")
NOISY = dict.fromkeys(("function", "adapter"), "would put noise on the embeddings")
VARIANTS = {
    "plain": V(lora={}),
    **{loss: V({"loss_type": [loss]}, lora={}) for loss in LOSSES if loss != "sft"},
    "sft": V({"loss_type": ["sft"]}, lora={}, refused=NO_REFERENCE),
    "exo_pair": V({"loss_type": ["exo_pair"], "label_smoothing": 0.01}, lora={}),
    "robust": V({"loss_type": ["robust"], "label_smoothing": 0.1}, lora={}),
    "label smoothing": V({"label_smoothing": 0.1}, lora={}),
    "mixed losses": V({"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}, lora={}),
    "js divergence": V({"f_divergence_type": "js_divergence"}, lora={}),
    "alpha divergence": V({"f_divergence_type": "alpha_divergence"}, lora={}),
    "weighting": V({"use_weighting": True}, lora={}),
    "length desensitised": V({"ld_alpha": 0.5}, lora={}),
    "full": V(FULL),
    "full, another reference": V(FULL, ref_model="@other"),
    "full, moving reference": V(
        FULL | {"sync_ref_model": True, "ref_model_sync_steps": 1}, refused={"adapter": "sync_ref_model"}
    ),
    "lora, another reference": V(lora={}, ref_model="@other"),
    "lora dropout": V({"disable_dropout": False}, lora={"lora_dropout": 0.2}),
    "dora": V(lora={"use_dora": True}),
    "noise": V({"neftune_noise_alpha": 5}, lora={}, refused=NOISY),
    "noise, precomputed": V({"neftune_noise_alpha": 5, "precompute_ref_log_probs": True}, lora={}),
    "continued adapter": V(adapter="@adapter"),
    "multi-turn": V(lora={}, data="multi_turn"),
    "sides that part early": V(lora={}, data="early_parting"),
    "plain texts": V(lora={}, data="texts"),
    "prompt in both sides": V(lora={}, data="implicit"),
    "truncated at the front": V({"max_length": 40, "truncation_mode": "keep_end"}, lora={}, data="uneven"),
    "padded to a multiple": V({"pad_to_multiple_of": 16}, lora={}),
    "truncated": V({"max_length": 64}, lora={}, data="long_answers"),
    "precomputed": V({"precompute_ref_log_probs": True}, lora={}),
    "precomputed, full": V(FULL | {"precompute_ref_log_probs": True}),
    "streaming": V(lora={}, stream=True),
    "evaluation": V(EVALUATED, lora={}, evaluation="@held_out"),
    "two evaluation sets": V(EVALUATED, lora={}, evaluation={"a": "@held_out", "b": "@multi_turn"}),
    "compute_metrics": V(EVALUATED, lora={}, evaluation="@held_out", compute_metrics=True),
    "callbacks": V(EVALUATED, lora={}, evaluation="@held_out", callback=True),
    "positional arguments": V(lora={}, positional=True),
    "model card": V(lora={}, card=True),
    "accumulation": V({"gradient_accumulation_steps": 2}, lora={}),
    "epochs": V({"max_steps": -1, "num_train_epochs": 2, "per_device_train_batch_size": 8}, lora={}),
    "schedule": V(
        {"lr_scheduler_type": "cosine", "warmup_steps": 1, "max_grad_norm": 0.1, "weight_decay": 0.2}, lora={}
    ),
    "bfloat16 autocast": V({"bf16": True}, lora={}),
    "gradient checkpointing": V({"gradient_checkpointing": True}, lora={}),
    "checkpoints": V({"save_strategy": "steps", "save_steps": 2}, lora={}),
}

WITHOUT_MARGIN = (
    "plain",
    "sft",
    "full",
    "precomputed",
    "streaming",
    "two evaluation sets",
    "compute_metrics",
    "model card",
    "checkpoints",
)
WITH_ADAPTER = (
    "plain", "ipo", "sft", "mixed losses", "weighting", "noise", "noise, precomputed", "full", "full, moving reference", "lora, another reference", "lora dropout", "dora",
    "continued adapter", "sides that part early", "truncated", "precomputed", "precomputed, full", "streaming", "evaluation",
    "compute_metrics", "callbacks", "accumulation", "bfloat16 autocast", "checkpoints",
)  # fmt: skip
CASES = [
    *((name, "function") for name in VARIANTS if name != "model card"),
    *((name, "no margin") for name in WITHOUT_MARGIN),
    *((name, "adapter") for name in WITH_ADAPTER),
]


@pytest.fixture(scope="module")
def answers(request, workers, tiny, adapter, tmp_path_factory):
    """{run: answer}."""
    folder = tmp_path_factory.mktemp("runs")
    places = {name: write_rows(folder / f"{name}.jsonl", trl_form(form())) for name, form in FORMS.items()}
    for name, made in (("texts", trl_texts), ("implicit", trl_implicit)):
        places[name] = write_rows(folder / f"{name}.jsonl", made(preference_rows()))
    places |= {"adapter": adapter, "other": build_model(folder / "other", seed=4)}

    def placed(value):
        if isinstance(value, dict):
            return {key: placed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [placed(one) for one in value]
        return str(places[value[1:]]) if isinstance(value, str) and value.startswith("@") else value

    runs, cases = [], chosen(request, "name", "limit")
    for name in dict.fromkeys(name for name, _ in cases):
        variant = VARIANTS[name]
        common = {"call": "dpo", "model": tiny, "data": places[variant.data], **placed(variant.flags)}
        runs.append({"name": name, "ours": False, "folder": folder / "stock" / name, **common})
        for limit in [limit for one, limit in cases if one == name]:
            given = {"ours": True, "margins": placed(LIMITS[limit]), "folder": folder / limit / name}
            runs.append({"name": f"{name}, {limit}", **given, **common})
    runs.append({"name": "args=None", "call": "without_args", "model": tiny, "data": places["pairs"]})
    return workers("tests.parity.trl_worker", {"module": "tests.parity.trl_runs", "runs": runs}, "trl")


@pytest.mark.parametrize(("name", "limit"), CASES)
def test_the_limit_is_stock_dpo(answers, count, name, limit):
    check(count, SUITE, VARIANTS[name], limit, answers[name], answers[f"{name}, {limit}"])


def test_args_none_is_refused_with_the_difference(answers, count):
    """The stock class makes its own DPOConfig; ours has a weight without a default."""
    outcome = judge(NOTHING, answers["args=None"])
    count(SUITE, outcome)
    assert outcome.kind == "refused" and "MODPOConfig(output_dir=..., w=1.0) without margins is DPO" in outcome.why, (
        outcome
    )
