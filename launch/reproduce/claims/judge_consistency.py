"""`judge-consistency`: does GRPO on verdicts make a judge right and free of a favourite place, and what does agreement add?"""

from collections.abc import Callable
from pathlib import Path

from datasets_builders.io import read_object, read_rows
from launch.common.statistics import Estimate, student_mean
from launch.pipelines.stages import Stage
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies
from launch.reproduce.small_runs import data_stage, evaluation_stage, grpo_stage, warm_up_stage, warmed

RUN_FILE = "pairwise_judge/smollm2_hh.yaml"
LENGTH = 160
WARM_UP_STEPS, STEPS, WINDOW = 480, 120, 10
PREFERENCE = {"reward_funcs": ["pairwise_preference", "pairwise_format"], "reward_weights": [1.0, 0.1]}
# Flags that differ from the run file, whose rewards are preference 1, form 0.1, agreement 0.5, divided by the batch's spread.
# Group scaling divides the reward for agreement out of every prompt whose answers are well formed: `plain_group` again.
ARMS = {
    "consistency": ("preference and agreement, batch", {}),
    "plain": ("preference, batch", PREFERENCE),
    "plain_group": ("preference, group", {**PREFERENCE, "scale_rewards": "group"}),
}
RATE = 3e-4
# Of an evaluation, and of a training's log.
NUMBERS = {"accuracy": "accuracy", "agreement": "swap_consistency", "bias": "position_bias"}
LOGGED = {"accuracy": "judge/accuracy", "agreement": "judge/consistency", "first": "judge/first"}


def judged(place: Place, seed: int, name: str, model: Path) -> Stage:
    """Verdicts in both orders."""
    return evaluation_stage(place, seed, name, model, "eval-judge", "judged", batch_size=100)


def steps_of(place: Place) -> tuple[int, int]:
    """Steps of a run, and of a window of its log."""
    return (4, 2) if place.rehearsal else (STEPS, WINDOW)


def stages(place: Place) -> list[Stage]:
    found = []
    for seed in place.seeds:
        start, (last, _) = warmed(place, seed, WARM_UP_STEPS), steps_of(place)
        found += [data_stage(place, seed, "judge", 300), warm_up_stage(place, seed, WARM_UP_STEPS, LENGTH)]
        found.append(judged(place, seed, "warmup", start))
        for arm, (_, other) in ARMS.items():
            other = {"learning_rate": RATE, "max_length": LENGTH, **other}
            found.append(grpo_stage(place, seed, arm, RUN_FILE, start, "train.jsonl", last, last, **other))
            found.append(judged(place, seed, arm, place.of(seed, arm) / f"checkpoint-{last}"))
    return found


def read(place: Place, seed: int, name: str, number: str) -> float:
    """One number of an evaluation; 0 for the place that a judge without any verdict favours."""
    metrics = read_object(place.of(seed, f"judged/{name}") / "result.json")["metrics"]
    value = metrics[NUMBERS[number]]["value"]
    return 0.0 if value is None else value


def windows(place: Place, seed: int, arm: str, steps: int, window: int) -> list[dict[str, float]]:
    """Means of a training's log over windows of steps: `step` (their middle), `accuracy`, `agreement`, `bias`.

    A pair is judged once in a training, before the step that learns from it: these pairs are as fresh as those of the test.
    A run that went on from a checkpoint has logged some steps twice: the last time counts.
    """
    logged = [row for _, row in read_rows(place.of(seed, arm) / "logging.jsonl") if LOGGED["accuracy"] in row]
    rows = list({row.get("global_step/max_steps", number): row for number, row in enumerate(logged)}.values())
    found = []
    for begin in range(0, steps, window):
        part = rows[begin : begin + window]
        means = {
            name: sum(float(row.get(field, 0.5 if name == "first" else 0)) for row in part) / len(part)
            for name, field in LOGGED.items()
        }
        found.append({**means, "step": begin + (window + 1) / 2, "bias": 2 * means["first"] - 1})
    return found


