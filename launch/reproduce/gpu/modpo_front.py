"""`modpo-front` on one GPU: Qwen2.5-7B-Instruct on PKU-SafeRLHF's two labels, by `launch/runs/modpo_trl/safe_rlhf.yaml`.

Where the best policy is not known: a policy's answers are scored by two reward models that others trained, in spreads of the
untouched model's answers.
"""

from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from datasets_builders.io import read_rows
from launch.common.operations import SHAPES, Rows
from launch.common.statistics import Estimate, hypervolume, student_mean
from launch.pipelines.command_lines import flags, launch
from launch.pipelines.stages import Command, Stage
from launch.reproduce import hours
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies
from launch.reproduce.fronts import WEIGHTS
from launch.reproduce.gpu.runs import RUNS, Timed, builder, hours_of, stages_of

RUN_FILE, BASE, SHAPE = "modpo_trl/safe_rlhf.yaml", "Qwen/Qwen2.5-7B-Instruct", SHAPES["7B"]
LABELS = {"a": "better", "b": "safer"}  # of PKU-SafeRLHF: the more helpful and the less harmful of two answers
OBJECTIVES = {"a": "helpful", "b": "harmless"}  # reward models by name, see trl_ext.moodpo.specs
STEPS, PAIRS_A_STEP, LEARNING_RATE = 100, 64, 1e-4  # by the run file
PROMPTS, SAMPLES, LONGEST, BATCH = 500, 2, 256, 32  # of the evaluation
TOKENS, ANSWER = 250, 170  # of a pair's side, and of these of its answer: assumed, for the estimate alone
TITLES = {
    "modpo": "MODPO as advised, margin by adapter",
    "soup": "soup of the two DPO ends",
    "untouched": "untouched model",
}


def _data(place: Place) -> Path:
    return place.folder / "data"


def data(place: Place) -> Stage:
    """Pairs by each label, and prompts that nobody trained on; a seed draws its pairs from them by its order."""
    limit = 400 if place.rehearsal else None
    shared = {"dataset": "beavertails", "format": "trl"}
    commands = [
        builder("preference", {**shared, "dimension": label, "split": "train", "limit": limit, "out": _data(place) / f"{name}.jsonl"})
        for name, label in LABELS.items()
    ]  # fmt: skip
    test = {**shared, "dimension": "better", "split": "test", "limit": limit, "out": _data(place) / "test.jsonl"}
    commands.append(builder("preference", test))
    return Stage("data", "PKU-SafeRLHF, pairs by two labels", commands, [_data(place)])


def train(place: Place, seed: int, arm: str, name: str, pairs: str, **other: Any) -> Stage:
    """One run of MODPO's script by the run file."""
    values = {
        "config": RUNS / RUN_FILE,
        "dataset_name": _data(place) / f"{pairs}.jsonl",
        "output_dir": place.of(seed, name),
        "max_steps": 2 if place.rehearsal else STEPS,
        "report_to": "none",
        "seed": seed,
        **other,
    }
    command = Command(["python", "-m", "trl_ext.modpo.script", *flags(values)])
    return Stage(f"{arm}_s{seed}_{name}", f"seed {seed}: {name}", [command], [place.of(seed, name)])


def runs(place: Place, seed: int) -> list[Timed]:
    """Both ends by DPO, and for every weight a soup of them and MODPO, as docs/modpo.md advises it."""
    steps = 2 if place.rehearsal else STEPS
    rows = Rows(2 * PAIRS_A_STEP, TOKENS, ANSWER)

    def lasting(models: int) -> float:
        return hours.START + hours.trained(SHAPE, steps, rows, references=models)

    ends = {name: place.of(seed, f"end_{name}") for name in LABELS}
    found = [Timed(train(place, seed, "ends", f"end_{name}", name), lasting(1)) for name in LABELS]
    for w in WEIGHTS:
        soup = place.of(seed, f"soup{w:g}")
        adapters = [f"{name}={folder}" for name, folder in ends.items()]
        values = {"base": BASE, "adapters": adapters, "weights": f"a={w:g},b={1 - w:g}", "out": soup}
        stage = Stage(f"soup_s{seed}_soup{w:g}", f"seed {seed}: soup at {w:g}", [launch("soup", values)], [soup])
        found.append(Timed(stage, 0.0))
        mine, other, share = ("a", "b", w) if w >= 0.5 else ("b", "a", round(1 - w, 6))
        how = {
            "w": share,
            "margin_adapter": ends[other],
            "start": "margins",
            "learning_rate": round(LEARNING_RATE * share, 9),
        }
        found.append(Timed(train(place, seed, "modpo", f"modpo{w:g}", mine, **how), lasting(2)))
    return found


