"""D2PO's trainer on the CPU in fp32. Run by test_d2po_trainer.py in a process that never sees ms-swift."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
    set_seed,
)
from trl import DatasetMixtureConfig, ModelConfig, RewardConfig, RewardTrainer, ScriptArguments
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from datasets_builders.io import write_json
from tests.conftest import REPOSITORY
from tests.d2po import golds
from tests.tiny import SENTENCES, build_classifier, build_model
from trl_ext import D2POConfig, D2POTrainer
from trl_ext.d2po.answers import log_ratios
from trl_ext.d2po.discriminator import DiscriminatorSettings, load_discriminator
from trl_ext.d2po.judge import WindowJudge, build_discriminator
from trl_ext.d2po.labelling import Window
from trl_ext.d2po.ledger import LEDGER_FILE
from trl_ext.d2po.script import PromptArguments
from trl_ext.d2po.window import WindowSampler
from trl_ext.script import ScriptParser

LETTERS, FINE, CONSTANT, NAN = (f"tests.d2po.golds:{name}" for name in ("letters", "fine", "constant", "broken"))


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return build_model(tmp_path_factory.mktemp("tiny") / "model", end_gain=1.5)


@pytest.fixture(scope="session")
def rm(tmp_path_factory) -> Path:
    return build_classifier(tmp_path_factory.mktemp("rm") / "model", labels=1)


@pytest.fixture(autouse=True)
def no_calls():
    golds.CALLS.clear()


def conversations(count: int = 16) -> Dataset:
    return Dataset.from_dict(
        {"prompt": [[{"role": "user", "content": f"{SENTENCES[i % 8]} ({i})"}] for i in range(count)]}
    )


def settings(folder: Path, **overrides) -> dict:
    return {
        "output_dir": str(folder), "max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-2,
        "lr_scheduler_type": "constant", "bf16": False, "use_cpu": True, "max_new_tokens": 6, "max_length": 160,
        "logging_steps": 1, "report_to": "none", "gradient_checkpointing": False, "save_strategy": "no", "seed": 5,
        "temperature": 1.0, "beta": 0.3,
    } | overrides  # fmt: skip


LORA = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def build(base, folder, own=None, data=None, eval_dataset=None, cls=D2POTrainer, lora=LORA, **overrides) -> D2POTrainer:
    return cls(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        D2POConfig(**settings(folder, **{"window_pairs": 8} | overrides)),
        conversations() if data is None else data,
        AutoTokenizer.from_pretrained(base),
        discriminator=own,
        eval_dataset=eval_dataset,
        peft_config=lora,
    )


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}


def assert_same_weights(one, other) -> None:
    assert one.keys() == other.keys() and one
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, different


def rows(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in Path(folder, name).read_text().splitlines()]


class Oracle:
    """A discriminator that always agrees with gold."""

    def __init__(self):
        self.updated = []

    def score(self, prompts, responses):
        return golds.letters(prompts, responses)

    def update(self, pairs, number):
        self.updated.append((number, list(pairs)))
        return {"pairs": float(len(pairs))}

    def save(self, folder):
        folder.mkdir(parents=True)

    def load(self, folder):
        assert folder.is_dir()

    def digest(self):
        return str(len(self.updated))


# --- limit cases ------------------------------------------------------------------------------------------------------


def test_opo_with_gold_and_windows_of_one_step_is_stock_online_dpo(base, tmp_path):
    """Bit for bit: the stock trainer with the gold function as its reward and the rows in the window's order."""
    trainer = build(base, tmp_path / "ours", mode="opo", gold=FINE, window_pairs=4, shared_prefix="off")
    trainer.train()
    assert all(row["d2po/ties"] == 0 for row in trainer.state.log_history if "loss" in row)  # stock trains on ties

    def reward(prompts, completions, **_):
        return golds.fine([p[0]["content"] for p in prompts], [c[0]["content"] for c in completions])

    order = list(WindowSampler(16, 4, 1, 5, lambda: 0))
    set_seed(5)  # as the trainer does before it makes the adapter
    stock = OnlineDPOTrainer(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        reward_funcs=[reward],
        args=OnlineDPOConfig(**settings(tmp_path / "stock", train_sampling_strategy="sequential") | {"beta": 0.3}),
        train_dataset=conversations().select(order),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LORA,
    )
    stock.train()
    assert_same_weights(weights_of(trainer), weights_of(stock))
    for name in ("loss", "grad_norm", "rewards/margins", "objective/kl", "objective/scores"):
        ours, theirs = ([row[name] for row in t.state.log_history if name in row] for t in (trainer, stock))
        assert ours == theirs and len(ours) == 4, name


