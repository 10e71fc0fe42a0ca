"""Runs of TRL's online DPO, stock and by our two trainers at their limit; called by `tests.parity.trl_worker`.

MOODPO's limit is one objective with fixed weights, as it is: the stock trainer gets prompts with the same instruction and the
objective as its reward. D2PO's is a window of one step whose pairs are all decided by gold: the stock trainer gets the rows in
the window's order and gold as its reward.
"""

from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer, set_seed
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from tests.d2po import golds
from tests.moodpo import reward_functions
from tests.parity.seen import described
from tests.parity.trl_runs import LORA, Events, count_positive, load
from tests.tiny import SENTENCES
from trl_ext import D2POConfig, D2POTrainer, MOODPOConfig, MOODPOOnlineDPOTrainer
from trl_ext.d2po.window import WindowSampler
from trl_ext.moodpo.instruction import annotate, strip
from trl_ext.online_dpo.prompts import completion_text, last_user_text

ROWS, BATCH, SEED = 16, 4, 5
COMMON = {
    "max_steps": 3, "per_device_train_batch_size": BATCH, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "bf16": False,
    "use_cpu": True, "max_new_tokens": 6, "max_length": 160, "logging_steps": 1, "report_to": "none", "seed": SEED, "beta": 0.3,
    "gradient_checkpointing": False, "save_strategy": "no", "temperature": 1.0, "disable_tqdm": True, "logging_nan_inf_filter": False,
}  # fmt: skip
OBJECTIVE, GOLD = "tests.moodpo.reward_functions:first", "tests.d2po.golds:fine"


class Oracle:
    """A discriminator that says what gold says and learns nothing."""

    def score(self, prompts, responses):
        return golds.fine(prompts, responses)

    def update(self, pairs, number):
        return {}

    def save(self, folder):
        folder.mkdir(parents=True)

    def load(self, folder):
        assert folder.is_dir()

    def digest(self):
        return "oracle"


def prompts(texts: bool) -> list:
    rows = [f"{SENTENCES[row % 8]} ({row})" for row in range(ROWS)]
    return rows if texts else [[{"role": "user", "content": text}] for text in rows]


def objective(prompts, completions, **columns):
    return reward_functions.first([strip(prompt) for prompt in prompts], completions)


def gold(prompts, completions, **columns):
    return golds.fine([last_user_text(p) for p in prompts], [completion_text(c) for c in completions])


def shared(model: str, config: dict, lora, ref_model, callback) -> dict:
    return {
        "model": load(model),
        "ref_model": None if ref_model is None else load(ref_model),
        "processing_class": AutoTokenizer.from_pretrained(model),
        "peft_config": None if lora is None else LoraConfig(**LORA | lora),
        "callbacks": [Events()] if callback else None,
    }


def told(trainer, given: dict) -> dict:
    trainer.train()
    return described(trainer) | {"events": given["callbacks"][0].seen if given["callbacks"] else []}


class InOrder(OnlineDPOTrainer):
    """The rows as they stand, which older transformers have no setting for."""

    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(self.train_dataset)


def stock(limit, folder, model, config=None, lora=None, ref_model=None, callback=False, texts=False) -> dict:
    """The stock trainer on the prompts, in the order and with the reward of a limit."""
    settings = COMMON | {"output_dir": str(folder)} | (config or {})
    rows = prompts(texts)
    if limit == "moodpo":
        rows = [annotate(prompt, ["first"], (1.0,), system_role=True) for prompt in rows]
    else:
        rows = [
            rows[place] for place in WindowSampler(ROWS, settings["per_device_train_batch_size"], 1, SEED, lambda: 0)
        ]
    set_seed(SEED)
    given = shared(model, settings, lora, ref_model, callback)
    trainer = (OnlineDPOTrainer if limit == "moodpo" else InOrder)(
        reward_funcs=[objective if limit == "moodpo" else gold], args=OnlineDPOConfig(**settings),
        train_dataset=Dataset.from_dict({"prompt": rows}), **given,
    )  # fmt: skip
    return told(trainer, given)


