"""`moodpo-steering` on one GPU: Qwen2.5-7B-Instruct between help and harmlessness, by `launch/runs/moodpo/one_gpu.yaml`.

Prompts are those of Anthropic HH, scores those of two reward models that others trained on it.
"""

from pathlib import Path
from typing import Any, NamedTuple

from launch.common.operations import SHAPES, Rows
from launch.pipelines.command_lines import flags, launch
from launch.pipelines.stages import Command, Stage
from launch.reproduce import hours
from launch.reproduce.claim import Claim, Measured, Place
from launch.reproduce.gpu.runs import RUNS, Timed, builder, checkpoint, hours_of, resumed, stages_of
from launch.reproduce.steered_fronts import ENOUGH, STEERED, Scale, compared, fixed_label, read_front

RUN_FILE, BASE, SHAPE = "moodpo/one_gpu.yaml", "Qwen/Qwen2.5-7B-Instruct", SHAPES["7B"]
OBJECTIVES = ["helpful", "harmless"]  # of `trl_ext.moodpo.specs`, as the run file has them
SPREADS = Scale(OBJECTIVES, "help", in_spreads=True)
ENDS = (1.0, 0.0)  # weights of help; the soups are of the policies for these
PROMPTS_A_STEP, AT_ONCE, RANK, LONGEST = (
    64,
    16,
    64,
    256,
)  # prompts of a step and of a draw, tokens of an answer: by the run file
PROMPT, ANSWER = 200, 170  # tokens: assumed, for the estimate alone
BATCH, SCORER = 64, SHAPES["1.5B"]  # prompts at a time; a reward model has half as many weights as this
PREPARED = ("samples", "warmup")  # stages that an arm needs besides its own


class Size(NamedTuple):
    """Prompts and answers to each that the warm-up's rows come from, steps of a policy, prompts and answers of the evaluation.

    `fixed` are the weights of help that a policy of their own is trained for, `asked` is how many steps lie between 0 and 1
    of the weights that the correlation is over, `pairs` how many of each part of HH are read.
    """

    sampled: int = 4000
    samples: int = 4
    steps: int = 200
    prompts: int = 256
    answers: int = 2
    fixed: tuple[float, ...] = (1.0, 0.8, 0.5, 0.2, 0.0)
    asked: int = 10
    pairs: int | None = None


FULL = Size()
REHEARSAL = Size(sampled=64, samples=2, steps=2, prompts=8, fixed=ENDS, asked=1, pairs=400)


def size_of(place: Place) -> Size:
    """A rehearsal's or the whole one."""
    return REHEARSAL if place.rehearsal else FULL


def _prompts(place: Place, which: str) -> Path:
    return place.folder / "prompts" / f"{which}.jsonl"


def data(place: Place) -> Stage:
    """HH's conversations up to their last reply, for training and, of its test split, for evaluation."""
    shared = {"dataset": "anthropic_hh", "format": "trl", "limit": size_of(place).pairs}
    commands = [builder("preference", {**shared, "split": w, "out": _prompts(place, w)}) for w in ("train", "test")]
    return Stage("data", "Anthropic HH's prompts", commands, [_prompts(place, "train").parent])


def samples(place: Place, seed: int) -> Timed:
    """Answers of the untouched model with both scores, and the warm-up's rows: each under a wish that it happens to fulfil."""
    size, drawn, rows = size_of(place), place.of(seed, "samples"), place.of(seed, "rows")
    values = {
        "model": BASE, "prompts": _prompts(place, "train"), "objectives": OBJECTIVES, "limit": size.sampled,
        "num_samples": size.samples, "max_new_tokens": LONGEST, "temperature": 1.0, "batch_size": BATCH,
        "torch_dtype": "bfloat16", "seed": seed, "out": drawn,
    }  # fmt: skip
    written = {"samples": drawn, "model": BASE, "steps": size.asked, "seed": seed, "out": rows / "train.jsonl"}
    commands = [launch("pareto", values), launch("steer-rows", written)]
    stage = Stage(f"samples_s{seed}", f"seed {seed}: scored answers for the warm-up", commands, [drawn, rows])
    return Timed(stage, hours.START + _drawing(size.sampled, size.samples))