@pytest.mark.parametrize("passes", [1, 2])
def test_a_discriminator_that_agrees_with_gold_makes_it_opo_with_gold(base, tmp_path, passes):
    opo = build(base, tmp_path / "opo", mode="opo", gold=LETTERS, window_passes=passes)
    opo.train()
    oracle = Oracle()
    d2po = build(base, tmp_path / "d2po", oracle, mode="d2po", gold=LETTERS, labels_per_window=3, window_passes=passes,
                 discriminator_url="http://127.0.0.1:1")  # fmt: skip
    d2po.train()
    assert_same_weights(weights_of(opo), weights_of(d2po))
    assert len(oracle.updated) == 4 // (2 * passes) and [number for number, _ in oracle.updated] == list(
        range(len(oracle.updated))
    )


# --- windows ----------------------------------------------------------------------------------------------------------


class Counting(D2POTrainer):
    def __init__(self, *args, **kwargs):
        self.modes, self.trained = [], []
        super().__init__(*args, **kwargs)

    def _generate(self, model, prompts, images=None):
        if self.served is None and prompts is not self.evaluated:
            self.modes.append(model.training)
        return super()._generate(model, prompts, images)

    evaluated = None

    def sample(self, prompts, seed):
        self.evaluated = prompts
        return super().sample(prompts, seed)

    def _calculate_rewards_from_functions(self, *args, **columns):
        self.trained.append([str(ids) for ids in self.served.completion_ids])
        return super()._calculate_rewards_from_functions(*args, **columns)


def test_a_window_is_answered_once_and_each_pair_trained_once_a_pass(base, tmp_path):
    trainer = build(base, tmp_path, cls=Counting, mode="opo", gold=LETTERS, window_passes=2, max_steps=8)
    trainer.train()
    assert len(trainer.modes) == 4  # two windows of two batches
    first, second = trainer.trained[:4], trainer.trained[4:]
    assert first[:2] == first[2:] and second[:2] == second[2:] and first[0] != first[1] != second[0]
    assert second[:2] == [[str(ids) for ids in trainer.pairs.part(number, 4).completion_ids] for number in (0, 1)]
    assert trainer.judge.window == 2


def test_a_window_is_answered_in_batches_of_its_own_size(base, tmp_path):
    trainer = build(base, tmp_path, cls=Counting, mode="opo", gold=LETTERS, completions=4, generation_batch_size=8,
                    max_steps=2)  # fmt: skip
    trainer.train()
    assert len(trainer.modes) == 2 and len(trainer.trained) == 2  # 8 prompts, two answers at a time; two steps of 4


def test_a_text_has_the_tokens_that_trl_trains_a_reward_model_on(rm, tmp_path):
    """Against the data set that TRL's RewardTrainer makes of rows of text: it appends the end token, once."""
    tokenizer = AutoTokenizer.from_pretrained(rm)
    answers = ["water tree", f"bread{tokenizer.eos_token}"]
    asked = "Question: Why?\n\nAnswer: "
    rows = {"chosen": [asked + answers[0]], "rejected": [asked + answers[1]]}
    args = RewardConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_length=None)
    model = AutoModelForSequenceClassification.from_pretrained(rm)
    trainer = RewardTrainer(model, args=args, train_dataset=Dataset.from_dict(rows), processing_class=tokenizer)
    (row,) = trainer.train_dataset
    found = [
        next(value for name, value in row.items() if name in (f"{side}_ids", f"{side}_input_ids")) for side in rows
    ]
    encoder = load_discriminator(str(rm), DiscriminatorSettings()).encoder
    assert found == [encoder.encode("Why?", answer).ids for answer in answers]


def test_the_model_card_names_the_paper_the_objectives_the_data_and_the_claim(base, tmp_path):
    trainer = build(
        base,
        tmp_path,
        Oracle(),
        mode="d2po",
        gold=LETTERS,
        labels_per_window=3,
        max_steps=2,
        save_strategy="steps",
        discriminator_url="http://127.0.0.1:1",
    )
    trainer.train()
    card = (tmp_path / "README.md").read_text("utf-8")
    assert (
        "D2PO: Discriminator-Guided DPO with Response Evaluation Models](https://huggingface.co/papers/2405.01511)"
        in card
    )
    assert "@article{singhal2024d2po," in card
    assert f"| gold | 1 | `{LETTERS}`, 3 labels bought until this card, selection confidence |" in card
    assert "| discriminator | pairs without a label | behind an address |" in card
    assert "16 rows, digest `" in card and "`python -m launch reproduce d2po-labels`" in card


