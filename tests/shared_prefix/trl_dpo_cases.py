"""Shared prefixes in TRL's DPO, stock and MODPO. Run by test_trl_dpo.py in a process that never sees ms-swift, whose import
deletes the constructors of TRL's trainers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, LlamaModel
from trl import DPOConfig, DPOTrainer

from tests.tiny import build_adapter, build_model, preference_rows, write_rows
from tests.trl_modpo.conftest import trl_rows
from trl_ext import MODPOConfig, MODPOTrainer, SharedPrefixDPO

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
STEPS = 20


class StockShared(SharedPrefixDPO, DPOTrainer):
    shared_prefix = "on"


class StockAuto(SharedPrefixDPO, DPOTrainer):
    """As a user writes it."""


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return build_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def adapter(base, tmp_path_factory) -> str:
    return str(build_adapter(base, tmp_path_factory.mktemp("adapter") / "margin"))


def pairs(count: int = 48, seed: int = 0) -> Dataset:
    return Dataset.from_list(trl_rows(preference_rows(count, seed)))


def build(
    cls,
    base,
    folder,
    lora=True,
    model=None,
    metrics=None,
    evaluation=False,
    peft=None,
    data=None,
    ref_model=None,
    **config,
):
    """A trainer that counts the places its model computes in `places` and keeps every loss in `losses`."""

    class Recorded(cls):
        def compute_loss(self, *args, **kwargs):
            result = super().compute_loss(*args, **kwargs)
            self.losses.append((result[0] if isinstance(result, tuple) else result).item())
            return result

    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "max_steps": STEPS,
        "learning_rate": 1e-3, "lr_scheduler_type": "constant", "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "max_length": 96, "seed": 7,
        "beta": 0.1, "disable_tqdm": True,
    } | config  # fmt: skip
    modpo = issubclass(cls, MODPOTrainer)
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32) if model is None else model
    places = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, given: places.append(given[0].numel()))
    Recorded.losses = []
    trainer = Recorded(
        model,
        ref_model=ref_model,
        args=MODPOConfig(**{"w": 1.0} | settings) if modpo else DPOConfig(**settings),
        train_dataset=pairs() if data is None else data,
        eval_dataset=pairs(5, seed=1) if evaluation else None,
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=(LoraConfig(**LORA) if lora else None) if peft is None else peft,
        compute_metrics=metrics,
    )
    trainer.places = places
    return trainer


def trained(*args, **options):
    trainer = build(*args, **options)
    trainer.train()
    return trainer


def rows_of(trainer) -> list[dict[str, float]]:
    """What was logged, without clocks."""
    left_out = ("runtime", "per_second", "flos", "epoch", "total_")
    rows = [
        {k: v for k, v in row.items() if not any(word in k for word in left_out)} for row in trainer.state.log_history
    ]
    return [row for row in rows if row]


def decided(row: dict[str, float], plain: dict[str, float]) -> dict[str, float]:
    """Without accuracies where `plain` has no margin: before the first step rounding alone says which of a pair is higher."""
    undecided = abs(plain.get("rewards/margins", 1.0)) < 1e-5
    return {name: value for name, value in row.items() if not (undecided and "accuracies" in name)}


def assert_same(plain, shared, share: float = 0.9) -> None:
    """Losses to 1e-5, everything else that is logged nearly so; and at most `share` of the places were computed."""
    assert len(plain.losses) == len(shared.losses) >= STEPS and len(set(plain.losses)) > 10
    np.testing.assert_allclose(shared.losses, plain.losses, rtol=1e-5, atol=1e-6)
    for expected, found in zip(rows_of(plain), rows_of(shared), strict=True):
        assert decided(found, expected) == pytest.approx(decided(expected, expected), rel=1e-4, abs=1e-4)
    assert sum(shared.places) < share * sum(plain.places), sum(shared.places) / sum(plain.places)


def sums_of_columns(prediction) -> dict[str, float]:
    """A user's compute_metrics: the columns where a token stands must hold the logits of that token."""
    logits = prediction.predictions
    real = prediction.label_ids > 0
    return {"mean_logit": float(logits[real].mean()), "columns": float(logits.shape[1]), "tokens": float(real.sum())}


