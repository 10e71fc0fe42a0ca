"""`bt-judgement` on one GPU: a scorer of 7 billion parameters on Anthropic HH, by `launch/runs/bt_grpo/hh_recommended.yaml`."""

from pathlib import Path

from launch.bt.judge import read_pair_records
from launch.common.operations import SHAPES, Rows
from launch.common.statistics import Estimate, student_mean
from launch.pipelines.stages import Stage
from launch.reproduce import hours
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies
from launch.reproduce.claims.bt_judgement import (
    SCALINGS,
    TEMPERATURE,
    Reading,
    cost_of_temperature,
    loss,
    parsed,
    strict_accuracy,
)
from launch.reproduce.gpu.runs import Timed, builder, checkpoint, evaluation, grpo, hours_of, stages_of

RUN_FILE, BASE, SHAPE = "bt_grpo/hh_recommended.yaml", "Qwen/Qwen2.5-7B-Instruct", SHAPES["7B"]
PROMPTS = {"dataset": "anthropic_hh", "prompt": "hh_score100_v3"}
STEPS, LONGEST = 300, 256  # tokens of an answer
COMPLETIONS, SCORES = 256, 8  # of a step and of a prompt, by the run file
TEST, DRAWN, BATCH = 1000, 4, 16  # pairs of a test, scores of each reply, pairs at a time
PROMPT, ANSWER = 600, 90  # tokens: assumed, for the estimate alone
AUTHORS = "authors"
# What differs from the run file: the CPU claim's scalings at the run file's rate, and the authors' reward under the scaling that they had.
ARMS = {
    **{scaling: (scaling, other) for scaling, other in SCALINGS.items() if "learning_rate" not in other},
    AUTHORS: (
        "group, T = 5, hard clip at 1.1 (the authors' reward)",
        {"scale_rewards": "group", "model_kwargs": '{"BT_DELTA_TEMP": 5, "BT_DELTA_NEG_CLIP": 1.1, "BT_REWARD_OFFSET": 0.693}'},
    ),
}  # fmt: skip


def steps_of(place: Place) -> int:
    """Steps of a run."""
    return 2 if place.rehearsal else STEPS


def _train_file(place: Place) -> Path:
    return place.folder / "data" / "train.jsonl"


def data(place: Place) -> Stage:
    """Prompts for both replies of every training pair of HH; a seed draws its pairs from them by its order."""
    values = {**PROMPTS, "split": "train", "shuffle_sides": 0, "limit": 200 if place.rehearsal else None}
    command = builder("pointwise", {**values, "out": _train_file(place)}, "--add_meta")
    return Stage("data", "Anthropic HH, a prompt for each reply", [command], [_train_file(place).parent])


def trained_for(steps: int) -> float:
    """Hours of a training."""
    rows = Rows.of(COMPLETIONS // SCORES, SCORES, PROMPT, ANSWER, shared=False)
    sampling = hours.drawn(SHAPE, steps, COMPLETIONS, PROMPT + LONGEST, LONGEST, vllm=True)
    return hours.START + sampling + hours.trained(SHAPE, steps, rows, references=1)


def scored_for(pairs: int) -> float:
    """Hours of an evaluation."""
    at_once = 2 * BATCH * DRAWN
    return hours.START + hours.drawn(SHAPE, -(-pairs // BATCH), at_once, PROMPT + LONGEST, LONGEST, vllm=False)


def planned(place: Place) -> list[Timed]:
    """The prompts; for each seed the untouched model's scores, and each arm with its own."""
    steps, pairs = steps_of(place), 16 if place.rehearsal else TEST
    found = [Timed(data(place), 0.0)]
    for seed in place.seeds:
        models: dict[str, dict] = {"untouched": {"model": BASE}}
        for arm, (_, other) in ARMS.items():
            run = grpo(place, seed, arm, RUN_FILE, _train_file(place), steps, **other)
            found.append(Timed(run, trained_for(steps)))
            models[arm] = {"checkpoint": checkpoint(place, seed, arm, steps)}
        for name, model in models.items():
            values = {**model, **PROMPTS, "split": "test", "limit": pairs, "shuffle_sides": seed, "batch_size": BATCH}
            values |= {"num_samples": DRAWN, "bt_temp": TEMPERATURE, "max_new_tokens": LONGEST}
            scored = evaluation(place, seed, name, "eval-bt", "scored", values)
            found.append(Timed(scored, scored_for(pairs)))
    return found


def miscalibration(folder: Path) -> float:
    """Nats that the reward's temperature costs against the best one, on the labels as people gave them."""
    margins = [pair.pair.margin() for pair in read_pair_records(folder / "pairs.jsonl")]
    return cost_of_temperature([margin for margin in margins if margin is not None])


def measure(place: Place) -> Measured:
    """Each arm after training against the untouched model, paired by seed."""
    last = steps_of(place)

    def value(seed: int, name: str, reading: Reading) -> float:
        return reading(place.of(seed, f"scored/{name}"))

    def compared(new: str, old: str, reading: Reading) -> Estimate:
        return student_mean([value(seed, new, reading) - value(seed, old, reading) for seed in place.seeds])

    start = {seed: (0, value(seed, "untouched", strict_accuracy)) for seed in place.seeds}
    arms = {"untouched": Arm("untouched model", {seed: [point] for seed, point in start.items()})}
    for name, (title, _) in ARMS.items():
        ends = {seed: (last, value(seed, name, strict_accuracy)) for seed in place.seeds}
        arms[name] = Arm(title, {seed: [start[seed], ends[seed]] for seed in place.seeds})
    gain, fall = (compared("batch", "untouched", reading) for reading in (strict_accuracy, loss))
    others = {"Bradley-Terry loss (T = 20, nats), batch minus untouched": fall}
    readings = {"Bradley-Terry loss": loss, "answers with a score": parsed, "miscalibration (nats)": miscalibration}
    for name, arm in arms.items():
        for phrase, reading in readings.items():
            others[f"{phrase}, {arm.title}"] = student_mean([value(seed, name, reading) for seed in place.seeds])
    for name in (name for name in ARMS if name != "batch"):
        for phrase, reading in {"strict accuracy": strict_accuracy, "miscalibration (nats)": miscalibration}.items():
            others[f"{phrase}, {arms[name].title} minus batch"] = compared(name, "batch", reading)
    return Measured(arms, gain, lies(gain, "greater") and lies(fall, "less"), others)


CLAIM = Claim(
    name="bt-judgement-gpu",
    paper="grpo_bt_rm: a generative reward model trained by GRPO on the Bradley-Terry likelihood of sampled scores",
    question="Does GRPO on the Bradley-Terry reward teach Qwen2.5-7B-Instruct to score replies as people chose in Anthropic HH, and "
    "which scaling of rewards keeps its scores calibrated under their disagreement?",
    comparison=f"strict accuracy of {DRAWN} sampled scores on HH's test pairs after {STEPS} steps with `scale_rewards: batch` minus before",
    direction="greater",
    condition=f"A LoRA of rank 8, {STEPS} steps of 16 pairs with {SCORES} scores a reply, one update a step, no warm-up: the instructed "
    "model writes the form. Scores are drawn as in training.",
    weakest=f"One model and one data set, where people agree with the label about two times in three, and {TEST} test pairs a seed from the same "
    "published split. The authors' reward is an arm, their run is not: theirs had other batches, rates and steps.",
    across="step of GRPO",
    up="strict accuracy on HH's test pairs",
    stages=stages_of(planned),
    measure=measure,
    scale="gpu",
    hours=hours_of(planned),
)