def test_the_defaults_of_a_discriminator_stand_in_one_place(tmp_path):
    args = D2POConfig(**settings(tmp_path, window_pairs=8, mode="opo", gold=LETTERS))
    assert args.discriminator_settings() == DiscriminatorSettings(seed=5)


def test_a_discriminator_in_the_process_of_training_has_the_type_that_is_asked_for(rm, tmp_path):
    own = {"mode": "opo", "discriminator": str(rm), "window_pairs": 8, "discriminator_dtype": "bfloat16"}
    args = D2POConfig(**settings(tmp_path, **own))
    model = build_discriminator(args, Accelerator(cpu=True)).own.model
    frozen = {value.dtype for value in model.parameters() if not value.requires_grad}
    assert frozen == {torch.bfloat16}


def test_answers_are_drawn_in_the_mode_of_stock_online_dpo_after_an_evaluation_too(base, tmp_path):
    """Stock draws with dropout on; evaluation leaves the model without."""
    data = {"eval_dataset": conversations(3), "eval_strategy": "steps", "eval_steps": 2}
    trainer = build(base, tmp_path, cls=Counting, mode="opo", gold=LETTERS, max_steps=4, **data)
    trainer.train()
    assert trainer.modes == [True] * 4


def test_an_epoch_and_a_seed_have_their_own_order():
    def order(seed: int, epoch: int) -> list[int]:
        return list(WindowSampler(64, 8, 1, seed, lambda: epoch))

    orders = [order(0, 0), order(0, 1), order(1, 0)]
    assert all(sorted(one) == list(range(64)) for one in orders) and len({tuple(one) for one in orders}) == 3


def test_accumulated_batches_are_of_one_window(base, tmp_path):
    """One step of 2 x 4 pairs takes the same step as one batch of 8: the mean over all pairs."""
    apart = build(base, tmp_path / "a", mode="opo", gold=LETTERS, max_steps=1, gradient_accumulation_steps=2)
    apart.train()
    (row,) = [row for row in apart.state.log_history if "loss" in row]
    assert row["d2po/labels"] == 8
    whole = build(base, tmp_path / "b", mode="opo", gold=LETTERS, max_steps=2, learning_rate=0.0)
    whole.train()
    losses = [row["loss"] for row in whole.state.log_history if "loss" in row]
    assert row["loss"] == pytest.approx(sum(losses) / 2, abs=1e-4)


def test_the_best_of_four_is_trained_against_the_worst(base, tmp_path):
    trainer = build(base, tmp_path, mode="opo", gold=LETTERS, completions=4, max_steps=2)
    trainer.train()
    found = rows(tmp_path, "rollouts.jsonl")
    assert len(found) == 8 and all(len(row["completions"]) == 4 for row in found)
    spread = 0
    for row in found:
        scores = golds.letters([row["prompt"]] * 4, row["completions"])
        assert row["gold"] == scores
        if row["chosen"] is not None:
            spread += 1
            assert sorted(row["scores"]) == [min(scores), max(scores)]
            assert golds.letters([row["prompt"]], [row["chosen"]]) == [max(scores)]
    assert spread and trainer.judge.gold.spent == 16  # four answers are two labels


def test_ties_train_nothing(base, tmp_path):
    trainer = build(base, tmp_path, mode="opo", gold=CONSTANT, weight_decay=0.0)
    before = weights_of(trainer)
    trainer.train()
    assert_same_weights(before, weights_of(trainer))
    assert {row["d2po/ties"] for row in trainer.state.log_history if "loss" in row} == {1.0}


