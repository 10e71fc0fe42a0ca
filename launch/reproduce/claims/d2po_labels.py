"""`d2po-labels`: is a gold label worth more to a discriminator that learns during the run than to a fixed reward model?

Every seed has its own answers, labels, reward models and order of prompts; the language model is one, as a user's would be.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.io import read_object
from launch.answers.checkpoints import step_of
from launch.common.statistics import Estimate, student_mean
from launch.d2po.curve_data import STATE_FILE, by_step, read_run
from launch.pipelines.command_lines import flags, launch
from launch.pipelines.stages import Command, Stage
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies

GOLD = "bagofwords"
MODULE = ["python", "-m"]


class Size(NamedTuple):
    """How much of everything: labels before the run and in all, steps, steps between evaluations, pairs of a step and of a
    window, labels of a window, epochs of a reward model, and further flags of `small-language` and of the evaluation.
    """

    first: int = 260
    labels: int = 500
    steps: int = 90
    every: int = 30
    batch: int = 16
    window: int = 48
    bought: int = 8
    epochs: int = 10
    language_steps: int | None = None


FULL = Size()
REHEARSAL = Size(first=12, labels=16, steps=2, every=2, batch=4, window=8, bought=4, epochs=1, language_steps=20)

# What the arms of online training have in common; the policy's and the discriminator's weights are all trained.
POLICY = {
    "max_prompt_tokens": 16, "max_new_tokens": 20, "max_length": 64, "temperature": 1.0, "beta": 0.05, "dtype": "float32",
    "completions": 2, "learning_rate": 1e-3, "lr_scheduler_type": "constant",
}  # fmt: skip
DISCRIMINATOR = {
    "discriminator_text_format": "chat", "discriminator_learning_rate": 1e-3, "discriminator_epochs": 3,
    "discriminator_lora_rank": 0, "discriminator_batch_size": 16, "discriminator_max_length": 64,
}  # fmt: skip
NEAR = {"learning_rate": 1e-4}  # the policy stays where the labels of untouched answers are as good as new ones
TRAINER = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True}


def learner(selection: str) -> dict[str, Any]:
    """Flags of an arm whose discriminator learns from the labels that it selects."""
    return {"mode": "d2po", "gold": GOLD, "selection": selection, "discriminator": "reward_first", **DISCRIMINATOR}


def fixed(reward_model: str) -> dict[str, Any]:
    """Flags of an arm whose reward model stays as it is."""
    return {"mode": "opo", "eval_gold": GOLD, "discriminator": reward_model, **DISCRIMINATOR}


# Arm -> its title and flags; `discriminator` is a reward model of the same seed, and the learners also buy labels.
ONLINE: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed_all": ("fixed reward model, all labels", fixed("reward_all")),
    "fixed_first": ("fixed reward model, the first labels only", fixed("reward_first")),
    "random": ("D2PO, random labels", learner("random")),
    "confidence": ("D2PO, least certain labels (the default)", learner("confidence")),
    "clear": ("D2PO, most certain labels (fewest ties)", learner("clear")),
    "gold": ("gold on every pair (ceiling)", {"mode": "opo", "gold": GOLD}),
    # Where it should fail:
    "near_fixed": ("a tenth of the learning rate: fixed reward model, all labels", {**fixed("reward_all"), **NEAR}),
    "near_confidence": ("a tenth of the learning rate: D2PO, least certain labels", {**learner("confidence"), **NEAR}),
}
OFFLINE = "offline_dpo"
DECIDING = ("fixed_all", "confidence", "random")  # they come first, for all seeds


def _language(place: Place) -> Path:
    return place.folder / "language"


def _reward_model(place: Place, seed: int, name: str, size: Size) -> Command:
    return Command([*MODULE, "trl.scripts.reward", *flags({
        "model_name_or_path": _language(place) / "lm", "dataset_name": place.of(seed, f"pairs_{name}"),
        "output_dir": place.of(seed, f"reward_{name}"), "num_train_epochs": size.epochs, "learning_rate": 2e-3,
        "lr_scheduler_type": "constant", "per_device_train_batch_size": 16, "max_length": 64, "dtype": "float32",
        "save_strategy": "no", **TRAINER, "seed": seed,
    })])  # fmt: skip


def _online(place: Place, seed: int, arm: str, size: Size) -> Command:
    own = POLICY | ONLINE[arm][1]
    if "discriminator" in own:
        own["discriminator"] = place.of(seed, own["discriminator"])
    if own["mode"] == "d2po":
        first = place.of(seed, "pairs_first") / "train.jsonl"
        own |= {"labels_per_window": size.bought, "discriminator_replay": 48, "discriminator_first_pairs": first}
    return Command([*MODULE, "trl_ext.d2po.script", *flags({
        "model_name_or_path": _language(place) / "lm", "dataset_name": _language(place) / "prompts",
        "output_dir": place.of(seed, arm), **own, "window_pairs": size.window, "max_steps": size.steps,
        "per_device_train_batch_size": size.batch, "eval_strategy": "steps", "eval_steps": size.every,
        "eval_on_start": True, "per_device_eval_batch_size": 128,
        "generation_batch_size": size.window, "save_strategy": "no", "save_rollouts": False,
        **TRAINER, "seed": seed,
    })])  # fmt: skip


def _offline(place: Place, seed: int, size: Size) -> list[Command]:
    folder, answers = place.of(seed, OFFLINE), place.of(seed, f"{OFFLINE}_answers")
    train = Command([*MODULE, "trl.scripts.dpo", *flags({
        "model_name_or_path": _language(place) / "lm", "dataset_name": place.of(seed, "pairs_all"), "output_dir": folder,
        "max_steps": size.steps, "per_device_train_batch_size": size.batch, "save_strategy": "steps",
        "save_steps": size.every, "save_only_model": True,
        **{name: POLICY[name] for name in ("max_length", "beta", "dtype", "learning_rate", "lr_scheduler_type")},
        **TRAINER, "seed": seed,
    })])  # fmt: skip
    asked = launch("generate-checkpoints", {
        "checkpoints": folder, "model": _language(place) / "lm", "prompts": _language(place) / "prompts" / "test.jsonl",
        "num_samples": 2, "max_new_tokens": POLICY["max_new_tokens"], "temperature": 1.0, "top_p": 1.0,
        "repetition_penalty": 1.0, "batch_size": 64, "seed": seed, "out": answers,
    }, "--base")  # fmt: skip
    scored = launch("score-gold", {"answers": answers, "gold": GOLD, "out": place.of(seed, f"{OFFLINE}_gold")})
    return [train, asked, scored]


def stages(place: Place) -> list[Stage]:
    """The language, and for each seed answers with gold labels, two reward models, and the arms."""
    size = REHEARSAL if place.rehearsal else FULL
    language = _language(place)
    made = launch("small-language", {"out": language, "steps": size.language_steps})
    found = [Stage("language", "a small language model, its text and prompts", [made], [language])]
    for seed in place.seeds:
        found += [_first_labels(place, seed, size), *_reward_models(place, seed, size)]
        found += [_online_stage(place, seed, arm, size) for arm in DECIDING]
    for seed in place.seeds:
        found += [_online_stage(place, seed, arm, size) for arm in ONLINE if arm not in DECIDING]
        folders = [place.of(seed, f"{OFFLINE}{end}") for end in ("", "_answers", "_gold")]
        commands = _offline(place, seed, size)
        found.append(Stage(f"{OFFLINE}_s{seed}", f"offline DPO, seed {seed}", commands, folders, results=folders[2:]))
    return found


def _first_labels(place: Place, seed: int, size: Size) -> Stage:
    answers, language = place.of(seed, "answers"), _language(place)
    drawn = launch("generate", {
        "model": language / "lm", "prompts": language / "prompts" / "train.jsonl", "label": "base", "limit": size.labels,
        "num_samples": 2, "max_new_tokens": POLICY["max_new_tokens"], "batch_size": 128, "seed": seed, "out": answers,
    }, "--do_sample")  # fmt: skip
    commands, outputs = [drawn], [answers]
    for name, labels in (("first", size.first), ("all", size.labels)):
        outputs.append(place.of(seed, f"pairs_{name}"))
        commands.append(Command([*MODULE, "launch.reproduce.gold_pairs", *flags({
            "answers": answers / "base", "gold": GOLD, "labels": labels, "out": outputs[-1] / "train.jsonl",
        })]))  # fmt: skip
    return Stage(f"first_labels_s{seed}", f"labels of untouched answers, seed {seed}", commands, outputs)


def _reward_models(place: Place, seed: int, size: Size) -> list[Stage]:
    """Of the first labels, which the learners begin with, and of all, which is the fixed arm's own."""
    names = {"first": f"reward_first_s{seed}", "all": f"fixed_all_s{seed}_reward"}
    return [
        Stage(
            stage,
            f"reward model of {name} labels, seed {seed}",
            [_reward_model(place, seed, name, size)],
            [place.of(seed, f"reward_{name}")],
        )
        for name, stage in names.items()
    ]