def _drawing(prompts: int, answers: int) -> float:
    batches = -(-prompts // BATCH)
    return hours.drawn(SHAPE, batches, BATCH * answers, PROMPT + LONGEST, LONGEST, vllm=False)


def warm_up(place: Place, seed: int) -> Timed:
    """One epoch of supervised training with the run file's LoRA, which the policies go on from."""
    size, out = size_of(place), place.of(seed, "warmup")
    values = {
        "model_name_or_path": BASE, "dtype": "bfloat16", "dataset_name": place.of(seed, "rows"), "output_dir": out,
        "max_length": 1024, "use_peft": True, "lora_r": RANK, "lora_alpha": 2 * RANK, "lora_dropout": 0.05,
        "lora_target_modules": "all-linear", "per_device_train_batch_size": 16, "gradient_accumulation_steps": 4,
        "num_train_epochs": 1, "learning_rate": 1e-4, "lr_scheduler_type": "cosine", "warmup_steps": 10, "bf16": True,
        "gradient_checkpointing": True, "save_strategy": "no", "report_to": "none", "seed": seed,
    }  # fmt: skip
    command = Command(["python", "-m", "trl.scripts.sft", *flags(values)])
    rows = Rows(size.sampled * size.samples, PROMPT + ANSWER, ANSWER)
    stage = Stage(f"warmup_s{seed}", f"seed {seed}: warm-up", [command], [out])
    return Timed(stage, hours.START + hours.trained(SHAPE, 1, rows))


def policy(place: Place, seed: int, arm: str, name: str, steps: int, **own: Any) -> Timed:
    """One run of MOODPO's script by the run file, from the warm-up, which is its reference too."""
    values = {
        "config": RUNS / RUN_FILE, "csv_path": _prompts(place, "train"), "output_dir": place.of(seed, name),
        "model_path": place.of(seed, "warmup"), "ref": "previous", "max_steps": steps, "save_steps": min(100, steps),
        "save_total_limit": 2, "eval_strategy": "no", "eval_prompts": 0, "report_to": "none", "seed": seed, **own,
    }  # fmt: skip
    argv = ["python", "-m", "trl_ext.moodpo.script", *flags(values)]
    stage = resumed(
        f"{arm}_s{seed}_{name}",
        f"seed {seed}: {name}",
        argv,
        place.of(seed, name),
        [checkpoint(place, seed, name, steps)],
    )
    rows = Rows.of(PROMPTS_A_STEP, 2, PROMPT, ANSWER, shared=False)
    draws = steps * PROMPTS_A_STEP // AT_ONCE
    drawing = hours.drawn(SHAPE, draws, 2 * AT_ONCE, PROMPT + LONGEST, LONGEST, vllm=True)
    scoring = steps * hours.read(SCORER, rows)  # two models of half the size
    return Timed(stage, hours.START + drawing + scoring + hours.trained(SHAPE, steps, rows, references=1))


def soups(place: Place, seed: int) -> Timed:
    """Mixtures of the policies for the two ends, one for each asked weight."""
    size, out = size_of(place), place.of(seed, "soup")
    ends = [f"{name}={policy_of(place, seed, fixed_label(w))}" for name, w in zip(OBJECTIVES, ENDS, strict=True)]
    command = launch("soup", {"base": BASE, "adapters": ends, "grid": size.asked + 1, "out": out})
    return Timed(Stage(f"soup_s{seed}", f"seed {seed}: soups", [command], [out]), 0.0)


def policy_of(place: Place, seed: int, name: str) -> Path:
    """What the run of that name leaves; the warm-up has no checkpoints."""
    if name == "warmup":
        return place.of(seed, name)
    size = size_of(place)
    return checkpoint(place, seed, name, size.steps * (len(size.fixed) if name == "long" else 1))


def evaluated(place: Place, seed: int) -> Timed:
    """Answers of every policy to every wish with both scores, and their distance from the untouched model."""
    size, out = size_of(place), place.of(seed, "pareto")
    kinds = dict.fromkeys(STEERED, "moodpo") | {fixed_label(w): "fixed" for w in size.fixed}
    policies = [f"{name}={kind}:{policy_of(place, seed, name)}" for name, kind in kinds.items()]
    policies.append(f"soup=soup:{place.of(seed, 'soup')}")
    words = [word for text in policies for word in ("--policy", text)]
    asked = {
        "model": BASE, "prompts": _prompts(place, "test"), "objectives": OBJECTIVES, "steps": size.asked,
        "limit": size.prompts, "num_samples": size.answers, "max_new_tokens": LONGEST, "temperature": 1.0,
        "batch_size": BATCH, "torch_dtype": "bfloat16", "seed": seed, "out": out,
    }  # fmt: skip
    far = {
        "model": BASE,
        "pareto": out,
        "torch_dtype": "bfloat16",
        "batch_size": 32,
        "out": place.of(seed, "nats.json"),
    }
    commands = [
        launch("pareto", asked, *words),
        Command(["python", "-m", "launch.reproduce.steered_nats", *flags(far)]),
    ]
    points = 1 + (len(STEERED) + 1) * (size.asked + 1) + len(size.fixed)
    loads = 2 * (1 + len(STEERED) + len(size.fixed) + size.asked + 1)
    reading = 2 * hours.read(SHAPE, Rows(size.prompts * size.answers, PROMPT + ANSWER, ANSWER))
    lasting = loads * hours.START / 2 + points * (_drawing(size.prompts, size.answers) + reading)
    title = f"seed {seed}: answers of every policy, and its distance"
    return Timed(Stage(f"evaluated_s{seed}", title, commands, [out, place.of(seed, "nats.json")]), lasting)


def planned(place: Place) -> list[Timed]:
    """The prompts; for each seed a warm-up, eight policies of MOODPO, the soups, and one evaluation of all of them."""
    size, found = size_of(place), [Timed(data(place), 0.0)]
    for seed in place.seeds:
        found += [samples(place, seed), warm_up(place, seed), policy(place, seed, "steered", "steered", size.steps)]
        for w in size.fixed:
            own = {"fixed_weights": [w, round(1 - w, 6)]}
            arm = "ends" if w in ENDS else "fixed"
            found.append(policy(place, seed, arm, fixed_label(w), size.steps, **own))
        found.append(policy(place, seed, "unprepared", "unprepared", size.steps, model_path=None, ref=None))
        found.append(policy(place, seed, "long", "long", len(size.fixed) * size.steps))
        found += [soups(place, seed), evaluated(place, seed)]
    return found


def measure(place: Place) -> Measured:
    """See `compared`."""
    return compared(
        {
            seed: read_front(place.of(seed, "pareto"), place.of(seed, "nats.json"), size_of(place).fixed, SPREADS)
            for seed in place.seeds
        }
    )


CLAIM = Claim(
    name="moodpo-steering-gpu",
    paper="Robust Multi-Objective Preference Alignment with Online DPO, arXiv 2503.00295",
    question="Do help and harmlessness of one policy that is told its weights in the prompt follow them, and is its front as good as that of "
    "policies which were trained for one weight each?",
    comparison=f"the smaller of the two objectives' Spearman correlations between 11 asked weights and mean scores, minus {ENOUGH:g}",
    direction="greater",
    condition=f"Qwen2.5-7B-Instruct on Anthropic HH's prompts, a LoRA of rank {RANK}, {FULL.steps} steps of {PROMPTS_A_STEP} prompts with two answers "
    f"each, {len(FULL.fixed) * FULL.steps:,} for the long policy. A supervised warm-up writes {FULL.sampled * FULL.samples:,} answers of the untouched "
    "model under wishes that they happen to fulfil. Scores are counted in spreads of the untouched model's answers.",
    weakest="The warm-up shows every weight that is asked later, so steering is partly its own; its correlation and front stand beside the policy's. "
    "The reward models that are trained against also judge, so that a policy which finds their faults looks better than it is. A correlation "
    "counts order, not distance. The distance is estimated over the policy's own answers, not exact. Seeds share prompts.",
    across="weight of help",
    up="weighted score (spreads of the untouched model's answers)",
    stages=stages_of(planned),
    measure=measure,
    compared="mean",
    shared={
        **dict.fromkeys(("steered", "long"), PREPARED),
        **dict.fromkeys(("fixed", "soup"), ("ends", *PREPARED)),
        "warmup": PREPARED[:1],
    },
    scale="gpu",
    hours=hours_of(planned),
)