def test_shaping_decides_about_pairs(base, tmp_path):
    """Answers under three words lose against longer ones whatever gold says."""
    trainer = build(base, tmp_path, mode="opo", gold=LETTERS, keep_long=3, completions=4, max_steps=2)
    trainer.train()
    found = [row for row in rows(tmp_path, "rollouts.jsonl") if row["chosen"] is not None]
    mixed = [row for row in found if len({len(text.split()) >= 3 for text in row["completions"]}) == 2]
    assert mixed and all(len(row["chosen"].split()) >= 3 for row in mixed)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_labels_decide_their_pairs(base, rm, tmp_path):
    trainer = build(base, tmp_path, **learning(rm))
    before = trainer.judge.discriminator.digest()
    trainer.train()
    found = rows(tmp_path, "rollouts.jsonl")
    labelled = [row for row in found if row["gold"]]
    assert len(found) == 16 and len(labelled) == 6 == len(rows(tmp_path, LEDGER_FILE)) == trainer.judge.gold.spent
    assert [row["window"] for row in rows(tmp_path, LEDGER_FILE)] == [0, 0, 0, 1, 1, 1]
    for row in labelled:
        first, second = (row["completions"][place] for place in row["pair"])
        assert row["gold"] == golds.letters([row["prompt"]] * 2, [first, second])
        if row["gold"][0] != row["gold"][1]:
            assert row["chosen"] == (first if row["gold"][0] > row["gold"][1] else second)
    assert trainer.judge.discriminator.digest() != before and trainer.judge.updates == 2
    (last,) = [row for row in trainer.state.log_history if row.get("step") == 4 and "loss" in row]
    assert last["d2po/labels"] == 6 and 0 <= last["d2po/silver_gold_agreement"] <= 1


def learning(rm, **overrides) -> dict:
    return {"mode": "d2po", "gold": LETTERS, "labels_per_window": 3, "discriminator": str(rm),
            "discriminator_learning_rate": 1e-3} | overrides  # fmt: skip


def test_unlabelled_pairs_are_decided_by_the_updated_discriminator(base, rm, tmp_path):
    trainer = build(base, tmp_path, **learning(rm, max_steps=2))
    trainer.train()
    judge = trainer.judge.discriminator
    for row in rows(tmp_path, "rollouts.jsonl"):
        if row["gold"] is None:
            pair = [row["completions"][place] for place in row["pair"]]
            assert judge.score([row["prompt"]] * 2, pair) == pytest.approx(row["scores"], abs=1e-6)


def test_random_selection_depends_on_seed_and_window(tmp_path):
    from accelerate import Accelerator

    answers = Window([f"q{i}" for i in range(64)], [[f"a{i}", f"b{i}"] for i in range(64)], np.ones((64, 2)), [{}] * 64)

    def labelled(seed: int, windows: int) -> list[list[int]]:
        args = D2POConfig(
            **settings(tmp_path / str(seed), seed=seed, window_pairs=64, mode="d2po", gold=LETTERS, labels_per_window=8,
                       selection="random", discriminator_url="http://127.0.0.1:1")
        )  # fmt: skip
        judge = WindowJudge(args, Accelerator(cpu=True), Oracle())
        Path(args.output_dir).mkdir(exist_ok=True)
        found = [np.flatnonzero(judge.judge(answers, None, 0).labelled).tolist() for _ in range(windows)]
        judge.gold.ledger.close()
        return found

    first, second = labelled(1, 2)
    assert len(first) == len(second) == 8 and first != second
    assert labelled(1, 2) == [first, second] and labelled(2, 1) != [first]


def test_the_budget_ends_labelling_for_good(base, rm, tmp_path):
    trainer = build(base, tmp_path, **learning(rm, max_labels=4, max_steps=8))
    trainer.train()
    assert trainer.judge.gold.spent == 4 == len(rows(tmp_path, LEDGER_FILE))
    assert trainer.judge.updates == 2
    found = rows(tmp_path, "rollouts.jsonl")
    assert [sum(row["gold"] is not None for row in found if row["window"] == w) for w in range(4)] == [3, 1, 0, 0]
    write_json(tmp_path / "state.json", trainer.state_dict())  # the last window had no label to agree with: no NaN
    golds.CALLS.clear()


def test_opo_with_gold_trains_nothing_that_the_budget_does_not_reach(base, tmp_path):
    trainer = build(base, tmp_path, mode="opo", gold=LETTERS, max_labels=5, max_steps=2)
    trainer.train()
    found = rows(tmp_path, "rollouts.jsonl")
    assert [row["gold"] is not None for row in found] == [True] * 5 + [False] * 3
    assert all(row["chosen"] is None for row in found[5:])


