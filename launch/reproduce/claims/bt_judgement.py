"""`bt-judgement`: does GRPO on the Bradley-Terry reward teach a scorer the judgement, and which scaling stands wrong labels?"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from datasets_builders.io import read_object
from launch.bt.judge import read_pair_records
from launch.common.statistics import Estimate, student_mean
from launch.pipelines.stages import Stage
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies
from launch.reproduce.replies import FLIPPED
from launch.reproduce.small_runs import data_stage, evaluation_stage, grpo_stage, warm_up_stage, warmed

RUN_FILE = "bt_grpo/smollm2_hh_scoreonly.yaml"
LENGTH, TEMPERATURE = 128, 20
WARM_UP_STEPS, STEPS = 120, 150
# Flags and settings that differ from the run file, which divides by the batch's spread. That spread is mostly between pairs, so
# steps of the same rate are smaller than those that divide by a group's: "fast" tells a scaling from the size of its steps.
SCALINGS = {
    "batch": {},
    "fast": {"learning_rate": 1e-3},
    "group": {"scale_rewards": "group"},
    "none": {"scale_rewards": "none"},
    "floor": {"scale_rewards": "group", "model_kwargs": '{"BT_MIN_REWARD_STD": 0.5}'},
}
LABELS = {"right": ("train.jsonl", "right labels"), "wrong": ("flipped.jsonl", "a fifth of the labels wrong")}
TITLES = {"fast": "batch at 1e-3"}
ARMS = [(scaling, labels) for labels in LABELS for scaling in SCALINGS]


def scored(place: Place, seed: int, name: str, model: Path) -> Stage:
    """Four scores of each reply."""
    return evaluation_stage(
        place, seed, name, model, "eval-bt", "scored", num_samples=4, bt_temp=TEMPERATURE, batch_size=50
    )


def steps_of(place: Place) -> int:
    """Steps of a run."""
    return 4 if place.rehearsal else STEPS


def stages(place: Place) -> list[Stage]:
    found = []
    for seed in place.seeds:
        start = warmed(place, seed, WARM_UP_STEPS)
        found += [data_stage(place, seed, "score", 300), warm_up_stage(place, seed, WARM_UP_STEPS, LENGTH)]
        found.append(scored(place, seed, "warmup", start))
        last = steps_of(place)
        for scaling, labels in ARMS:
            arm, other = f"{scaling}_{labels}", {"learning_rate": 3e-4, "max_length": LENGTH, **SCALINGS[scaling]}
            found.append(grpo_stage(place, seed, arm, RUN_FILE, start, LABELS[labels][0], last, last, **other))
            found.append(scored(place, seed, arm, place.of(seed, arm) / f"checkpoint-{last}"))
    return found


Reading = Callable[[Path], float]


def strict_accuracy(folder: Path) -> float:
    """Share of all pairs in which the mean score of the better reply is higher."""
    return read_object(folder / "result.json")["metrics"]["strict_accuracy_of_all"]["value"]


def loss(folder: Path) -> float:
    """Bradley-Terry loss in nats at the temperature of the reward; that of a coin where no pair has scores."""
    value = read_object(folder / "result.json")["metrics"]["bt_loss"]["value"]
    return math.log(2) if value is None else value


def parsed(folder: Path) -> float:
    """Share of answers with a score."""
    return read_object(folder / "result.json")["metrics"]["sample_parse_rate"]["value"]


def miscalibration(folder: Path) -> float:
    """Nats that a wrong temperature costs where a fifth of the labels is wrong; 0 where sigma(margin / 20) is the chance.

    The expected loss at T = 20 minus that at the best T: of each pair both labels count, by their share.
    """
    margins = [pair.pair.margin() for pair in read_pair_records(folder / "pairs.jsonl")]
    return overconfidence([margin for margin in margins if margin is not None])


def overconfidence(margins: Sequence[float]) -> float:
    """See `miscalibration`. Args: (n,) margins in score points by the right labels; without any the cost is 0."""
    right = round(1 / FLIPPED) - 1  # labels of this kind for each that is wrong
    return cost_of_temperature([*(right * list(margins)), *(-margin for margin in margins)])


def cost_of_temperature(margins: Sequence[float]) -> float:
    """Nats by which the reward's temperature loses against the best one. Args: (n,) margins in score points; without any 0."""
    from launch.bt.calibration import fit_temperature
    from launch.bt.metrics import bt_loss

    if not len(margins):
        return 0.0
    best, _ = fit_temperature(margins)
    # Where none is best, an infinite one (a coin) or 0 (no pair is wrong) is approached.
    least = min(math.log(2), float(bt_loss(margins, best or 1e-6).mean()))
    return float(bt_loss(margins, TEMPERATURE).mean()) - least