VARIANTS = {
    "sigmoid": {},
    "mixed": {"loss_type": ["sigmoid", "ipo", "sft"], "loss_weights": [1.0, 0.1, 0.5]},
    "tails": {"ld_alpha": 0.5, "gradient_accumulation_steps": 2},
    "divergence": {"f_divergence_type": "js_divergence", "gradient_checkpointing": True, "lora": False, "learning_rate": 1e-4},
    "weighting": {"use_weighting": True, "max_length": 60, "truncation_mode": "keep_end"},
    "precomputed": {"precompute_ref_log_probs": True},
    "evaluation": {"evaluation": True, "eval_strategy": "steps", "eval_steps": 10, "metrics": sums_of_columns},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_stock_dpo_is_the_same_with_its_prompts_shared(base, tmp_path, name):
    plain = trained(DPOTrainer, base, tmp_path / "plain", **VARIANTS[name])
    shared = trained(StockShared, base, tmp_path / "shared", **VARIANTS[name])
    assert_same(plain, shared, 0.98 if name == "weighting" else 0.9)  # what is cut at the front no longer begins alike


MODPO_VARIANTS = {
    "no margin": {},
    "live": {"w": 0.5, "margin_adapter": True, "gradient_accumulation_steps": 2},
    "live, all weights": {"w": 0.5, "margin_adapter": True, "lora": False, "learning_rate": 1e-4, "gradient_checkpointing": True},
    "precomputed": {"w": 0.5, "margin_adapter": True, "precompute_ref_log_probs": True},
    "evaluation": {"w": 0.5, "margin_adapter": True, "evaluation": True, "eval_strategy": "steps", "eval_steps": 10,
                   "metrics": sums_of_columns},
}  # fmt: skip


@pytest.mark.parametrize("name", MODPO_VARIANTS)
def test_modpo_is_the_same_with_its_prompts_shared(base, adapter, tmp_path, name):
    """Policy, reference and margin: fewer places in each of them."""
    options = MODPO_VARIANTS[name]
    if "margin_adapter" in options:
        options = options | {"margin_adapter": adapter}
    plain, shared = (
        trained(MODPOTrainer, base, tmp_path / setting, shared_prefix=setting, **options) for setting in ("off", "on")
    )
    assert_same(plain, shared)
    assert len(shared.places) <= len(plain.places) + 2  # and no pass more, but those of the first batch's comparison


def test_every_pass_of_a_step_shares(base, adapter, tmp_path):
    """One batch: the policy, the reference and the margin see the same number of places, fewer than the batch has."""
    trainer = trained(
        MODPOTrainer, base, tmp_path, shared_prefix="on", w=0.5, margin_adapter=adapter, max_steps=1,
        train_sampling_strategy="sequential",
    )  # fmt: skip
    plain, comparison, *passes = trainer.places
    assert len(passes) == 3 and len(set(passes)) == 1, trainer.places
    batch = trainer.data_collator([trainer.train_dataset[row] for row in (0, 1)])
    assert comparison < plain and passes[0] < batch["input_ids"].numel()


def test_auto_shares_where_it_pays_and_says_what_it_saves(base, tmp_path, capsys):
    """Long prompts and short answers share, short prompts and long answers stay plain; the log says both."""
    rows = trl_rows(preference_rows(6))
    times = {"long": (2, 1), "short": (0, 8)}  # of the prompt, of both answers
    places, logs = {}, {}
    for name, counts in times.items():
        columns = zip(("prompt", "chosen", "rejected"), (*counts, counts[1]), strict=True)
        data = {
            key: [[one | {"content": one["content"] * n} for one in row[key]] for row in rows] for key, n in columns
        }
        data = Dataset.from_dict(data)
        for cls, precomputed in ((DPOTrainer, False), (StockAuto, False), (StockAuto, True)):
            capsys.readouterr()
            trainer = trained(
                cls,
                base,
                tmp_path / name,
                data=data,
                max_steps=3,
                max_length=None,
                precompute_ref_log_probs=precomputed,
            )
            places[name, cls, precomputed], logs[name, cls, precomputed] = trainer.places, capsys.readouterr().out
    for name, share in (("long", 0.75), ("short", 1.0)):
        stock, (_, _, *ours) = (places[name, cls, False] for cls in (DPOTrainer, StockAuto))  # two are the comparison
        assert len(ours) == len(stock) == 6
        assert (ours == stock) if share == 1.0 else sum(ours) < share * sum(stock), (name, ours, stock)
    assert "shared prefixes: the first batch computes 6" in logs["long", StockAuto, False]
    assert "too many to pay (above 90%): such batches stay plain" in logs["short", StockAuto, False]
    assert "allowed: 0.001" in logs["long", StockAuto, True]
    assert "shared prefixes are off because the rows would still compute 9" in logs["short", StockAuto, True]


class Switched(SharedPrefixDPO, DPOTrainer):
    """One class for both settings: the parent's digest of the rows depends on the class."""


@pytest.mark.parametrize("cls", [Switched, MODPOTrainer], ids=["stock", "modpo"])
def test_precomputed_columns_of_one_path_are_not_read_by_the_other(base, adapter, tmp_path, cls):
    """Columns are kept beside the data: a run with shared prefixes computes its own, and finds those again."""
    file = write_rows(tmp_path / "pairs.jsonl", trl_rows(preference_rows(8)))
    options = {"precompute_ref_log_probs": True, "lora": True}
    if cls is MODPOTrainer:
        options |= {"w": 0.5, "margin_adapter": adapter}
    places = []
    for setting in ("off", "on", "on"):
        data = Dataset.from_json(str(file), cache_dir=str(tmp_path / "cache"))
        this = {"shared_prefix": setting} if cls is MODPOTrainer else {}
        Switched.shared_prefix = setting
        places.append(sum(build(cls, base, tmp_path / "run", data=data, **options, **this).places))
    assert places[2] == 0 < places[1] and 0 < places[0] != places[1], places


def test_a_resumed_run_ends_where_the_whole_one_does(base, adapter, tmp_path):
    """Bit for bit, although its first batch is compared anew."""
    options = {"w": 0.5, "margin_adapter": adapter, "shared_prefix": "auto", "save_strategy": "steps", "save_steps": 4}
    whole = trained(MODPOTrainer, base, tmp_path, max_steps=8, **options)
    resumed = build(MODPOTrainer, base, tmp_path, max_steps=8, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert resumed.losses == whole.losses[4:] and len(set(resumed.losses)) == 4
    one, other = (dict(trainer.model.named_parameters()) for trainer in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


HINDERED = {
    "noise": ({"neftune_noise_alpha": 5, "precompute_ref_log_probs": True}, "neftune_noise_alpha is 5, and rows that share"),
    "dropout": ({"disable_dropout": False, "peft": LoraConfig(**LORA, lora_dropout=0.1)}, "lora_dropout is 0.1, and rows"),
    "attention dropout": ({"attention_dropout": 0.1, "disable_dropout": False}, "attention_dropout is 0.1, and rows"),
    "prompt tuning": ({"peft": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)}, "the PEFT method learns a prompt"),
}  # fmt: skip


@pytest.mark.parametrize("name", HINDERED)
def test_what_cannot_share_is_refused_under_on_and_plain_under_auto(base, tmp_path, capsys, name):
    options, reason = HINDERED[name]
    options = dict(options)
    dropout = options.pop("attention_dropout", 0.0)

    def policy():
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attention_dropout=dropout)

    with pytest.raises(ValueError, match=f"shared_prefix is on, but rows cannot share because {reason}"):
        build(StockShared, base, tmp_path, model=policy(), **options)
    capsys.readouterr()
    trainer = build(StockAuto, base, tmp_path, model=policy(), max_steps=1, **options)
    assert f"shared prefixes are off because {reason}" in capsys.readouterr().out and trainer.prefixes is None


def test_a_reference_of_another_kind_hinders_too(base, tmp_path):
    reference = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attention_dropout=0.1)
    with pytest.raises(ValueError, match=r"because of the reference model: attention_dropout is 0\.1"):
        build(StockShared, base, tmp_path, ref_model=reference, lora=False)