def test_a_fixed_reward_model_buys_nothing(base, rm, tmp_path):
    trainer = build(base, tmp_path, mode="opo", discriminator=str(rm))
    before = trainer.judge.discriminator.digest()
    trainer.train()
    assert not (tmp_path / LEDGER_FILE).exists() and trainer.judge.discriminator.digest() == before
    assert all(row["chosen"] for row in rows(tmp_path, "rollouts.jsonl") if row["scores"][0] != row["scores"][1])


def test_a_frozen_discriminator_keeps_its_weights_while_gold_corrects(base, rm, tmp_path):
    trainer = build(base, tmp_path, **learning(rm, update_discriminator=False, max_steps=2))
    before = trainer.judge.discriminator.digest()
    trainer.train()
    assert trainer.judge.discriminator.digest() == before and trainer.judge.gold.spent == 3


def test_self_reward_ranks_by_its_own_log_ratio(base, tmp_path):
    trainer = build(base, tmp_path, mode="self_reward", gold=LETTERS, labels_per_window=3)
    trainer.train()
    found = rows(tmp_path, "rollouts.jsonl")
    first = [row for row in found if row["window"] == 0 and row["gold"] is None]
    assert all(row["scores"] == [0.0, 0.0] and row["chosen"] is None for row in first)  # the policy is the reference
    second = [row for row in found if row["window"] == 1 and row["gold"] is None]
    assert any(row["chosen"] for row in second)


def test_log_ratios_are_sums_over_the_answers_own_tokens_without_dropout(base, tmp_path):
    """Against one answer at a time, unpadded, straight from the logits of the policy and of the untouched model."""
    lora = LoraConfig(
        r=4, lora_dropout=0.5, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    trainer = build(base, tmp_path, mode="opo", gold=LETTERS, lora=lora)
    prompts, answers = [[5, 6, 7], [8]], [[[9, 10], [11]], [[12, 13, 14], [15, 16]]]
    found = log_ratios(trainer, prompts, answers)
    assert trainer.model.training and found == log_ratios(trainer, prompts, answers)
    trainer.model.eval()

    def log_prob(prompt: list[int], answer: list[int]) -> float:
        logits = trainer.model(torch.tensor([prompt + answer])).logits[0].float() / trainer.args.temperature
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        return sum(
            float(logits[place].log_softmax(-1)[token].detach()) for place, token in zip(places, answer, strict=True)
        )

    for prompt, row, ratios in zip(prompts, answers, found, strict=True):
        for answer, ratio in zip(row, ratios, strict=True):
            with trainer.model.disable_adapter():
                reference = log_prob(prompt, answer)
            assert ratio == pytest.approx(log_prob(prompt, answer) - reference, abs=1e-4) and abs(ratio) > 1e-3


def test_a_gold_function_that_fails_stops_the_run_with_its_name(base, tmp_path):
    with pytest.raises(ValueError, match=r"gold .* returned \[nan, nan\] for 2 answers"):
        build(base, tmp_path, mode="opo", gold=NAN).train()


def test_evaluation_tells_gold_against_labels(base, rm, tmp_path):
    trainer = build(base, tmp_path, eval_dataset=conversations(5), eval_strategy="steps", eval_steps=2, **learning(rm))
    trainer.train()
    found = [row for row in trainer.state.log_history if "eval_gold" in row]
    assert [row["eval_gold_labels"] for row in found] == [3, 6]
    again = trainer.evaluate()
    assert again["eval_gold"] == found[-1]["eval_gold"] and again["eval_score"] == found[-1]["eval_score"]


def test_a_fixed_reward_model_is_evaluated_by_a_gold_that_labels_nothing(base, rm, tmp_path):
    trainer = build(base, tmp_path, mode="opo", discriminator=str(rm), eval_gold=FINE, eval_dataset=conversations(3))
    found = trainer.evaluate()
    assert found["eval_gold_labels"] == 0 and found["eval_gold"] > 0 and 0 <= found["eval_agreement"] <= 1
    trainer.train()
    assert not (tmp_path / LEDGER_FILE).exists() and {row["gold"] for row in rows(tmp_path, "rollouts.jsonl")} == {None}


def test_evaluation_compares_the_two_answers_to_the_same_prompt(base, tmp_path):
    judge, seen = Oracle(), []

    def recorded(prompts, texts):
        seen.append(list(zip(prompts, texts, strict=True)))
        return [float(len(text)) for text in texts]

    judge.score = recorded
    data = conversations(6)
    trainer = build(base, tmp_path, judge, eval_dataset=data, mode="d2po", gold=FINE, labels_per_window=3,
                    discriminator_url="http://127.0.0.1:1")  # fmt: skip
    metrics = trainer.evaluate()
    (rows_seen,) = seen
    first, second = rows_seen[:6], rows_seen[6:]
    assert [prompt for prompt, _ in first] == [prompt for prompt, _ in second]
    agreed = [
        np.sign(len(one[1]) - len(other[1])) == np.sign(np.subtract(*golds.fine(*zip(one, other, strict=True))))
        for one, other in zip(first, second, strict=True)
        if len(one[1]) != len(other[1])
    ]
    assert metrics["eval_agreement"] == pytest.approx(np.mean(agreed))


# --- resume -----------------------------------------------------------------------------------------------------------


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


@pytest.mark.parametrize("step", [3, 4, 5])
def test_a_resumed_run_ends_where_the_whole_one_does(base, rm, tmp_path, step):
    """Stopped in the middle of a window, at its end, and in the second epoch: bit for bit, and no label bought twice."""
    flags = learning(rm, save_strategy="steps", save_steps=1, max_steps=7, discriminator_replay=2, token_bonus=0.1)
    whole = build(base, tmp_path / "whole", **flags)
    whole.train()
    stopped = build(base, tmp_path / "stopped", **flags)
    stopped.add_callback(StopAt(step + 1))  # labels of the step after the checkpoint are in the ledger already
    stopped.train()
    stopped.judge.gold.ledger.close()
    golds.CALLS.clear()
    resumed = build(base, tmp_path / "stopped", **flags)
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / f"checkpoint-{step}"))
    assert_same_weights(weights_of(whole), weights_of(resumed))
    assert whole.judge.discriminator.digest() == resumed.judge.discriminator.digest()
    for name in (LEDGER_FILE, "rollouts.jsonl"):
        assert rows(tmp_path / "whole", name) == rows(tmp_path / "stopped", name)
    assert whole.judge.state_dict() == resumed.judge.state_dict()


