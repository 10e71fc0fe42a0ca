"""`d2po-labels`: is a gold label worth more to a discriminator that learns during the run than to a fixed reward model?

Every seed has its own answers, labels, reward models and order of prompts; the language model is one, as a user's would be.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets_builders.io import read_object
from launch.answers.checkpoints import step_of
from launch.common.statistics import Estimate, student_mean
from launch.d2po.curve_data import STATE_FILE, by_step, read_run
from launch.pipelines.stages import Stage
from launch.reproduce import d2po_runs as runs
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies

GOLD, COMMON = "bagofwords", "launch.reproduce.words:words_a"
# Where the claim should fail: the policy stays where the labels of untouched answers are as good as new ones, ...
NEAR = {"learning_rate": 1e-4}
# ... or gold counts words of which those labels have shown every one many times. Before the names of its data: this.
SEA = "sea_"


def learner(selection: str, labels: str = "bought", gold: str = GOLD, data: str = "") -> dict[str, Any]:
    """Flags of an arm whose discriminator learns; what stands for a size's or a seed's own is filled in by `_online`."""
    own = {"mode": "d2po", "gold": gold, "selection": selection, "discriminator": f"{data}reward_first"}
    own |= runs.DISCRIMINATOR | {"labels_per_window": labels, "discriminator_replay": 48}
    return own | {"discriminator_first_pairs": f"{data}pairs_first"}


def fixed(reward_model: str, gold: str = GOLD) -> dict[str, Any]:
    """Flags of an arm whose reward model, one of the same seed, stays as it is."""
    return {"mode": "opo", "eval_gold": gold, "discriminator": reward_model, **runs.DISCRIMINATOR}


# Arm -> its title and flags.
ONLINE: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed_all": ("fixed reward model, all labels", fixed("reward_all")),
    "fixed_first": ("fixed reward model, the first labels only", fixed("reward_first")),
    "random": ("D2PO, random labels", learner("random")),
    "confidence": ("D2PO, least certain labels (the default)", learner("confidence")),
    "clear": ("D2PO, most certain labels (fewest ties)", learner("clear")),
    "few": ("D2PO, least certain labels, 1 of 16 pairs", learner("confidence", "few")),
    "gold": ("gold on every pair (ceiling)", {"mode": "opo", "gold": GOLD}),
    "near_fixed": ("a tenth of the learning rate: fixed reward model, all labels", {**fixed("reward_all"), **NEAR}),
    "near_confidence": ("a tenth of the learning rate: D2PO, least certain labels", {**learner("confidence"), **NEAR}),
    "sea_fixed": ("gold of common words: fixed reward model, all labels", fixed(f"{SEA}reward_all", COMMON)),
    "sea_confidence": (
        "gold of common words: D2PO, least certain labels",
        learner("confidence", gold=COMMON, data=SEA),
    ),
}
OFFLINE = "offline_dpo"
DECIDING = ("fixed_all", "confidence", "random")  # they come first, for all seeds


def stages(place: Place) -> list[Stage]:
    """The language, and for each seed answers with gold labels, reward models, and the arms."""
    made = [runs.language(place)]
    found = [Stage("language", "a small language model, its text and prompts", made, [runs.language_of(place)])]
    for seed in place.seeds:
        found += [_first_labels(place, seed), *_reward_models(place, seed)]
        found += [_online(place, seed, arm) for arm in DECIDING]
    for seed in place.seeds:
        found += [_common_labels(place, seed), *_reward_models(place, seed, SEA, "sea_fixed")]
        found += [_online(place, seed, arm) for arm in ONLINE if arm not in DECIDING]
        folders = tuple(place.of(seed, f"{OFFLINE}{end}") for end in ("", "_answers", "_gold"))
        commands = runs.offline(place, seed, place.of(seed, "pairs_all"), GOLD, folders)
        found.append(
            Stage(f"{OFFLINE}_s{seed}", f"offline DPO, seed {seed}", commands, [*folders], results=folders[2:])
        )
    return found


def _pairs(place: Place, seed: int, gold: str, data: str) -> tuple[list[Any], list[Path]]:
    """Commands that buy the first labels and all of them, and the folders that they fill."""
    size, answers = runs.size_of(place), place.of(seed, "answers")
    folders = {
        labels: place.of(seed, f"{data}pairs_{name}") for name, labels in (("first", size.first), ("all", size.labels))
    }
    return [runs.gold_pairs(answers, gold, labels, folder) for labels, folder in folders.items()], [*folders.values()]


def _first_labels(place: Place, seed: int) -> Stage:
    answers, (commands, folders) = place.of(seed, "answers"), _pairs(place, seed, GOLD, "")
    drawn = runs.answers(place, seed, answers)
    title = f"labels of untouched answers, seed {seed}"
    return Stage(f"first_labels_s{seed}", title, [drawn, *commands], [answers, *folders])


def _common_labels(place: Place, seed: int) -> Stage:
    """Labels of the same answers by the other gold function."""
    return Stage(f"{SEA}labels_s{seed}", f"labels for common words, seed {seed}", *_pairs(place, seed, COMMON, SEA))


def _reward_models(place: Place, seed: int, data: str = "", arm: str = "fixed_all") -> list[Stage]:
    """Of the first labels, which the learners begin with, and of all, which is the fixed arm's own."""
    found = []
    for name, stage in (("first", f"{data}reward_first_s{seed}"), ("all", f"{arm}_s{seed}_reward")):
        pairs, out = place.of(seed, f"{data}pairs_{name}"), place.of(seed, f"{data}reward_{name}")
        title = f"reward model of {name} labels{' for common words' if data else ''}, seed {seed}"
        found.append(Stage(stage, title, [runs.reward_model(place, seed, pairs, out)], [out]))
    return found