def _online_stage(place: Place, seed: int, arm: str, size: Size) -> Stage:
    folder, title = place.of(seed, arm), f"{ONLINE[arm][0]}, seed {seed}"
    return Stage(f"{arm}_s{seed}", title, [_online(place, seed, arm, size)], [folder], results=[folder / STATE_FILE])


def _offline_curve(folder: Path) -> list[tuple[float, float]]:
    """(step, gold) of the checkpoints that `score-gold` scored; the untouched model is step 0."""
    found = read_object(folder / "gold_summary.json")["checkpoints"]
    return sorted((float(step_of(name) or 0), cells["gold"]["value"]) for name, cells in found.items())


def _evaluations(folder: Path) -> list[Mapping[str, Any]]:
    """Rows of a trainer's log with an evaluation, by step."""
    rows = read_object(folder / STATE_FILE)["log_history"]
    return [row for _, row in sorted({row["step"]: row for row in rows if "eval_gold" in row}.items())]


def _over_seeds(place: Place, arm: str, value: str) -> tuple[Estimate, Estimate]:
    """Means over seeds of what evaluation says of `value`, before the first step and after the last."""
    rows = [_evaluations(place.of(seed, arm)) for seed in place.seeds]
    return tuple(student_mean([seed[end][f"eval_{value}"] for seed in rows]) for end in (0, -1))