def test_a_run_killed_before_its_first_checkpoint_starts_again_without_its_leftovers(base, tmp_path):
    """Its labels are met again and are free; its rollouts, the last of them cut off, are kept beside the new ones."""
    flags = {"mode": "opo", "gold": LETTERS, "max_steps": 2}
    first = build(base, tmp_path, **flags)
    first.train()
    first.judge.gold.ledger.close()
    left, bought = (tmp_path / "rollouts.jsonl").read_bytes()[:-9], (tmp_path / LEDGER_FILE).read_bytes()
    (tmp_path / "rollouts.jsonl").write_bytes(left)
    build(base, tmp_path, **flags).train()
    assert (tmp_path / "rollouts.1.jsonl").read_bytes() == left and (tmp_path / LEDGER_FILE).read_bytes() == bought
    assert [row["window"] for row in rows(tmp_path, "rollouts.jsonl")] == [0] * 8


@pytest.mark.parametrize("last", [2, 3, 4])
def test_a_finished_run_that_is_resumed_buys_and_trains_nothing(base, rm, tmp_path, last):
    """Its last step ends a window within an epoch, lies within a window, and ends an epoch."""
    flags = learning(rm, save_strategy="steps", save_steps=1, max_steps=last)
    first = build(base, tmp_path, **flags)
    first.train()
    first.judge.gold.ledger.close()
    golds.CALLS.clear()
    before = {name: (tmp_path / name).read_bytes() for name in (LEDGER_FILE, "rollouts.jsonl")}
    for place in (str(tmp_path / f"checkpoint-{last}"), True):
        again = build(base, tmp_path, **flags)
        again.train(resume_from_checkpoint=place)
        again.judge.gold.ledger.close()
        assert again.state.global_step == last
        assert_same_weights(weights_of(first), weights_of(again))
        assert first.judge.discriminator.digest() == again.judge.discriminator.digest()
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
    assert len(list(tmp_path.glob("checkpoint-*"))) == last