def measure(place: Place) -> Measured:
    last = steps_of(place)

    def value(seed: int, name: str, reading: Reading) -> float:
        return reading(place.of(seed, f"scored/{name}"))

    def mean(name: str, reading: Reading) -> Estimate:
        return student_mean([value(seed, name, reading) for seed in place.seeds])

    def compared(new: str, old: str, reading: Reading) -> Estimate:
        return student_mean([value(seed, new, reading) - value(seed, old, reading) for seed in place.seeds])

    start = {seed: (0, value(seed, "warmup", strict_accuracy)) for seed in place.seeds}
    arms = {"warmup": Arm("after the warm-up", {seed: [point] for seed, point in start.items()})}
    for scaling, labels in ARMS:
        name, title = f"{scaling}_{labels}", f"{TITLES.get(scaling, scaling)}, {LABELS[labels][1]}"
        ends = {seed: (last, value(seed, name, strict_accuracy)) for seed in place.seeds}
        arms[name] = Arm(title, {seed: [start[seed], ends[seed]] for seed in place.seeds})
    gain = compared("batch_right", "warmup", strict_accuracy)
    fall = compared("batch_right", "warmup", loss)
    others = {"Bradley-Terry loss (T = 20, nats), batch minus warm-up": fall}
    for name, arm in arms.items():
        others[f"Bradley-Terry loss, {arm.title}"] = mean(name, loss)
        others[f"answers with a score, {arm.title}"] = mean(name, parsed)
        if name.endswith("wrong"):
            others[f"miscalibration (nats), {arm.title}"] = mean(name, miscalibration)
    for scaling, labels in ARMS:
        if scaling != "batch":
            title = f"{TITLES.get(scaling, scaling)} minus batch, {LABELS[labels][1]}"
            new, old = f"{scaling}_{labels}", f"batch_{labels}"
            if labels == "wrong":
                others[f"miscalibration (nats), {title}"] = compared(new, old, miscalibration)
            others[f"strict accuracy, {title}"] = compared(new, old, strict_accuracy)
    for labels, (_, said) in LABELS.items():
        title = f"group minus batch at 1e-3, {said}"
        others[f"strict accuracy, {title}"] = compared(f"group_{labels}", f"fast_{labels}", strict_accuracy)
    return Measured(arms, gain, lies(gain, "greater") and lies(fall, "less"), others)


CLAIM = Claim(
    name="bt-judgement",
    paper="grpo_bt_rm: a generative reward model trained by GRPO on the Bradley-Terry likelihood of sampled scores",
    question="Does GRPO on the Bradley-Terry reward teach a model that knows the form to score replies by the preference "
    "labels, and which scaling of rewards keeps its scores calibrated when labels are wrong?",
    comparison="strict accuracy of four sampled scores on fresh pairs after 150 steps with `scale_rewards: batch` minus after "
    "the warm-up",
    direction="greater",
    condition="The rule (more polite sentences) can be learnt by a model of 0.26 million weights, the warm-up writes scores "
    "nearly always (its teacher goes mostly by length and agrees with the rule on 61% of the pairs), prompts are short, and scores are drawn as in training.",
    weakest="One rule, made texts, one very small model, whose labels do not depend on how clear a pair is: that a scorer can "
    "be trained so says nothing of how far a large one gets on human preferences, which have pairs without a right answer.",
    across="step of GRPO",
    up="strict accuracy on fresh pairs",
    stages=stages,
    measure=measure,
)