def measure(place: Place) -> Measured:
    """The default learner against the fixed reward model with the same number of labels, seed by seed."""
    arms = {
        arm: Arm(title, {seed: by_step(read_run(place.of(seed, arm))) for seed in place.seeds})
        for arm, (title, _) in ONLINE.items()
    }
    arms[OFFLINE] = Arm(
        "offline DPO, all labels", {seed: _offline_curve(place.of(seed, f"{OFFLINE}_gold")) for seed in place.seeds}
    )
    ends = {name: arm.ends() for name, arm in arms.items()}

    def minus(arm: str, other: str) -> Estimate:
        return student_mean([ends[arm][seed] - ends[other][seed] for seed in place.seeds])

    others = {
        f"{arms[arm].title} minus fixed reward model, all labels": minus(arm, "fixed_all")
        for arm in ("random", "clear", "fixed_first", OFFLINE, "gold")
    }
    others["D2PO, least certain minus random labels"] = minus("confidence", "random")
    others["where it should fail, a tenth of the learning rate: D2PO minus fixed reward model"] = minus(
        "near_confidence", "near_fixed"
    )
    for arm, said in (("fixed_all", "fixed reward model"), ("confidence", "discriminator that learns")):
        for value, text in (("agreement", "agreement with gold on new pairs"), ("score", "its own mean score")):
            before, after = _over_seeds(place, arm, value)
            others |= {f"{said}: {text}, before the first step": before, f"{said}: {text}, at the end": after}
    estimate = minus("confidence", "fixed_all")
    return Measured(arms, estimate, lies(estimate, "greater"), others)


CLAIM = Claim(
    name="d2po-labels",
    paper="D2PO, arXiv 2405.01511",
    question="For the same number of gold labels, does a policy whose discriminator keeps learning from labels of its own answers "
    "get a higher gold score than one that is trained against a fixed reward model?",
    comparison="gold score of D2PO (least certain labels) minus that of a fixed reward model, both with 500 labels",
    direction="greater",
    condition="The policy moves far from the answers that the fixed reward model's labels were bought for, gold rewards words that are "
    "rare in those, and the first labels teach a reward model better than chance. Where a reward model can represent gold and answers "
    "stay as they were, labels bought in advance are as good (in simulation).",
    weakest="One small made language and one gold function; the steps are large, so that a fixed model goes out of date in 90 of them. A "
    "reward model as good as gold on the policy's own answers, or a fixed one that keeps its agreement, would change our mind.",
    across="policy steps",
    up="gold score (listed words in an answer)",
    stages=stages,
    measure=measure,
)