def test_resuming_with_other_settings_or_a_lost_ledger_is_refused(base, rm, tmp_path):
    flags = learning(rm, save_strategy="steps", save_steps=2, max_steps=2)
    first = build(base, tmp_path / "run", **flags)
    first.train()
    first.judge.gold.ledger.close()
    place = str(tmp_path / "run" / "checkpoint-2")
    other = build(base, tmp_path / "run", **flags | {"labels_per_window": 2})
    with pytest.raises(ValueError, match="the run had labels_per_window = 3, this one has 2"):
        other.train(resume_from_checkpoint=place)
    with pytest.raises(ValueError, match=r"has 0 labels, the checkpoint .* knows of 3"):
        build(base, tmp_path / "elsewhere", **flags).train(resume_from_checkpoint=place)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mode": "d2p0"}, r"--mode is 'd2p0': valid are .*did you mean 'd2po'\?"),
        ({"mode": "opo"}, "give --gold or --discriminator"),
        ({"mode": "opo", "gold": LETTERS, "discriminator": "x"}, "for gold add --discriminator null, for the discriminator --gold null$"),
        ({"mode": "opo", "gold": LETTERS, "labels_per_window": 2}, "labelled by gold; .* add --labels_per_window 0$"),
        ({"mode": "d2po", "gold": LETTERS, "labels_per_window": 2}, "needs a discriminator: give --discriminator or"),
        ({"mode": "self_reward", "gold": LETTERS, "labels_per_window": 2, "discriminator": "x"}, "the policy scores itself, beside --gold; add --discriminator null$"),
        ({"mode": "d2po", "discriminator": "x", "gold": LETTERS}, r"--labels_per_window from 1 to --window_pairs 8 \(found 0\)"),
        ({"mode": "d2po", "discriminator": "x", "labels_per_window": 2}, r"needs --gold \(found None\)"),
        ({"mode": "opo", "gold": LETTERS, "window_pairs": 6}, "--window_pairs is 6: a multiple of 4 is valid"),
        ({"mode": "opo", "gold": LETTERS, "generation_batch_size": 0}, "--generation_batch_size is 0: at least 1"),
        ({"mode": "opo", "discriminator": "x", "discriminator_first_pairs": "f"}, "with --discriminator_replay 0"),
        ({"mode": "opo", "discriminator": "x", "discriminator_replay": 2, "discriminator_first_pairs": "f.csv"}, "f.csv: no such file"),
        ({"mode": "opo", "discriminator": "./nowhere"}, "--discriminator: ./nowhere does not exist"),
        ({"mode": "opo", "gold": "tests.d2po.golds:nothing"}, "gold function 'tests.d2po.golds:nothing' cannot be imported"),
        ({"mode": "opo", "gold": LETTERS, "discriminator_dtype": "bfloat16", "discriminator_lora_rank": 0}, "which needs 'float32'"),
        ({"mode": "opo", "gold": LETTERS, "completions": 3}, "--completions is 3: an even number"),
        ({"mode": "opo", "gold": LETTERS, "missing_eos_penalty": 1.0}, "it would act after the pairs are chosen"),
        ({"mode": "opo", "gold": LETTERS, "gold_arguments": "{"}, "is not JSON"),
        ({"mode": "opo", "gold": "ultrafeedbackgold", "gold_arguments": '{"base_url": "http://127.0.0.1:9/v1", "model": "m"}'}, "costs money: say with --max_labels"),
        ({"mode": "opo", "discriminator": "x", "max_labels": 3}, "nothing is labelled; .* add --max_labels null$"),
        ({"mode": "opo", "gold": LETTERS, "eval_gold": FINE}, "add --eval_gold null$"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(overrides, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        D2POConfig(**settings(tmp_path, **{"window_pairs": 8} | overrides))


# A run file of D2PO -> what is asked of it on the command line -> the flags that the one error names.
WHOLE = {
    "mode": "d2po", "gold": LETTERS, "gold_arguments": '{"noise": 0.5}', "max_labels": 9, "labels_per_window": 2,
    "discriminator": "x", "discriminator_replay": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        ({"mode": "opo"}, "--discriminator null --discriminator_first_pairs null --labels_per_window 0"),
        ({"mode": "opo", "gold_arguments": '{"model": "m"}'}, "--discriminator null --discriminator_first_pairs null --labels_per_window 0 --gold_arguments null"),
        ({"mode": "opo", "discriminator": None}, "--discriminator_first_pairs null --labels_per_window 0"),
        ({"mode": "opo", "gold": None}, "--max_labels null --labels_per_window 0"),
        ({"mode": "self_reward", "eval_gold": FINE}, "--discriminator null --discriminator_first_pairs null --eval_gold null"),
        ({"discriminator_url": "http://127.0.0.1:9"}, "--discriminator null --discriminator_first_pairs null"),
    ],
)  # fmt: skip
def test_one_error_names_all_that_a_run_file_of_d2po_must_lose(asked, flags, tmp_path):
    """Seen before: a user of OPO took out the discriminator, then the labels, then gold's arguments, an error each."""
    (tmp_path / "first.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    pairs = {"discriminator_first_pairs": str(tmp_path / "first.jsonl")}
    values = settings(tmp_path, **{"window_pairs": 8} | WHOLE | pairs | asked)
    with pytest.raises(ValueError) as refused:
        D2POConfig(**values)
    assert f"{flags}," in f"{refused.value},", refused.value
    taken = dict(zip(flags.split()[::2], flags.split()[1::2], strict=True))
    D2POConfig(
        **values | {flag.removeprefix("--"): None if value == "null" else int(value) for flag, value in taken.items()}
    )


@pytest.mark.parametrize(
    "prompt", [[{"role": "user", "content": None}], None, "a text among messages", [{"role": "user", "content": ""}]]
)
def test_a_row_without_a_prompt_is_refused_before_a_label_is_bought(base, tmp_path, prompt):
    data = Dataset.from_list([*conversations(3).to_list(), {"prompt": prompt}], on_mixed_types="use_json")
    with pytest.raises(ValueError, match="train_dataset row 4"):
        build(base, tmp_path, mode="opo", gold=LETTERS, data=data)
    with pytest.raises(ValueError, match="eval_dataset row 4"):
        build(base, tmp_path, mode="opo", gold=LETTERS, eval_dataset=data)
    with pytest.raises(ValueError, match=r"eval_dataset\['bad'\] row 4"):
        build(base, tmp_path, mode="opo", gold=LETTERS, eval_dataset={"good": conversations(3), "bad": data})
    trainer = build(base, tmp_path, mode="opo", gold=LETTERS, eval_dataset=conversations(3))
    trainer.sample = lambda *_: pytest.fail("it generated")
    for held_out, flag in ((data, "eval_dataset"), ({"good": conversations(3), "bad": data}, r"eval_dataset\['bad'\]")):
        with pytest.raises(ValueError, match=f"{flag} row 4"):
            trainer.evaluate(held_out)
    trainer.judge.gold.ledger.close()
    assert not (tmp_path / LEDGER_FILE).exists() or not (tmp_path / LEDGER_FILE).read_text()


def page_commands() -> list[str]:
    """The arguments of every D2PO run on the page and in the heads of the run files, with the variants in their comments."""
    commands = []
    for file in [REPOSITORY / "docs" / "d2po.md", *(REPOSITORY / "launch" / "runs" / "d2po").glob("smollm2*.yaml")]:
        text = re.sub(r"\\\n#?", " ", file.read_text())
        for line in text.splitlines():
            if found := re.match(r"(?:# Launch: +)?accelerate launch .*-m trl_ext\.d2po\.script (.*)", line):
                commands.append(found[1])
            elif found := re.match(r"# +(?:Compare:|random:|fixed:)?.*?(--(?:selection|mode) [^;`]*)", line):
                commands.append(f"{commands[-1].split(' --disc')[0]} {found[1]}")
    return commands


def test_every_command_of_the_page_is_taken(monkeypatch):
    """By the script's own parser, to the last setting: `null` takes away what the run file gives."""
    monkeypatch.chdir(REPOSITORY)
    # What an earlier command makes, such as models/d2po_rm, is not there yet.
    monkeypatch.setattr("datasets_builders.model_names.is_path", lambda name: False)
    commands = page_commands()
    assert len(commands) >= 7 and sum("--gold null" in one for one in commands) == 1, commands
    for command in commands:
        parser = ScriptParser((ScriptArguments, PromptArguments, D2POConfig, ModelConfig, DatasetMixtureConfig))
        _, _, args, _, _ = parser.parse_args_and_config([*command.split(), "--use_cpu", "true"])
        assert (args.gold is None) == ("--gold null" in command), command
        assert (args.discriminator is None) == ("--discriminator null" in command), command


def test_fewer_prompts_than_a_window_are_refused(base, tmp_path):
    with pytest.raises(ValueError, match="16 prompts are fewer than one window: --window_pairs 32"):
        build(base, tmp_path, mode="opo", gold=LETTERS, window_pairs=32).train()