def _online(place: Place, seed: int, arm: str) -> Stage:
    (title, own), folder, size = ONLINE[arm], place.of(seed, arm), runs.size_of(place)
    own = dict(own)
    if "discriminator" in own:
        own["discriminator"] = place.of(seed, own["discriminator"])
    if own["mode"] == "d2po":
        own["labels_per_window"] = getattr(size, own["labels_per_window"])
        own["discriminator_first_pairs"] = place.of(seed, own["discriminator_first_pairs"]) / "train.jsonl"
    command = runs.online(place, seed, folder, own)
    return Stage(f"{arm}_s{seed}", f"{title}, seed {seed}", [command], [folder], results=[folder / STATE_FILE])


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


def compare(place: Place, titles: Mapping[str, str], failing: Mapping[str, str]) -> Measured:
    """The default learner against the fixed reward model with the same number of labels, seed by seed.

    Args:
        titles: of the arms that were trained online, by name.
        failing: beginning of two arms' names -> the design in which the claim should fail, in words.
    """
    arms = {
        arm: Arm(title, {seed: by_step(read_run(place.of(seed, arm))) for seed in place.seeds})
        for arm, title in titles.items()
    }
    arms[OFFLINE] = Arm(
        "offline DPO, all labels", {seed: _offline_curve(place.of(seed, f"{OFFLINE}_gold")) for seed in place.seeds}
    )
    ends = {name: arm.ends() for name, arm in arms.items()}

    def minus(arm: str, other: str) -> Estimate:
        return student_mean([ends[arm][seed] - ends[other][seed] for seed in place.seeds])

    others = {
        f"{arms[arm].title} minus fixed reward model, all labels": minus(arm, "fixed_all")
        for arm in ("random", "clear", "few", "fixed_first", OFFLINE, "gold")
        if arm in arms
    }
    others["D2PO, least certain minus random labels"] = minus("confidence", "random")
    others |= {
        f"where it should fail, {why}: D2PO minus fixed reward model": minus(f"{arm}_confidence", f"{arm}_fixed")
        for arm, why in failing.items()
    }
    for arm, said in (("fixed_all", "fixed reward model"), ("confidence", "discriminator that learns")):
        for value, text in (("agreement", "agreement with gold on new pairs"), ("score", "its own mean score")):
            before, after = _over_seeds(place, arm, value)
            others |= {f"{said}: {text}, before the first step": before, f"{said}: {text}, at the end": after}
    estimate = minus("confidence", "fixed_all")
    return Measured(arms, estimate, lies(estimate, "greater"), others)


def measure(place: Place) -> Measured:
    """See `compare`."""
    titles = {arm: title for arm, (title, _) in ONLINE.items()}
    return compare(place, titles, {"near": "a tenth of the learning rate", "sea": "gold of common words"})


CLAIM = Claim(
    name="d2po-labels",
    paper="D2PO, arXiv 2405.01511",
    question="For the same number of gold labels, does a policy whose discriminator keeps learning from labels of its own answers "
    "get a higher gold score than one that is trained against a fixed reward model?",
    comparison="gold score of D2PO (least certain labels) minus that of a fixed reward model, both with 500 labels",
    direction="greater",
    condition="The policy moves far from the answers that the fixed reward model's labels were bought for, gold rewards words that are "
    "rare in those, and the first labels teach a reward model better than chance. Two designs should therefore fail: a policy that "
    "hardly moves, and a gold function of common words, which labels bought in advance show many times.",
    weakest="One small made language and one gold function; the steps are large, so that a fixed model goes out of date in 90 of them. A "
    "reward model as good as gold on the policy's own answers, or a fixed one that keeps its agreement, would change our mind. Runs of "
    "1,000 steps are left out: they would take some 20 CPU minutes a seed.",
    across="policy steps",
    up="gold score (listed words in an answer)",
    stages=stages,
    measure=measure,
)