def mean_size(log: list[dict[str, float]]) -> float:
    """Mean size of the bias over the windows of a log."""
    return sum(abs(one["bias"]) for one in log) / len(log)


def difference(place: Place, value: Callable[[int, str], float], new: str, old: str) -> Estimate:
    """Over seeds, paired: a number of one arm minus that of another."""
    return student_mean([value(seed, new) - value(seed, old) for seed in place.seeds])


def measure(place: Place) -> Measured:
    """See `compare`."""
    return compare(place, *steps_of(place), "warmup", "warm-up", "after the warm-up")


def compare(place: Place, last: int, window: int, begin: str, called: str, title: str) -> Measured:
    """The arms after `last` steps against where they began, with their logs in windows of steps.

    Args:
        begin: name of the evaluation of what training starts from.
        called, title: the same as a reader calls it, inside a phrase and as an arm.
    """
    ends = {
        name: {(seed, number): read(place, seed, name, number) for seed in place.seeds for number in NUMBERS}
        for name in (begin, *ARMS)
    }
    logs = {arm: {seed: windows(place, seed, arm, last, window) for seed in place.seeds} for arm in ARMS}
    start = {seed: (0, ends[begin][seed, "accuracy"]) for seed in place.seeds}
    arms = {begin: Arm(title, {seed: [point] for seed, point in start.items()})}
    for arm, (title, _) in ARMS.items():
        curves = {
            seed: [start[seed], *((one["step"], one["accuracy"]) for one in log), (last, ends[arm][seed, "accuracy"])]
            for seed, log in logs[arm].items()
        }
        arms[arm] = Arm(title, curves)

    def gained(number: str, new: str, old: str) -> Estimate:
        return difference(place, lambda seed, name: ends[name][seed, number], new, old)

    gain, agreement = (gained(number, "plain", begin) for number in ("accuracy", "agreement"))
    others = {
        f"agreement of both orders, preference minus {called}": agreement,
        f"accuracy, preference and agreement minus {called}": gained("accuracy", "consistency", begin),
        "accuracy, group minus batch": gained("accuracy", "plain_group", "plain"),
    }
    for number in ("accuracy", "agreement"):
        phrase = {"accuracy": "accuracy", "agreement": "agreement of both orders"}[number]
        others[f"{phrase}, with the agreement reward minus without"] = gained(number, "consistency", "plain")
    size = difference(place, lambda seed, name: abs(ends[name][seed, "bias"]), "consistency", "plain")
    others["size of the bias, with the agreement reward minus without"] = size
    during = {arm: {seed: mean_size(log) for seed, log in logs[arm].items()} for arm in ARMS}
    phrase = f"size of the bias during training (windows of {window} steps), with the agreement reward minus without"
    others[phrase] = difference(place, lambda seed, name: during[name][seed], "consistency", "plain")
    for name in ends:
        biases = [ends[name][seed, "bias"] for seed in place.seeds]
        others[f"bias (A minus B), {arms[name].title}"] = student_mean(biases)
    return Measured(arms, gain, lies(gain, "greater") and lies(agreement, "greater"), others)


CLAIM = Claim(
    name="judge-consistency",
    paper="RM-Gallery's guide to a pairwise judge on HelpSteer2: GRPO on right verdicts",
    question="Does GRPO on verdicts make a judge that favours place A more often right and of one mind in both orders, and "
    "does the reward for agreement lower its bias?",
    comparison="accuracy on fresh pairs after 120 steps minus after the warm-up",
    direction="greater",
    condition="The rule (more polite sentences) can be learnt by a model of 0.37 million weights, the warm-up knows the form "
    "(its teacher favours place A and is right in 78% of its answers) and has begun to pick up the rule, and answers are drawn as in training.",
    weakest="One rule, made texts, one very small model: that a judge can be trained so says nothing of how far a large one "
    "gets on human preferences. What is said of the agreement reward would change with a model whose accuracy stays far from 1 "
    "while its favourite place stays.",
    across="step of GRPO",
    up="accuracy on fresh pairs, both orders",
    stages=stages,
    measure=measure,
)
