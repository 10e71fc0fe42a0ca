"""Shared prefixes in TRL's online DPO, stock, MOODPO and D2PO, and in its GRPO. Run by test_trl_online.py in a process that
never sees ms-swift, whose import deletes the constructors of TRL's trainers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, set_seed
from trl import GRPOConfig, GRPOTrainer
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from tests.d2po import golds
from tests.shared_prefix.trl_dpo_cases import decided
from tests.tiny import SENTENCES, build_adapter, build_model
from trl_ext import (
    D2POConfig,
    D2POTrainer,
    MOODPOConfig,
    MOODPOOnlineDPOTrainer,
    SharedPrefixGRPO,
    SharedPrefixOnlineDPO,
)
from trl_ext.d2po.answers import log_ratios
from trl_ext.d2po.discriminator import DiscriminatorSettings, load_discriminator

FIRST, SECOND = "tests.moodpo.reward_functions:first", "tests.moodpo.reward_functions:second"
FINE = "tests.d2po.golds:fine"
STEPS = 20
# Sums in which TRL's online DPO counts log-probs of padding, and what is made of them.
OF_PADDING_TOO = ("objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward")


class Online(SharedPrefixOnlineDPO, OnlineDPOTrainer):
    shared_prefix = "on"


class Grouped(SharedPrefixGRPO, GRPOTrainer):
    shared_prefix = "on"


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return build_model(tmp_path_factory.mktemp("tiny") / "model", end_gain=1.5)


@pytest.fixture(scope="session")
def previous(base, tmp_path_factory) -> str:
    return str(build_adapter(base, tmp_path_factory.mktemp("previous") / "adapter"))


def lora() -> LoraConfig:
    return LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def conversations(count: int = 16) -> Dataset:
    return Dataset.from_dict(
        {"prompt": [[{"role": "user", "content": f"{SENTENCES[i % 8]} ({i})"}] for i in range(count)]}
    )


def recorded(cls, base, folder, config_class, peft=None, model=None, given=None, **config):
    """A trainer that counts the places its policy computes outside sampling in `places` and keeps every loss in `losses`."""

    class Recorded(cls):
        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            self.losses.append(float(loss))
            return loss

        def _forward(self, *args, **kwargs):
            begun, values = sum(self.seen), super()._forward(*args, **kwargs)
            self.places.append(sum(self.seen) - begun)
            return values

        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            begun, values = sum(self.seen), super()._get_per_token_logps_and_entropies(*args, **kwargs)
            self.places.append(sum(self.seen) - begun)
            return values

    settings = {
        "output_dir": str(folder), "max_steps": STEPS, "per_device_train_batch_size": 4, "learning_rate": 1e-3,
        "lr_scheduler_type": "constant", "bf16": False, "use_cpu": True, "logging_steps": 1, "report_to": "none",
        "gradient_checkpointing": False, "save_strategy": "no", "seed": 5, "temperature": 0.9, "disable_tqdm": True,
    } | config  # fmt: skip
    set_seed(5)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32) if model is None else model
    seen: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0].numel()))
    Recorded.losses, Recorded.places, Recorded.seen = [], [], seen
    return Recorded(
        model,
        args=config_class(**settings),
        train_dataset=conversations(),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=peft,
        **(given or {}),
    )


ONLINE = {"max_new_tokens": 6, "max_length": 160, "beta": 0.3}


def moodpo(base, folder, cls=MOODPOOnlineDPOTrainer, **options):
    return recorded(cls, base, folder, MOODPOConfig, **ONLINE | {"reward_models": [FIRST, SECOND]} | options)


def d2po(base, folder, cls=D2POTrainer, **options):
    return recorded(cls, base, folder, D2POConfig, **ONLINE | {"window_pairs": 8} | options)


def trained(trainer):
    trainer.train()
    return trainer


def numbers(trainer) -> list[dict[str, float]]:
    """What was logged, without clocks and texts."""
    left_out = ("runtime", "per_second", "flos", "time", "total_", *OF_PADDING_TOO)
    return [
        {key: value for key, value in row.items() if isinstance(value, float) and not any(word in key for word in left_out)}
        for row in trainer.state.log_history
    ]  # fmt: skip


def assert_same(plain, shared, share: float) -> None:
    """Losses to 1e-5, everything else that is logged nearly so; and at most `share` of the places were computed."""
    assert len(plain.losses) == len(shared.losses) >= STEPS and len(set(plain.losses)) > 5
    np.testing.assert_allclose(shared.losses, plain.losses, rtol=1e-5, atol=1e-6)
    for expected, found in zip(numbers(plain), numbers(shared), strict=True):
        assert decided(found, expected) == pytest.approx(decided(expected, expected), rel=1e-4, abs=1e-4, nan_ok=True)
    assert sum(shared.places) < share * sum(plain.places), sum(shared.places) / sum(plain.places)


MOODPO_VARIANTS = {
    "lora": {},
    "all weights": {"gradient_checkpointing": True, "gradient_accumulation_steps": 2, "loss_type": "ipo", "learning_rate": 1e-4},
    "previous": {"model_path": "@previous", "ref": "previous"},
}  # fmt: skip


@pytest.mark.parametrize("name", MOODPO_VARIANTS)
def test_moodpo_is_the_same_with_its_prompts_shared(base, previous, tmp_path, name):
    options = {key: previous if value == "@previous" else value for key, value in MOODPO_VARIANTS[name].items()}
    runs = []
    for setting in ("off", "on"):
        peft = lora() if name == "lora" else None
        runs.append(trained(moodpo(base, tmp_path / setting, peft=peft, shared_prefix=setting, **options)))
    assert_same(*runs, 0.65)


D2PO_VARIANTS = {
    "gold": {"mode": "opo", "gold": FINE, "completions": 4},
    "own scores": {"mode": "self_reward", "gold": FINE, "labels_per_window": 3},
}


@pytest.mark.parametrize("name", D2PO_VARIANTS)
def test_d2po_is_the_same_with_its_prompts_shared(base, tmp_path, name):
    runs = [
        trained(d2po(base, tmp_path / setting, peft=lora(), shared_prefix=setting, **D2PO_VARIANTS[name]))
        for setting in ("off", "on")
    ]
    assert_same(*runs, 0.7)


def rewarded(prompts, completions, **_):
    return golds.fine([prompt[0]["content"] for prompt in prompts], [one[0]["content"] for one in completions])


def test_stock_online_dpo_is_the_same_by_the_mixin(base, tmp_path):
    runs = [
        trained(recorded(cls, base, tmp_path / cls.__name__, OnlineDPOConfig, lora(), given={"reward_funcs": [rewarded]}, **ONLINE))
        for cls in (OnlineDPOTrainer, Online)
    ]  # fmt: skip
    assert_same(*runs, 0.7)


@pytest.mark.parametrize("longest", [160, 30, 20, 12])
def test_a_pass_and_its_gradient_at_every_truncation(base, tmp_path, longest):
    """Whole prompts, prompts of one row or of all cut at the front, and none of them left."""
    on, off = (
        moodpo(base, tmp_path / setting, shared_prefix=setting, max_length=longest, max_new_tokens=8)
        for setting in ("on", "off")
    )
    draw = torch.Generator().manual_seed(longest)
    prompt_ids = torch.randint(3, 300, (3, 22), generator=draw).repeat(2, 1)
    prompt_mask = (torch.arange(22)[None] >= torch.tensor([0, 9, 15])[:, None]).long().repeat(2, 1)
    answers = torch.randint(3, 300, (6, 12), generator=draw)
    answer_mask = (torch.arange(12)[None] < torch.tensor([12, 3, 5, 1, 9, 12])[:, None]).long()
    found = []
    for trainer in (on, off):
        logps = trainer._forward(trainer.model, prompt_ids * prompt_mask, prompt_mask, answers, answer_mask)
        weights = torch.linspace(-1, 1, 6)[:, None]
        trainer.pair_weights, trainer.current_gradient_accumulation_steps = torch.ones(3), 1
        (logps * answer_mask * weights).sum().backward()
        gradient = torch.cat([one.grad.flatten() for one in trainer.model.parameters()])
        found.append(((logps * answer_mask).sum(1).detach(), gradient))
    (shared, gradient), (plain, expected) = found
    torch.testing.assert_close(shared, plain, atol=1e-4, rtol=0)
    assert (gradient - expected).norm() < 1e-5 * expected.norm()
    assert on.places[0] < (1.3 if longest > 12 else 1.01) * off.places[0]  # the first batch is compared besides


def test_the_policys_own_scores_share_their_prompts(base, previous, tmp_path):
    """log pi - log pi_ref of all answers of a window, with a policy that is not its reference."""
    on, off = (
        d2po(base, tmp_path / setting, model_path=previous, shared_prefix=setting, mode="opo", gold=FINE)
        for setting in ("on", "off")
    )
    draw = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, 300, (length,), generator=draw).tolist() for length in (30, 21, 25)]
    answers = [[torch.randint(3, 300, (1 + place,), generator=draw).tolist() for place in range(4)] for _ in prompts]
    shared, plain = (np.array(log_ratios(trainer, prompts, answers)) for trainer in (on, off))
    assert shared.shape == (3, 4) and np.abs(plain).min() > 1e-3
    np.testing.assert_allclose(shared, plain, atol=1e-4)
    assert on.places[-1] < 0.65 * off.places[-1]


def test_a_model_that_looks_positions_up_stays_plain(base, tmp_path):
    """Its plain pass counts the padding on the left as positions."""
    sizes = {"vocab_size": 400, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 256, "resid_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**sizes, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2))
    model.save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ValueError, match="gpt2 looks positions up in a table"):
        moodpo(base, tmp_path, model=GPT2LMHeadModel.from_pretrained(tmp_path / "gpt2"), shared_prefix="on")


@pytest.mark.parametrize("config", [MOODPOConfig, D2POConfig])
def test_a_misspelt_setting_names_the_nearest(tmp_path, config):
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}
    settings |= {"mode": "opo", "gold": FINE, "window_pairs": 8} if config is D2POConfig else {"reward_models": [FIRST]}
    with pytest.raises(ValueError, match=r"--shared_prefix is 'onn': valid are .*did you mean 'on'"):
        config(**settings, shared_prefix="onn")
    assert config(**settings, shared_prefix=True).shared_prefix == "on"  # a bare `on` of a YAML file


# --- a discriminator that scores by log-ratios ------------------------------------------------------------------------


@pytest.mark.parametrize("text_format", ["question_answer", "chat"])
def test_a_discriminators_scores_share_their_prompts(base, previous, tmp_path, text_format):
    settings = DiscriminatorSettings(kind="dpo", lora_rank=4, batch_size=6, text_format=text_format)
    prompts = [f"{SENTENCES[i // 4 % 8]} ({i // 4})" for i in range(16)]
    answers = [" ".join(SENTENCES[(3 * i) % 8].split()[: 1 + i % 5]) for i in range(16)]
    scores, places = [], []
    for setting in ("on", "off"):
        discriminator = load_discriminator(previous, settings)
        discriminator.shared_prefix = setting
        seen: list[int] = []
        discriminator.model.get_input_embeddings().register_forward_pre_hook(
            lambda _, args, seen=seen: seen.append(args[0].numel())
        )
        scores.append(discriminator.score(prompts, answers))
        places.append(sum(seen))
    np.testing.assert_allclose(*scores, atol=1e-4)
    assert np.abs(scores[0]).min() > 1e-4 and places[0] < 0.75 * places[1], places


# --- GRPO -------------------------------------------------------------------------------------------------------------

GRPO_VARIANTS = {
    "beta": {"beta": 0.04, "num_iterations": 2, "steps_per_generation": 2, "peft": True},
    "all weights": {"beta": 0.0, "loss_type": "dapo", "mask_truncated_completions": True, "gradient_checkpointing": True,
                    "gradient_accumulation_steps": 2, "learning_rate": 1e-4},
}  # fmt: skip


@pytest.mark.parametrize("name", GRPO_VARIANTS)
def test_stock_grpo_is_the_same_by_the_mixin(base, tmp_path, name):
    options = GRPO_VARIANTS[name] | {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6}
    peft = options.pop("peft", False)
    runs = [
        trained(
            recorded(
                cls, base, tmp_path / cls.__name__, GRPOConfig, peft=lora() if peft else None,
                given={"reward_funcs": [rewarded]}, **options,
            )
        )
        for cls in (GRPOTrainer, Grouped)
    ]  # fmt: skip
    assert_same(*runs, 0.7)


def test_rows_of_one_prompt_are_found_wherever_they_stand(base, tmp_path):
    """The parent shuffles a generation batch; chunks of three rows cut through groups."""
    made = [
        recorded(
            cls, base, tmp_path / cls.__name__, GRPOConfig, given={"reward_funcs": [rewarded]},
            per_device_train_batch_size=8, num_generations=4,
        )
        for cls in (Grouped, GRPOTrainer)
    ]  # fmt: skip
    draw = torch.Generator().manual_seed(3)
    prompts = torch.randint(3, 300, (2, 20), generator=draw)[[0, 1, 0, 0, 1, 1, 0, 1]]
    mask = torch.ones(8, 27, dtype=torch.long)
    mask[[1, 4, 5, 7], :6] = 0
    mask[torch.arange(8), 20 + torch.tensor([3, 6, 4, 2, 1, 5, 6, 3])] = 0
    mask[:, 20:] = mask[:, 20:].cumprod(1)
    ids = torch.cat([prompts, torch.randint(3, 300, (8, 7), generator=draw)], 1) * mask
    for chunk, most in ((None, 2), (None, 0.4), (3, 0.75)):  # the first call is compared besides
        shared, plain = (
            one._get_per_token_logps_and_entropies(one.model, ids, mask, 7, batch_size=chunk, compute_entropy=True)[:2]
            for one in made
        )
        for found, expected in zip(shared, plain, strict=True):
            torch.testing.assert_close(found * mask[:, 20:], expected * mask[:, 20:], atol=2e-5, rtol=1e-5)
        assert made[0].places[-1] < most * made[1].places[-1]
