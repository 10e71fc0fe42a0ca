"""MOODPO with one objective and D2PO with gold everywhere are TRL's online DPO to the last digit, in both versions."""

from importlib.util import find_spec

import pytest

from tests.tiny import build_adapter, build_model

from .conftest import chosen
from .outcomes import NOTHING, judge
from .variants import Variant, check

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed in this environment"),
]
LIMITS = ("moodpo", "gold", "labels")
SUITES = {
    "moodpo": "TRL's OnlineDPOTrainer, MOODPO",
    "gold": "TRL's OnlineDPOTrainer, D2PO",
    "labels": "TRL's OnlineDPOTrainer, D2PO",
}


def V(config: dict | None = None, refused: dict | None = None, **given):
    return Variant({"config": config or {}, **given}, refused=refused or {})


D2PO = ("gold", "labels")
VARIANTS = {
    "plain": V(lora={}),
    "full": V({"learning_rate": 1e-3}),
    "another reference": V(lora={}, ref_model="@other"),
    "full, another reference": V({"learning_rate": 1e-3}, ref_model="@other"),
    "ipo": V({"loss_type": "ipo"}, lora={}),
    "beta": V({"beta": 0.05}, lora={}),
    "plain prompts": V(lora={}, texts=True),
    "sampling": V({"temperature": 0.7, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.1}, lora={}),
    "generation_kwargs": V({"generation_kwargs": {"min_new_tokens": 3}}, lora={}),
    "long answers": V({"max_new_tokens": 16}, lora={}),
    "missing EOS": V({"missing_eos_penalty": 1.0}, lora={}, refused=dict.fromkeys(D2PO, "--missing_eos_penalty")),
    "dropout": V({"disable_dropout": False}, lora={"lora_dropout": 0.2}),
    "dora": V(lora={"use_dora": True}),
    "schedule": V(
        {"lr_scheduler_type": "cosine", "warmup_steps": 1, "max_grad_norm": 0.1, "weight_decay": 0.2}, lora={}
    ),
    "batch of two": V({"per_device_train_batch_size": 2}, lora={}),
    "bfloat16 autocast": V({"bf16": True}, lora={}),
    "gradient checkpointing": V({"gradient_checkpointing": True}, lora={}),
    "checkpoints": V({"save_strategy": "steps", "save_steps": 2}, lora={}),
    "callbacks": V(lora={}, callback=True),
}
ALL_LABELS = ("plain", "full", "another reference", "ipo", "plain prompts", "missing EOS", "checkpoints")
CASES = [
    *((name, limit) for name in VARIANTS for limit in ("moodpo", "gold")),
    *((name, "labels") for name in ALL_LABELS),
]
REFUSED = (
    "judge",
    "reward_funcs",
    "reward_processing_classes",
    "compute_metrics",
    "preprocess_logits_for_metrics",
    "args",
    "model",
    "train_dataset",
    "positional",
)


@pytest.fixture(scope="module")
def answers(request, workers, tmp_path_factory):
    """{run: answer}."""
    folder = tmp_path_factory.mktemp("online")
    model = build_model(folder / "model", end_gain=1.5)
    places = {
        "other": build_model(folder / "other", seed=4, end_gain=1.5),
        "adapter": build_adapter(model, folder / "adapter"),
    }

    def placed(flags: dict) -> dict:
        return {key: str(places[value[1:]]) if isinstance(value, str) else value for key, value in flags.items()}

    runs, cases = [], chosen(request, "name", "limit")
    for name in dict.fromkeys(name for name, _ in cases):
        variant = VARIANTS[name]
        common = {"model": model, **placed(variant.flags)}
        for limit in ("moodpo", "gold"):
            runs.append(
                {
                    "name": f"{name}, stock {limit}",
                    "call": "stock",
                    "limit": limit,
                    "folder": folder / f"s{limit}" / name,
                    **common,
                }
            )
        for limit in [limit for one, limit in cases if one == name]:
            runs.append(
                {"name": f"{name}, {limit}", "call": "ours", "limit": limit, "folder": folder / limit / name, **common}
            )
    # Upstream sums the gradients of accumulated batches; half of the rate and no clipping make that sum our mean.
    summed = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2, "optim": "sgd", "max_grad_norm": 0.0}
    for limit in LIMITS:
        common = {"limit": limit, "model": model, "lora": {}}
        for call, rate in (("stock", 0.25), ("ours", 0.5)):
            given = {"call": call, "config": summed | {"learning_rate": rate}, "folder": folder / f"sum-{limit}-{call}"}
            runs.append({"name": f"accumulation, {call} {limit}", **given, **common})
    for trainer in ("moodpo", "d2po"):
        common = {"model": model, "trainer": trainer, "folder": folder / f"other-{trainer}"}
        runs += [{"name": f"{one}, {trainer}", "call": "refused", "argument": one, **common} for one in REFUSED]
        runs.append({"name": f"evaluated, {trainer}", "call": "evaluated", **common})
    return workers("tests.parity.trl_worker", {"module": "tests.parity.online_runs", "runs": runs}, "online")


@pytest.mark.parametrize(("name", "limit"), CASES)
def test_the_limit_is_stock_online_dpo(answers, count, name, limit):
    stock = answers[f"{name}, stock {'moodpo' if limit == 'moodpo' else 'gold'}"]
    check(count, SUITES[limit], VARIANTS[name], limit, stock, answers[f"{name}, {limit}"])


@pytest.mark.parametrize("limit", LIMITS)
def test_accumulated_gradients_are_the_mean_of_what_stock_sums(answers, limit):
    """The one difference of a step, documented at `OnlineTrainer`: with twice the rate the weights are the same."""
    stock, ours = (answers[f"accumulation, {call} {limit}"] for call in ("stock", "ours"))
    assert ours["weights"] == stock["weights"]
    norms = [
        (row["grad_norm"], other["grad_norm"])
        for row, other in zip(stock["log"], ours["log"], strict=True)
        if "grad_norm" in row
    ]
    assert len(norms) == 3 and all(summed == 2 * mean > 0 for summed, mean in norms)


@pytest.mark.parametrize("trainer", ["moodpo", "d2po"])
@pytest.mark.parametrize("argument", REFUSED)
def test_an_argument_that_would_have_no_effect_is_refused(answers, count, argument, trainer):
    outcome = judge(NOTHING, answers[f"{argument}, {trainer}"])
    count(SUITES["moodpo" if trainer == "moodpo" else "gold"], outcome)
    assert outcome.kind == "refused" and ("args" if argument == "positional" else argument) in outcome.why, outcome


@pytest.mark.parametrize("trainer", ["moodpo", "d2po"])
def test_a_dictionary_of_evaluation_sets_gives_the_metrics_of_each(answers, trainer):
    answer = answers[f"evaluated, {trainer}"]
    assert "error" not in answer, answer
    of_both, of_each = (
        {key: value for key, value in answer[one].items() if key != "epoch"} for one in ("together", "alone")
    )
    assert of_both == of_each and {key.split("_")[1].split("/")[0] for key in of_both} == {"a", "b"}