def ours(limit, folder, model, config=None, lora=None, ref_model=None, callback=False, texts=False) -> dict:
    """MOODPO, or D2PO by gold alone (`gold`) or with a discriminator that is corrected everywhere (`labels`).

    To the last digit without shared prefixes; with them to rounding, in tests/shared_prefix.
    """
    settings = COMMON | {"output_dir": str(folder), "shared_prefix": "off"} | (config or {})
    given = shared(model, settings, lora, ref_model, callback)
    data = Dataset.from_dict({"prompt": prompts(texts)})
    if limit == "moodpo":
        extra = {"reward_models": [f"first={OBJECTIVE}"], "fixed_weights": [1.0], "normalisation": "none"}
        return told(MOODPOOnlineDPOTrainer(args=MOODPOConfig(**settings, **extra), train_dataset=data, **given), given)
    batch = settings["per_device_train_batch_size"] * settings.get("gradient_accumulation_steps", 1)
    extra = {"gold": GOLD, "window_pairs": batch, "mode": "opo"}
    if limit == "labels":
        extra |= {"mode": "d2po", "labels_per_window": batch, "discriminator_url": "http://127.0.0.1:1"}
    oracle = Oracle() if limit == "labels" else None
    trainer = D2POTrainer(args=D2POConfig(**settings, **extra), train_dataset=data, discriminator=oracle, **given)
    return told(trainer, given)


def refused(folder, model, trainer, argument) -> dict:
    """One of the stock constructor's arguments, given to one of ours."""
    values = {
        "judge": object(),
        "reward_funcs": [gold],
        "reward_processing_classes": [None],
        "compute_metrics": count_positive,
        "preprocess_logits_for_metrics": lambda logits, labels: logits,
        "args": None,
        "model": get_peft_model(load(model), LoraConfig(**LORA)),
        "train_dataset": Dataset.from_dict({"prompt": prompts(False)}).to_iterable_dataset(),
    }
    settings = COMMON | {"output_dir": str(folder)}
    if trainer == "moodpo":
        trainer_class, args = MOODPOOnlineDPOTrainer, MOODPOConfig(**settings, reward_models=[f"first={OBJECTIVE}"])
    else:
        trainer_class, args = D2POTrainer, D2POConfig(**settings, gold=GOLD, window_pairs=BATCH, mode="opo")
    given = shared(model, settings, None if argument == "model" else {}, None, False)
    given |= {"args": args, "train_dataset": Dataset.from_dict({"prompt": prompts(False)})}
    if argument == "positional":  # the order of the stock class
        trainer_class(given["model"], given["ref_model"], [gold], args)
    else:
        trainer_class(**given | {argument: values[argument]})
    return {}


def evaluated(folder, model, trainer) -> dict:
    """Evaluation on a dictionary of data sets and on each alone, without training in between: {name: metrics}."""
    settings = COMMON | {"output_dir": str(folder)}
    sets = {
        name: Dataset.from_dict({"prompt": prompts(False)[start : start + 3]}) for name, start in (("a", 0), ("b", 3))
    }
    given = shared(model, settings, {}, None, False) | {
        "train_dataset": Dataset.from_dict({"prompt": prompts(False)}), "eval_dataset": sets,
    }  # fmt: skip
    if trainer == "moodpo":
        extra = {"reward_models": [f"first={OBJECTIVE}"], "normalisation": "none"}
        built = MOODPOOnlineDPOTrainer(args=MOODPOConfig(**settings, **extra), **given)
    else:
        built = D2POTrainer(args=D2POConfig(**settings, gold=GOLD, window_pairs=BATCH, mode="opo"), **given)
    together = built.evaluate()
    alone = {}
    for name, dataset in sets.items():
        alone |= built.evaluate(dataset, metric_key_prefix=f"eval_{name}")
    return {"together": together, "alone": alone}