def evaluated(place: Place, seed: int) -> Timed:
    """Answers of every policy with both scores, and how far each answer lies from the untouched model."""
    names = [f"{arm}{w:g}" for arm in ("modpo", "soup") for w in WEIGHTS]
    prompts, answers = (8 if place.rehearsal else PROMPTS), place.of(seed, "answers")
    values = {
        "model": BASE,
        "prompts": _data(place) / "test.jsonl",
        "objectives": list(OBJECTIVES.values()),
        "limit": prompts,
        "num_samples": SAMPLES,
        "max_new_tokens": LONGEST,
        "temperature": 1.0,
        "batch_size": BATCH,
        "torch_dtype": "bfloat16",
        "seed": seed,
        "out": answers,
    }
    policies = [word for name in names for word in ("--policy", f"{name}=fixed:{place.of(seed, name)}")]
    commands = [launch("pareto", values, *policies)]
    for name in names:
        gens, reward = answers / "generations" / name, f"kl=implicit:{place.of(seed, name)}"
        how = {
            "model": BASE,
            "torch_dtype": "bfloat16",
            "gens": gens,
            "reward": reward,
            "beta": 1.0,
            "batch_size": BATCH,
        }
        commands.append(launch("score", {**how, "out": place.of(seed, "divergence") / name}))
    drawing = hours.drawn(SHAPE, -(-prompts // BATCH), BATCH * SAMPLES, TOKENS + LONGEST, LONGEST, vllm=False)
    reading = 2 * hours.read(SHAPE, Rows(prompts * SAMPLES, TOKENS, ANSWER))
    lasting = (len(names) + 1) * (hours.START + drawing) + len(names) * (hours.START + reading)
    outputs = [answers, place.of(seed, "divergence")]
    return Timed(
        Stage(f"evaluated_s{seed}", f"seed {seed}: answers, scores and KL of every policy", commands, outputs), lasting
    )


def planned(place: Place) -> list[Timed]:
    """The pairs; for each seed five trainings, three soups and one evaluation of all of them."""
    found = [Timed(data(place), 0.0)]
    for seed in place.seeds:
        found += [*runs(place, seed), evaluated(place, seed)]
    return found


def scores(file: Path, objective: str) -> list[float]:
    """One score for each answer.

    Raises:
        ValueError: an answer without one.
    """
    found = [row["scores"][objective] for _, row in read_rows(file)]
    if None in found:
        raise ValueError(f"{file}: {found.count(None)} of {len(found)} answers have no score {objective!r}")
    return found


def gains(place: Place, seed: int, policy: str) -> tuple[float, float]:
    """Mean scores by both objectives over those of the untouched model, in spreads (over answers) of the latter."""
    folder, found = place.of(seed, "answers") / "scores", []
    for objective in OBJECTIVES.values():
        before, after = (scores(folder / f"{name}.jsonl", objective) for name in ("untouched", policy))
        found.append((fmean(after) - fmean(before)) / stdev(before))
    return found[0], found[1]


def measure(place: Place) -> Measured:
    """R_w over w of every arm, paired by seed; what each front spans, and how far it went."""
    at = {
        (arm, seed, w): gains(place, seed, "untouched" if arm == "untouched" else f"{arm}{w:g}")
        for arm in TITLES for seed in place.seeds for w in WEIGHTS
    }  # fmt: skip

    def worth(arm: str, seed: int, w: float) -> float:
        a, b = at[arm, seed, w]
        return w * a + (1 - w) * b

    arms = {
        arm: Arm(title, {seed: [(w, worth(arm, seed, w)) for w in WEIGHTS] for seed in place.seeds})
        for arm, title in TITLES.items()
    }
    means = {arm: one.means() for arm, one in arms.items()}

    def minus(other: str) -> Estimate:
        return student_mean([means["modpo"][seed] - means[other][seed] for seed in place.seeds])

    others = {f"MODPO minus: {TITLES['soup']}": minus("soup")}
    for low, high in pairwise(WEIGHTS):
        for which, name in enumerate(OBJECTIVES.values()):
            sign, more = ((1, "more"), (-1, "less"))[which]
            gaps = [sign * (at["modpo", seed, high][which] - at["modpo", seed, low][which]) for seed in place.seeds]
            others[f"MODPO, from w = {low:g} to {high:g}: {more} {name} (spreads)"] = student_mean(gaps)
    for arm in ("modpo", "soup"):
        volumes = [hypervolume([at[arm, seed, w] for w in WEIGHTS], (-1.0, -1.0)) for seed in place.seeds]
        others[f"hypervolume above one spread under the untouched model: {TITLES[arm]}"] = student_mean(volumes)
        far = [
            fmean(fmean(scores(place.of(seed, "divergence") / name / f"{name}.jsonl", "kl")) for name in (f"{arm}{w:g}" for w in WEIGHTS))
            for seed in place.seeds
        ]  # fmt: skip
        others[f"KL from the untouched model in nats an answer, over its own answers: {TITLES[arm]}"] = student_mean(
            far
        )
    estimate = minus("untouched")
    return Measured(arms, estimate, lies(estimate, "greater"), others)


CLAIM = Claim(
    name="modpo-front-gpu",
    paper="Multi-Objective Direct Preference Optimization, arXiv 2310.03708",
    question="Are the answers of the policy that MODPO trains for a weight worth more to that weight than those of Qwen2.5-7B-Instruct, and "
    "than those of the soup of two DPO policies?",
    comparison="R_w of MODPO with a margin adapter over the untouched model, in spreads of its answers, mean over w of 0.2, 0.5 and 0.8",
    direction="greater",
    condition=f"PKU-SafeRLHF's labels for help and for harm, {STEPS} steps of {PAIRS_A_STEP} pairs, a LoRA of rank 32. R_w is w times the gain in a reward "
    "model for help and 1 - w times that in one for harmlessness. MODPO trains on the pairs of the objective with the larger weight, starts at the "
    "margins, and has DPO's learning rate times that weight.",
    weakest="The judges are two small reward models of other people, trained on Anthropic HH and not on these labels; KL stands beside R_w "
    "and not in it, so that a policy which went further may seem better. Neither reinforcement learning nor DPO on rows of both is among the arms. The "
    "seeds share rows, from which each draws by its own order.",
    across="weight of helpfulness",
    up="R_w (spreads of the untouched model's answers)",
    stages=stages_of(planned),
    measure=measure,
    compared="mean",
    shared={"modpo": ("ends",), "soup": ("ends",)},
    scale="gpu",
    hours=hours_of(planned),
)