class Displaced(LlamaModel):
    """A model planted to be wrong: it counts places as positions."""

    def forward(self, *args, position_ids=None, **kwargs):
        return super().forward(*args, **kwargs)


class Wrong(LlamaForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.model = Displaced(config)
        self.post_init()


@pytest.mark.parametrize("cls", [StockShared, StockAuto, MODPOTrainer])
def test_a_model_for_which_sharing_is_wrong_stops_the_run(base, tmp_path, cls):
    model = Wrong.from_pretrained(base, dtype=torch.float32)
    trainer = build(cls, base, tmp_path, model=model)
    with pytest.raises(
        ValueError, match=r"shared prefixes are wrong for this model \(llama\): log-probs of the first batch"
    ):
        trainer.train()


@pytest.mark.parametrize(
    ("given", "kept"), [("on", "on"), ("off", "off"), ("auto", "auto"), (True, "on"), (False, "off")]
)
def test_words_of_the_setting(tmp_path, given, kept):
    """A bare `on` of a YAML file is true."""
    assert (
        MODPOConfig(output_dir=str(tmp_path), w=1.0, shared_prefix=given, use_cpu=True, bf16=False).shared_prefix
        == kept
    )


def test_a_misspelt_setting_names_the_nearest(tmp_path):
    with pytest.raises(
        ValueError, match=r"shared_prefix is 'atuo': valid are \['auto', 'on', 'off'\]; did you mean 'auto'"
    ):
        MODPOConfig(output_dir=str(tmp_path), w=1.0, shared_prefix="atuo", use_cpu=True, bf16=False)


def test_a_loss_that_is_not_finite_is_not_hidden(base, tmp_path):
    """Logits that are not finite reach the log, or the comparison stops the run."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.model.norm.weight.data[0] = math.nan
    with pytest.raises(ValueError, match="differ from a plain pass by nan"):
        trained(StockShared, base, tmp_path, model=model)
