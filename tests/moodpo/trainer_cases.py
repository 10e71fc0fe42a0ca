"""MOODPO's trainer on the CPU in fp32. Run by test_moodpo_trainer.py in a process that never sees ms-swift, whose import
deletes the constructors of TRL's trainers."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, IterableDataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from tests.engines.record import record
from tests.moodpo import reward_functions
from tests.tiny import SENTENCES, build_adapter, build_classifier, build_model
from trl_ext import MOODPOConfig, MOODPOOnlineDPOTrainer
from trl_ext.moodpo.instruction import annotate, parse, strip
from trl_ext.moodpo.script import main
from trl_ext.online_dpo.adapters import POLICY, REFERENCE

FIRST, SECOND = "tests.moodpo.reward_functions:first", "tests.moodpo.reward_functions:second"
CONSTANT, BROKEN = "tests.moodpo.reward_functions:constant", "tests.moodpo.reward_functions:broken"


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return build_model(tmp_path_factory.mktemp("tiny") / "model", end_gain=1.5)


@pytest.fixture(scope="session")
def previous(base, tmp_path_factory) -> Path:
    return build_adapter(base, tmp_path_factory.mktemp("previous") / "adapter")


def conversations(count: int = 8) -> Dataset:
    return Dataset.from_dict(
        {"prompt": [[{"role": "user", "content": f"{SENTENCES[i % 8]} ({i})"}] for i in range(count)]}
    )


def settings(folder: Path, **overrides) -> dict:
    return {
        "output_dir": str(folder), "max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-2,
        "lr_scheduler_type": "constant", "bf16": False, "use_cpu": True, "max_new_tokens": 6, "max_length": 160,
        "logging_steps": 1, "report_to": "none", "gradient_checkpointing": False, "save_strategy": "no", "seed": 5,
        "temperature": 1.0, "beta": 0.3,
    } | overrides  # fmt: skip


def load(base: Path):
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def build(
    base, folder, cls=MOODPOOnlineDPOTrainer, data=None, model=None, peft_config=None, eval_dataset=None, **overrides
):
    return cls(
        model=load(base) if model is None else model,
        args=MOODPOConfig(**settings(folder, **overrides)),
        train_dataset=conversations() if data is None else data,
        eval_dataset=eval_dataset,
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=peft_config,
    )


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def assert_same_weights(one, other) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, different


def train_stock(base, folder, names, vector, reward_functions_, reward_weights=None):
    """Stock online DPO on prompts that carry the same instruction."""
    rows = [annotate(prompt, names, vector, system_role=True) for prompt in conversations()["prompt"]]

    def original(function):
        def reward(prompts, completions, **kwargs):
            return function([strip(prompt) for prompt in prompts], completions)

        return reward

    trainer = OnlineDPOTrainer(
        model=load(base),
        args=OnlineDPOConfig(
            **settings(folder, reward_weights=reward_weights, beta=[0.3], remove_unused_columns=False)
        ),
        reward_funcs=[original(function) for function in reward_functions_],
        train_dataset=Dataset.from_dict({"prompt": rows}),
        processing_class=AutoTokenizer.from_pretrained(base),
    )
    trainer.train()
    return trainer


def assert_same_run(ours, stock) -> None:
    stock_logs = [row for row in stock.state.log_history if "loss" in row]
    our_logs = [row for row in ours.state.log_history if "loss" in row]
    assert len(stock_logs) == 3 and len({row["loss"] for row in stock_logs}) == 3
    for expected, found in zip(stock_logs, our_logs, strict=True):
        assert {key: found[key] for key in expected} == expected
    assert_same_weights(weights_of(ours), weights_of(stock))


def test_one_objective_is_online_dpo(base, tmp_path):
    """Step by step, every logged number and the last weights, bit by bit."""
    stock = train_stock(base, tmp_path / "stock", ["first"], [1.0], [reward_functions.first])
    ours = build(base, tmp_path / "ours", reward_models=[FIRST], normalisation="none", shared_prefix="off")
    ours.train()
    assert_same_run(ours, stock)
    seen = "the trainer, all weights in fp32: with one objective 3 steps of TRL's online DPO, every number logged and weight, bit for bit"
    record("MOODPO", "transformers", "ran", seen, ("trl", "transformers", "torch"))


def test_normalising_one_objective_changes_no_pair(base, tmp_path):
    stock = train_stock(base, tmp_path / "stock", ["second"], [1.0], [reward_functions.second])
    ours = build(base, tmp_path / "ours", reward_models=[SECOND], normalisation="running", shared_prefix="off")
    ours.train()
    assert_same_weights(weights_of(ours), weights_of(stock))


def test_constant_weights_are_online_dpo_with_reward_weights(base, tmp_path):
    vector = [0.99, 0.01]  # the second objective is a hundred times as wide
    functions = [reward_functions.first, reward_functions.second]
    stock = train_stock(base, tmp_path / "stock", ["first", "second"], vector, functions, reward_weights=vector)
    fixed = {"reward_models": [FIRST, SECOND], "normalisation": "none", "shared_prefix": "off"}
    ours = build(base, tmp_path / "ours", fixed_weights=vector, **fixed)
    ours.train()
    for row in ours.state.log_history:  # scores are summed in fp64 here, in fp32 there
        row.update({key: pytest.approx(value, abs=1e-5) for key, value in row.items() if key.startswith("objective/")})
    assert_same_run(ours, stock)  # both score functions decide: neither alone gives the same pairs
    alone = train_stock(base, tmp_path / "alone", ["first", "second"], vector, functions, reward_weights=[0.0, 1.0])
    assert any(
        not torch.equal(a, b) for a, b in zip(weights_of(alone).values(), weights_of(ours).values(), strict=True)
    )


class Recorder(MOODPOOnlineDPOTrainer):
    """Keeps what reaches the rewards."""

    def _calculate_rewards_from_functions(self, prompts, completions, completion_ids_list, **columns):
        rewards = super()._calculate_rewards_from_functions(
            prompts, completions, completion_ids_list=completion_ids_list, **columns
        )
        self.seen = [
            *getattr(self, "seen", []),
            {"epoch": self.data_epoch, "prompts": prompts, "rewards": rewards, **columns},
        ]
        return rewards


def test_each_prompt_has_its_own_weights_by_row_and_epoch(base, tmp_path):
    trainer = build(base, tmp_path, Recorder, reward_models=[FIRST, SECOND], max_steps=4)
    reward_functions.CALLS.clear()
    trainer.train()
    drawn = {}
    for batch in trainer.seen:
        rows = batch["row_number"]
        assert rows[:4] == rows[4:] and batch["weights"][:4] == batch["weights"][4:]
        assert len(set(batch["weights"])) > 1
        for row, weights, annotated, original in zip(
            rows, batch["weights"], batch["prompts"], batch["original_prompt"], strict=True
        ):
            assert original == conversations()[row]["prompt"]
            assert strip(annotated) == original and annotated != original
            assert parse(annotated[0]["content"]) == dict(zip(["first", "second"], weights, strict=True))
            assert weights == trainer.sampler.draw(batch["epoch"], row)
            drawn[batch["epoch"], row] = weights
    assert len(drawn) == 16 and any(drawn[0, row] != drawn[1, row] for row in range(8))
    # One call a batch and objective, with both answers of every prompt, on the original prompts.
    assert [salt for salt, *_ in reward_functions.CALLS] == ["first", "second"] * 4
    for (_, prompts, _), batch in zip(reward_functions.CALLS[::2], trainer.seen, strict=True):
        assert prompts == batch["original_prompt"]


def test_scores_are_normalised_and_weighted(base, tmp_path):
    trainer = build(base, tmp_path, Recorder, reward_models=[FIRST, SECOND], max_steps=2)
    reward_functions.CALLS.clear()
    trainer.train()
    seen, raw = [], [[], []]
    for step, batch in enumerate(trainer.seen):
        for k, (_, prompts, completions) in enumerate(reward_functions.CALLS[2 * step : 2 * step + 2]):
            function = (reward_functions.first, reward_functions.second)[k]
            values = function(prompts, completions)
            del reward_functions.CALLS[-1]
            raw[k] += values
            seen.append((np.array(values) - np.mean(raw[k])) / np.std(raw[k]))
        expected = (np.stack(seen[-2:], 1) * np.array(batch["weights"])).sum(1)
        np.testing.assert_allclose(batch["rewards"].numpy(), expected, rtol=1e-5, atol=1e-6)
    log = trainer.state.log_history[0]
    assert log["objective/scores/first"] == pytest.approx(np.mean(raw[0][:8]), rel=1e-6)
    assert log["weights/second/mean"] == pytest.approx(np.mean([w[1] for w in trainer.seen[0]["weights"]]))
    halves = [np.array(raw[k][:8]).reshape(2, 4) for k in (0, 1)]
    better = np.where(trainer.seen[0]["rewards"][:4] >= trainer.seen[0]["rewards"][4:], 1, -1)
    for k, name in enumerate(("first", "second")):
        gap = (better * (halves[k][0] - halves[k][1])).mean()
        assert log[f"objective/margins/{name}"] == pytest.approx(gap, rel=1e-6)


# --- one step against the formula, with completions that are given ----------------------------------------------------


class Canned(Recorder):
    """Completions are a function of the prompt's text; an end token closes those of even length."""

    def completions(self, prompts):
        ids = torch.zeros(2 * len(prompts), 6, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for side in (0, 1):
            for place, prompt in enumerate(prompts):
                text = strip(prompt)[-1]["content"]
                generator = torch.Generator().manual_seed(sum(map(ord, text)) * 2 + side)
                length = 2 + int(torch.randint(0, 4, (1,), generator=generator))
                row = place + side * len(prompts)
                ids[row, :length] = torch.randint(10, 300, (length,), generator=generator)
                ids[row, length] = 2
                mask[row, : length + 1] = 1
        return ids, mask

    def _generate(self, model, prompts, images=None):
        generated = list(super()._generate(model, prompts, images))
        generated[2:4] = self.completions(prompts)
        return tuple(generated)


PLAIN = {"optim": "sgd", "max_grad_norm": 0.0, "weight_decay": 0.0, "learning_rate": 0.05}


def pair_losses(model, reference, tokenizer, prompts, ids, mask, chosen_first, beta) -> torch.Tensor:
    """(B,) -log sigmoid(beta (log-ratio of the chosen - log-ratio of the rejected)), row by row, without padding."""

    def logp(net, prompt, row):
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        start = tokenizer(text, add_special_tokens=False)["input_ids"]
        answer = ids[row][mask[row].bool()]
        logits = net(torch.cat([torch.tensor(start), answer])[None]).logits[0, len(start) - 1 : -1]
        return logits.log_softmax(-1).gather(1, answer[:, None]).sum()

    losses = []
    for place, prompt in enumerate(prompts):
        rows = (place, place + len(prompts))
        ratios = []
        for row in rows:
            with torch.no_grad():
                fixed = logp(reference, prompt, row)
            ratios.append(logp(model, prompt, row) - fixed)
        sign = 1 if chosen_first[place] else -1
        losses.append(-torch.nn.functional.logsigmoid(beta * sign * (ratios[0] - ratios[1])))
    return torch.stack(losses)


@pytest.mark.parametrize(
    ("reward", "ties", "loss_weights"),
    [
        (FIRST, "skip", "1111"),
        (CONSTANT, "skip", "0000"),
        (CONSTANT, "half", "hhhh"),
        (BROKEN, "half", "0 where the prompt asks"),
    ],
)
def test_a_step_follows_the_formula(base, tmp_path, reward, ties, loss_weights):
    """SGD moves the weights by minus the learning rate times the gradient of sum_i v_i loss_i / B."""
    data = conversations(4)
    trainer = build(base, tmp_path, Canned, data=data, reward_models=[reward], ties=ties, max_steps=1, **PLAIN)
    before = weights_of(trainer)
    trainer.train()
    (batch,) = trainer.seen
    prompts, rewards = batch["prompts"][:4], batch["rewards"]
    asks = ["?" in prompt["prompt"][0]["content"] for prompt in (data[row] for row in batch["row_number"][:4])]
    assert 0 < sum(asks) < 4
    values = {"1": 1.0, "0": 0.0, "h": 0.5}
    expected = [values[c] for c in loss_weights] if len(loss_weights) == 4 else [0.0 if ask else 1.0 for ask in asks]
    model, reference = load(base), load(base)
    ids, mask = trainer.completions(prompts)
    losses = pair_losses(
        model, reference, trainer.processing_class, prompts, ids, mask, rewards[:4] >= rewards[4:], trainer.args.beta
    )
    (losses * torch.tensor(expected)).mean().backward()
    moved = 0.0
    for name, parameter in model.named_parameters():
        step = weights_of(trainer)[name] - before[name]
        torch.testing.assert_close(step, -0.05 * parameter.grad, rtol=1e-3, atol=2e-7)
        moved += step.abs().sum().item()
    assert (moved > 0) == any(expected)
    log = trainer.state.log_history[0]
    assert log["objective/ties"] == (1.0 if reward == CONSTANT else 0.0)
    assert log["objective/not_finite"] == (sum(asks) / 4 if reward == BROKEN else 0.0)
    assert all(math.isfinite(value) for value in log.values())


def test_low_precision_gradients_are_weighed_too(base, tmp_path):
    """Gradients of a bfloat16 policy are bfloat16 on their way back; a tied pair still moves nothing."""
    for reward, moves in ((FIRST, True), (CONSTANT, False)):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        trainer = build(base, tmp_path / str(moves), model=model, reward_models=[reward], max_steps=1, **PLAIN)
        before = weights_of(trainer)
        trainer.train()
        assert moves != all(torch.equal(before[name], value) for name, value in weights_of(trainer).items())


def test_the_end_token_penalty_breaks_ties(base, tmp_path):
    class Endless(Canned):
        def completions(self, prompts):
            ids, mask = super().completions(prompts)
            ids[: len(prompts)][ids[: len(prompts)] == 2] = 5  # first answers do not end
            return ids, mask

    extra = {"reward_models": [CONSTANT], "max_steps": 1, "data": conversations(4)} | PLAIN
    trainer = build(base, tmp_path, Endless, missing_eos_penalty=1.0, **extra)
    before = weights_of(trainer)
    trainer.train()
    assert trainer.state.log_history[0]["objective/ties"] == 0.0
    batch = trainer.seen[0]
    model = load(base)
    ids, mask = trainer.completions(batch["prompts"][:4])
    losses = pair_losses(model, load(base), trainer.processing_class, batch["prompts"][:4], ids, mask, [False] * 4, 0.3)
    losses.mean().backward()
    for name, parameter in model.named_parameters():
        step = weights_of(trainer)[name] - before[name]
        torch.testing.assert_close(step, -0.05 * parameter.grad, rtol=1e-3, atol=2e-7)


def test_accumulated_batches_equal_one_large_batch(base, tmp_path):
    """Same rows, same weights drawn, same step; the parent's gradient would be twice as large."""
    runs = []
    for size, parts in ((4, 1), (2, 2), (1, 4)):
        trainer = build(
            base, tmp_path / str(size), Canned, reward_models=[FIRST, SECOND], normalisation="none",
            per_device_train_batch_size=size, gradient_accumulation_steps=parts, max_steps=3, **PLAIN,
        )  # fmt: skip
        trainer.train()
        rows = [row for batch in trainer.seen for row in batch["row_number"][:size]]
        weights = [weight for batch in trainer.seen for weight in batch["weights"][:size]]
        runs.append((rows, weights, weights_of(trainer)))
    assert len(runs[0][0]) == 12
    for rows, weights, values in runs[1:]:
        assert rows == runs[0][0] and weights == runs[0][1]
        for name, value in values.items():
            torch.testing.assert_close(value, runs[0][2][name], rtol=1e-5, atol=1e-6)


# --- resume and iterations --------------------------------------------------------------------------------------------


def last_log(trainer) -> dict:
    return {key: value for key, value in trainer.state.log_history[-2].items() if "runtime" not in key}


@pytest.mark.parametrize("kind", ["full", "lora", "previous"])
def test_a_resumed_run_reaches_the_same_weights(base, previous, tmp_path, kind):
    """7 rows in batches of 2, 3 micro-batches a step: steps end inside epochs and the last one of an epoch is short."""
    options = {
        "reward_models": [FIRST, SECOND], "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3,
        "data": conversations(7), "save_strategy": "steps", "save_steps": 3,
    }  # fmt: skip
    if kind == "lora":
        options["peft_config"] = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    if kind == "previous":
        options |= {"model_path": str(previous), "ref": "previous"}
    whole = build(base, tmp_path / "whole", max_steps=5, **options)
    whole.train()
    build(base, tmp_path / "parts", max_steps=3, **options).train()
    resumed = build(base, tmp_path / "parts", max_steps=5, **options)
    resumed.train(resume_from_checkpoint=True)
    assert_same_weights(weights_of(resumed), weights_of(whole))
    assert resumed.state_dict() == whole.state_dict()
    assert last_log(resumed) == last_log(whole)
    saved = json.loads((tmp_path / "parts" / "checkpoint-3" / "moodpo_state.json").read_text())
    assert saved["normaliser"]["count"] != resumed.state_dict()["normaliser"]["count"]
    if kind == "full":
        other = build(base, tmp_path / "parts", max_steps=5, **(options | {"ties": "half"}))
        with pytest.raises(ValueError, match="the run had ties = skip, this one has half"):
            other.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-3"))


@pytest.mark.parametrize("ref", ["base", "previous"])
def test_an_iteration_starts_from_an_adapter_on_one_base(base, previous, tmp_path, ref):
    trainer = build(
        base, tmp_path, reward_models=[FIRST], model_path=str(previous), ref=ref, max_steps=2, save_strategy="steps",
        save_steps=2,
    )  # fmt: skip
    start = weights_of(trainer)
    from peft import PeftModel

    loaded = dict(PeftModel.from_pretrained(load(base), previous).named_parameters())
    assert {name for name in start if REFERENCE not in name} == set(loaded)
    assert all(torch.equal(start[name], value) for name, value in loaded.items())
    trainable = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trainable == {name for name in start if f".{POLICY}." in name}
    trainer.train()
    log = trainer.state.log_history[0]
    if ref == "previous":  # policy and reference are the same at the first step
        assert log["objective/kl"] == 0.0 and log["loss"] == pytest.approx(math.log(2), abs=1e-4)
    else:
        assert trainer.ref_model is None and abs(log["objective/kl"]) > 0.1
    after = weights_of(trainer)
    changed = {name for name in after if not torch.equal(after[name], start[name])}
    assert changed == trainable
    assert {name for name, p in trainer.model.named_parameters() if p.requires_grad} == trainable
    assert trainer.model.active_adapter == POLICY
    frozen = sum(p.numel() for name, p in trainer.model.named_parameters() if "lora" not in name)
    assert frozen == sum(p.numel() for p in load(base).parameters())
    checkpoint = tmp_path / "checkpoint-2"
    assert (checkpoint / "adapter_config.json").is_file() and not (checkpoint / REFERENCE).exists()


@pytest.mark.parametrize("ref", ["base", "previous"])
def test_the_reference_is_the_base_or_stays_the_previous_iteration(ref, base, previous, tmp_path):
    """Two steps are those of the formula. After the first one policy and previous iteration differ."""
    from peft import PeftModel

    starts = []

    class Starts(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            starts.append({name: value.detach().clone() for name, value in model.named_parameters()})

    options = {"reward_models": [FIRST], "max_steps": 2, "data": conversations(4), "model_path": str(previous)} | PLAIN
    trainer = build(base, tmp_path, Canned, ref=ref, **options)
    trainer.add_callback(Starts())
    trainer.train()
    model = PeftModel.from_pretrained(load(base), previous, is_trainable=True)
    reference = load(base) if ref == "base" else PeftModel.from_pretrained(load(base), previous)
    model.eval(), reference.eval()
    for start, end, batch in zip(starts, [starts[1], weights_of(trainer)], trainer.seen, strict=True):
        model.load_state_dict(start, strict=False)
        model.zero_grad()
        ids, mask = trainer.completions(batch["prompts"][:4])
        chosen = batch["rewards"][:4] >= batch["rewards"][4:]
        pair_losses(
            model, reference, trainer.processing_class, batch["prompts"][:4], ids, mask, chosen, 0.3
        ).mean().backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(end[name] - start[name], -0.05 * parameter.grad, rtol=1e-3, atol=2e-7)


# --- evaluation -------------------------------------------------------------------------------------------------------


class Steered(MOODPOOnlineDPOTrainer):
    """Answers exactly as asked: the completion is the weights themselves."""

    def sample(self, prompts, seed):
        asked = [parse(prompt[0]["content"]) for prompt in prompts]
        return [json.dumps(weights) for weights in asked * 2], [[7, 2]] * (2 * len(prompts))


def test_evaluation_measures_how_scores_follow_weights(base, tmp_path, monkeypatch):
    def share(name):
        return lambda prompts, completions: [json.loads(text)[name] for text in completions]

    monkeypatch.setattr(reward_functions, "first", share("first"))
    monkeypatch.setattr(reward_functions, "second", share("second"))
    trainer = build(
        base, tmp_path, Steered, reward_models=[FIRST, SECOND], eval_dataset=conversations(3),
        per_device_eval_batch_size=2, evaluation_weights=["1,0", "0.5,0.5", "0,1"],
    )  # fmt: skip
    metrics = trainer.evaluate()
    assert metrics["eval_scores/first/100-0"] == 1.0 and metrics["eval_scores/second/100-0"] == 0.0
    assert metrics["eval_scores/second/50-50"] == 0.5
    assert metrics["eval_mean_inner_product"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics["eval_spearman/first"] == metrics["eval_spearman/second"] == pytest.approx(1.0)
    assert metrics["eval_hypervolume"] == pytest.approx(0.25)  # the middle point above (0, 0)
    assert trainer.state_dict()["hypervolume_references"] == {"eval": [0.0, 0.0]}
    assert metrics["eval_not_finite"] == 0.0 and trainer.state.log_history[-1]["eval_hypervolume"] == pytest.approx(
        0.25
    )


def test_evaluation_leaves_training_as_it_is(base, tmp_path):
    options = {"reward_models": [FIRST, SECOND], "fixed_weights": [0.2, 0.8], "evaluation_weights": ["0.2,0.8"]}
    quiet = build(base, tmp_path / "quiet", **options)
    quiet.train()
    loud = build(base, tmp_path / "loud", eval_dataset=conversations(3), eval_strategy="steps", eval_steps=1, **options)
    loud.train()
    assert_same_weights(weights_of(loud), weights_of(quiet))
    evaluations = [row for row in loud.state.log_history if "eval_scores/first/20-80" in row]
    assert len(evaluations) == 3
    assert loud.evaluate()["eval_scores/first/20-80"] == evaluations[-1]["eval_scores/first/20-80"]
    assert evaluations[0]["eval_scores/first/20-80"] != evaluations[-1]["eval_scores/first/20-80"]


def test_text_prompts_carry_the_bracketed_block(base, tmp_path):
    data = Dataset.from_dict({"prompt": [f"\n\nHuman: {text}\n\nAssistant:" for text in SENTENCES]})
    trainer = build(base, tmp_path, Recorder, data=data, reward_models=[FIRST, SECOND], max_steps=1)
    trainer.train()
    prompt = trainer.seen[0]["prompts"][0]
    assert prompt.startswith("[Begin System Instruction]\n") and prompt.endswith(trainer.seen[0]["original_prompt"][0])


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_data_and_models_that_cannot_work_are_refused(base, previous, tmp_path):
    stream = IterableDataset.from_generator(lambda: iter([{"prompt": "a"}]))
    with pytest.raises(ValueError, match=r"train_dataset is a IterableDataset: a datasets\.Dataset is valid"):
        build(base, tmp_path, data=stream, reward_models=[FIRST])
    with pytest.raises(ValueError, match="a column 'prompt' is missing"):
        build(base, tmp_path, data=Dataset.from_dict({"text": ["a"]}), reward_models=[FIRST])
    with pytest.raises(ValueError, match="rename it"):
        build(base, tmp_path, data=conversations().add_column("row_number", range(8)), reward_models=[FIRST])
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    with pytest.raises(ValueError, match="copies the whole base"):
        build(base, tmp_path, model=get_peft_model(load(base), lora), reward_models=[FIRST])
    with pytest.raises(ValueError, match="leave out peft_config"):
        build(base, tmp_path, peft_config=lora, model_path=str(previous), reward_models=[FIRST])
    with pytest.raises(ValueError, match=r"holds no LoRA adapter: adapter_config\.json is missing"):
        build(base, tmp_path, model_path=str(tmp_path), reward_models=[FIRST])
    trainer = build(base, tmp_path, reward_models=[FIRST])
    with pytest.raises(ValueError, match=r"not a checkpoint of this trainer: no moodpo_state\.json"):
        trainer.train(resume_from_checkpoint=str(previous))
    with pytest.raises(ValueError, match="evaluation needs an eval_dataset"):
        trainer.evaluate()


def test_an_adapter_of_another_shape_is_refused(base, tmp_path):
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    adapter = get_peft_model(load(base), config)
    adapter.save_pretrained(tmp_path / "small")
    written = json.loads((tmp_path / "small" / "adapter_config.json").read_text())
    (tmp_path / "small" / "adapter_config.json").write_text(json.dumps(written | {"r": 8}))
    with pytest.raises(ValueError, match=r"has shape \(4, 32\), the model asks for \(8, 32\)"):
        build(base, tmp_path, model_path=str(tmp_path / "small"), reward_models=[FIRST])
    (tmp_path / "small" / "adapter_config.json").write_text(
        json.dumps(written | {"target_modules": ["q_proj", "v_proj"]})
    )
    with pytest.raises(ValueError, match="weights without a counterpart"):
        build(base, tmp_path, model_path=str(tmp_path / "small"), reward_models=[FIRST])


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def world(base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("script")
    build_classifier(folder / "judge", labels=2)
    prompts = [f"{sentence} ({i})" for i in range(2) for sentence in SENTENCES]
    rows = [*prompts, prompts[0], "", "Hi.", '"a comma, kept" ' + SENTENCES[0] * 30]
    quoted = ["question", *('"' + row.replace('"', '""') + '"' for row in rows)]
    (folder / "prompts.csv").write_text("\n".join(quoted) + "\n", encoding="utf-8")
    return folder


def run_script(base: Path, world: Path, *flags: str) -> int:
    values = {
        "csv_path": world / "prompts.csv", "prompt_column": "question", "sft_model_path": base, "max_steps": 2,
        "lora_rank": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "lr_scheduler_type": "constant",
        "bf16": "False", "use_cpu": "True", "max_new_tokens": 6, "min_prompt_tokens": 20, "max_prompt_tokens": 100,
        "max_length": 200, "logging_steps": 1, "disable_wandb": "True", "gradient_checkpointing": "False",
        "save_steps": 2, "save_directory": world,
    }  # fmt: skip
    argv = [part for name, value in values.items() if f"--{name}" not in flags for part in (f"--{name}", str(value))]
    return main([*argv, "--reward_models", f"safe={world / 'judge'}#1", "brevity", *flags])


@pytest.fixture(scope="session")
def first_iteration(base, world) -> Path:
    evaluation = ("--eval_strategy", "steps", "--eval_steps", "2", "--evaluation_weights", "1,0", "0,1")
    assert run_script(base, world, "--wandb_name", "first", "--eval_prompts", "3", *evaluation) == 0
    return world / "first"


def test_a_csv_becomes_an_adapter(first_iteration):
    assert (first_iteration / "adapter_model.safetensors").is_file() and (first_iteration / "tokenizer.json").is_file()
    checkpoint = first_iteration / "checkpoint-2"
    logs = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    assert {"objective/scores/safe", "objective/margins/brevity", "weights/safe/mean"} <= set(logs[0])
    assert {"eval_scores/safe/100-0", "eval_scores/brevity/0-100", "eval_mean_inner_product"} <= set(logs[2])
    state = json.loads((checkpoint / "moodpo_state.json").read_text())
    assert state["settings"]["objectives"] == ["safe", "brevity"]
    assert state["normaliser"]["count"] == [16.0, 16.0]  # 2 steps of 4 prompts with 2 answers; none of the evaluation
    config = json.loads((first_iteration / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.05)


def test_the_model_card_names_the_paper_the_objectives_the_data_and_the_claim(first_iteration):
    card = (first_iteration / "README.md").read_text("utf-8")
    assert (
        "Robust Multi-Objective Preference Alignment with Online DPO](https://huggingface.co/papers/2503.00295)" in card
    )
    assert "@article{gupta2025robust," in card
    assert "| safe | drawn for each prompt | classifier `judge` |" in card
    assert "| brevity | drawn for each prompt | function `brevity` |" in card
    assert "13 rows, digest `" in card and "`python -m launch reproduce moodpo-steering`" in card


@pytest.mark.parametrize("ref", ["base", "previous"])
def test_a_second_iteration_starts_from_the_first(base, world, first_iteration, ref):
    start = ("--model_path", str(first_iteration / "checkpoint-2"), "--ref", ref, "--wandb_name", ref)
    assert run_script(base, world, *start) == 0
    state = json.loads((world / ref / "checkpoint-2" / "trainer_state.json").read_text())
    assert (state["log_history"][0]["objective/kl"] == 0.0) == (ref == "previous")


def test_one_command_line_serves_the_first_start_and_every_other(base, world, caplog):
    """The first start finds no checkpoint, the second goes on, the third finds the run finished and takes no step."""
    flags = ("--wandb_name", "again", "--save_steps", "1", "--resume_from_checkpoint", "true", "--max_steps")
    assert run_script(base, world, *flags, "1") == 0 and "yet, a fresh start" in caplog.text
    for _ in range(2):
        assert run_script(base, world, *flags, "3") == 0
        assert sorted(path.name for path in (world / "again").glob("checkpoint-*")) == [
            f"checkpoint-{n}" for n in (1, 2, 3)
        ]
    log = json.loads((world / "again" / "checkpoint-3" / "trainer_state.json").read_text())["log_history"]
    assert [row["step"] for row in log if "loss" in row] == [1, 2, 3]


def test_a_full_checkpoint_starts_an_iteration_too(base, world):
    assert run_script(base, world, "--use_lora", "False", "--wandb_name", "full") == 0
    for ref in ("base", "previous"):
        again = (
            "--use_lora",
            "False",
            "--model_path",
            str(world / "full"),
            "--ref",
            ref,
            "--wandb_name",
            f"full-{ref}",
        )
        assert run_script(base, world, *again) == 0
        state = json.loads((world / f"full-{ref}" / "checkpoint-2" / "trainer_state.json").read_text())
        assert (state["log_history"][0]["objective/kl"] == 0.0) == (ref == "previous")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--prompt_column", "questions"],
            r"prompts\.csv:\d+: --prompt_column 'questions': no field 'questions' with a value; the row has: question",
        ),
        (["--exp_type", "sumary"], "--exp_type is 'sumary': .* did you mean 'summary'"),
        (["--max_length", "110"], r"--max_length is 110: a prompt of 100 tokens .* and an answer of 6 .* need 1\d\d"),
        (
            ["--max_prompt_tokens", "21", "--min_prompt_tokens", "21"],
            r"no prompt is left; left out were \d+ too_\w+ \(--(min|max)_prompt_tokens is 21\)",
        ),
        (["--lora_rank", "0"], "--lora_rank is 0"),
        (["--sft_model_path", "./nowhere"], "model: ./nowhere does not exist"),
    ],
)
def test_a_mistake_ends_with_code_2_and_one_line(base, world, capsys, flags, message):
    assert run_script(base, world, *flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and re.search(message, error)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--reward_models", "polite=tests.moodpo.reward_functions:frist"],
            "reward 'polite': .*; did you mean 'first'",
        ),
        (["--reward_models", "x=no_such_package_here:f"], "reward 'x': .* cannot be imported: No module named"),
        (
            ["--reward_models", "helpful=/nowhere/rm"],
            "reward 'helpful': /nowhere/rm does not exist; the folder of a model",
        ),
        (["--reward_models", "x=launch.judge.reward:judge_win_rat"], "reward 'x': .*; did you mean 'judge_win_rate'"),
        (["--reward_models", "x=launch.judge.reward:judge_win_rate"], "set PAIRWISE_JUDGE_CONFIG to a YAML file"),
        (
            ["--reward_models", "brevity", "--normalisation", "stored", "--reward_stats_path", "no.json"],
            "no.json: cannot be read",
        ),
        (["--reward_models", "brevity", "--model_path", "../nowhere"], "--model_path: ../nowhere does not exist"),
        (
            ["--reward_models", "brevity", "--use_vllm", "True", "--vllm_mode", "server"],
            "--vllm_mode server (on the device cpu: the policy's weights reach|of trl 0.29.1 trains on meaningless pairs)",
        ),
    ],
)
def test_what_is_not_there_is_told_before_a_model_or_a_row_is_asked_for(tmp_path, capsys, monkeypatch, given, message):
    """Neither the model nor the prompts of this command are there: what is said of them would come later."""
    monkeypatch.delenv("PAIRWISE_JUDGE_CONFIG", raising=False)
    argv = ["--csv_path", "nowhere.csv", "--sft_model_path", str(tmp_path / "no-model"), "--use_cpu", "True"]
    assert main([*argv, "--bf16", "False", "--output_dir", str(tmp_path / "out"), *given]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and re.search(message, error), error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"judge\.yaml: no such file"),
        ("model: ./nowhere", r"judge\.yaml: .*model: ./nowhere does not exist"),
        ("model: m\nadapter: ../nowhere", r"judge\.yaml: .*adapter: ../nowhere does not exist"),
        ("base_url: https://api.openai.com/v1\napi_model: m", r"judge\.yaml: .*OPENAI_API_KEY"),
        ("base_url: 127.0.0.1:8000\napi_model: m", r"judge\.yaml: --base_url: expected an address"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_told_before_a_model_is_loaded(tmp_path, capsys, monkeypatch, text, message):
    monkeypatch.setenv("PAIRWISE_JUDGE_CONFIG", str(tmp_path / "judge.yaml"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if text is not None:
        (tmp_path / "judge.yaml").write_text(text)
    argv = ["--csv_path", "nowhere.csv", "--sft_model_path", str(tmp_path / "no-model"), "--use_cpu", "True"]
    reward = ["--reward_models", "better=launch.judge.reward:judge_bradley_terry"]
    assert main([*argv, "--bf16", "False", "--output_dir", str(tmp_path / "out"), *reward]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and re.search(message, error), error


def test_training_prompts_are_counted_and_held_out(base, world):
    from trl_ext.moodpo.script import load_data, read_arguments

    argv = ["--csv_path", str(world / "prompts.csv"), "--prompt_column", "question", "--sft_model_path", str(base),
            "--eval_prompts", "5", "--reward_models", "brevity", "--use_cpu", "True", "--bf16", "False",
            "--min_prompt_tokens", "20", "--max_prompt_tokens", "100", "--disable_wandb", "True"]  # fmt: skip
    options, args = read_arguments(argv)
    assert args.output_dir == "outputs/moodpo" and args.report_to == [] and args.run_name == "moodpo"
    training, evaluation = load_data(options, args, AutoTokenizer.from_pretrained(base))
    texts = [[prompt[0]["content"] for prompt in part["prompt"]] for part in (training, evaluation)]
    assert len(texts[0]) == 11 and len(texts[1]) == 5 and len(set(texts[0] + texts[1])) == 16
