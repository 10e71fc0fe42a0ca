"""`d2po-labels` on one GPU: a policy of 7 billion parameters on UltraFeedback's prompts, by `launch/runs/d2po/one_gpu.yaml`.

Its reward models are of 1.5 billion parameters, gold is `launch.reproduce.gpu.gold`.
"""

from pathlib import Path
from typing import Any, NamedTuple

from launch.common.operations import SHAPES, Rows
from launch.d2po.curve_data import STATE_FILE
from launch.pipelines.command_lines import flags, launch
from launch.pipelines.stages import Command, Stage
from launch.reproduce import hours
from launch.reproduce.claim import Claim, Measured, Place
from launch.reproduce.claims.d2po_labels import OFFLINE, compare
from launch.reproduce.gpu.runs import RUNS, Timed, builder, hours_of, resumed, stages_of

RUN_FILE, BASE, SHAPE = "d2po/one_gpu.yaml", "Qwen/Qwen2.5-7B-Instruct", SHAPES["7B"]
REWARD_BASE, REWARD_SHAPE = "Qwen/Qwen2.5-1.5B-Instruct", SHAPES["1.5B"]
GOLD, GOLD_SHAPE = "launch.reproduce.gpu.gold:liked", SHAPES["0.5B"]
RATE, RANK = 5e-5, 64  # of the policy, by the run file
PAIRS_A_STEP, WINDOW, BOUGHT, COMPLETIONS, REPLAY = 64, 256, 16, 4, 64  # by the run file
LONGEST, DRAWN, BATCH = 256, 2, 64  # tokens of an answer, answers to a prompt of an evaluation, prompts at a time
LONGEST_PROMPT = 512  # tokens: online runs leave longer ones out, `generate` cuts them
PROMPT, ANSWER = 150, 200  # tokens: assumed, for the estimate alone
REWARD_EPOCHS, REWARD_BATCH = 4, 16
OFFLINE_EPOCHS = 3


class Size(NamedTuple):
    """Labels before the run and during it, steps, steps between evaluations, pairs of the data (some four have one prompt)."""

    first: int = 512
    bought: int = 4000
    steps: int = 1000
    every: int = 250
    train: int | None = None
    test: int = 2000

    @property
    def labels(self) -> int:
        return self.first + self.bought


FULL = Size()
REHEARSAL = Size(first=48, bought=BOUGHT, steps=WINDOW // PAIRS_A_STEP, every=4, train=4000, test=200)
OF_OWN: dict[str, Any] = {"gold": GOLD, "gold_arguments": "null"}  # what the run file has for its own gold is taken out
NONE_BOUGHT = {"mode": "opo", "labels_per_window": 0, "max_labels": "null", "gold_arguments": "null"}
FIXED = {**NONE_BOUGHT, "gold": "null", "eval_gold": GOLD, "discriminator": "reward_all"}
NEAR = {"learning_rate": RATE / 10}
# Arm -> its title and what differs from the run file; places of a seed are filled in by `_online`.
ONLINE: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed_all": ("fixed reward model, all labels", FIXED),
    "confidence": ("D2PO, least certain labels (the default)", {"selection": "confidence"}),
    "random": ("D2PO, random labels", {"selection": "random"}),
    "gold": ("gold on every pair (ceiling)", {**NONE_BOUGHT, "gold": GOLD, "discriminator": "null"}),
    "near_fixed": ("a tenth of the learning rate: fixed reward model, all labels", {**FIXED, **NEAR}),
    "near_confidence": (
        "a tenth of the learning rate: D2PO, least certain labels",
        {"selection": "confidence", **NEAR},
    ),
}


def size_of(place: Place) -> Size:
    """A rehearsal's or the whole one."""
    return REHEARSAL if place.rehearsal else FULL


def _prompts(place: Place, which: str = "") -> Path:
    return place.folder / "prompts" / (f"{which}.jsonl" if which else "")


def data(place: Place) -> Stage:
    """UltraFeedback's prompts, a tenth of them apart; its own answers are not used. A seed has its order of them."""
    shared = {"dataset": "ultrafeedback", "dimension": "overall", "format": "trl"}
    parts = (("train", "train", size_of(place).train), ("test", "validation", size_of(place).test))
    commands = [
        builder("preference", {**shared, "split": split, "limit": limit, "out": _prompts(place, which)})
        for which, split, limit in parts
    ]
    return Stage("data", "UltraFeedback's prompts, those of a tenth apart", commands, [_prompts(place)])


def first_labels(place: Place, seed: int) -> Timed:
    """Two answers of the untouched model to as many prompts as there are labels, and the pairs that gold orders."""
    size, answers = size_of(place), place.of(seed, "answers")
    values = {
        "model": BASE, "prompts": _prompts(place, "train"), "label": "base", "limit": size.labels, "num_samples": 2,
        "max_new_tokens": LONGEST, "max_input_length": LONGEST_PROMPT, "temperature": 1.0, "batch_size": BATCH,
        "torch_dtype": "bfloat16", "seed": seed, "out": answers,
    }  # fmt: skip
    commands, folders = [launch("generate", values, "--do_sample")], [answers]
    for name, labels in (("first", size.first), ("all", size.labels)):
        folder = place.of(seed, f"pairs_{name}")
        bought = {"answers": answers / "base", "gold": GOLD, "labels": labels, "out": folder / "train.jsonl"}
        commands.append(Command(["python", "-m", "launch.reproduce.gold_pairs", *flags(bought)]))
        folders.append(folder)
    drawing = hours.drawn(SHAPE, -(-size.labels // BATCH), 2 * BATCH, PROMPT + LONGEST, LONGEST, vllm=False)
    reading = hours.read(GOLD_SHAPE, Rows(2 * (size.first + size.labels), PROMPT + ANSWER, 0))
    stage = Stage(f"first_labels_s{seed}", f"seed {seed}: labels of untouched answers", commands, folders)
    return Timed(stage, 3 * hours.START + drawing + reading)


def reward_model(place: Place, seed: int, name: str, labels: int, stage: str) -> Timed:
    """A reward model as `launch/runs/d2po/rm_trl.yaml` trains one, merged into one folder."""
    adapter, merged = place.of(seed, f"reward_{name}_lora"), place.of(seed, f"reward_{name}")
    values = {
        "model_name_or_path": REWARD_BASE, "dtype": "bfloat16", "dataset_name": place.of(seed, f"pairs_{name}"),
        "output_dir": adapter, "use_peft": True, "lora_task_type": "SEQ_CLS", "lora_r": 32, "lora_alpha": 32,
        "lora_dropout": 0.1, "lora_target_modules": "all-linear", "lora_modules_to_save": ["score"],
        "max_length": 1024, "per_device_train_batch_size": REWARD_BATCH, "learning_rate": 1e-4,
        "lr_scheduler_type": "linear", "num_train_epochs": REWARD_EPOCHS, "bf16": True, "gradient_checkpointing": True,
        "save_strategy": "no", "report_to": "none", "seed": seed,
    }  # fmt: skip
    train = Command(["python", "-m", "trl.scripts.reward", *flags(values)])
    commands = [train, launch("merge-rm", {"adapter": adapter, "out": merged})]
    rows = Rows(2 * labels * REWARD_EPOCHS, PROMPT + ANSWER, 0)
    title = f"seed {seed}: reward model of {name} labels"
    return Timed(
        Stage(stage, title, commands, [adapter, merged]), 2 * hours.START + hours.trained(REWARD_SHAPE, 1, rows)
    )


def _online(place: Place, seed: int, arm: str) -> Timed:
    (title, own), folder, size = ONLINE[arm], place.of(seed, arm), size_of(place)
    values = {
        "config": RUNS / RUN_FILE, **OF_OWN, "dataset_name": _prompts(place), "dataset_test_split": "test",
        "max_prompt_tokens": LONGEST_PROMPT,
        "output_dir": folder, "max_steps": size.steps, "eval_strategy": "steps", "eval_steps": size.every,
        "eval_on_start": True, "per_device_eval_batch_size": BATCH, "save_steps": min(100, size.steps),
        "save_total_limit": 2, "save_rollouts": False, "report_to": "none", "seed": seed,
        "discriminator": "reward_first", **own,
    }  # fmt: skip
    if values["discriminator"] != "null":
        values["discriminator"] = place.of(seed, values["discriminator"])
    if "mode" not in own:
        values["discriminator_first_pairs"] = place.of(seed, "pairs_first") / "train.jsonl"
    argv = ["python", "-m", "trl_ext.d2po.script", *flags(values)]
    stage = resumed(f"{arm}_s{seed}", f"seed {seed}: {title}", argv, folder, [folder / STATE_FILE])
    return Timed(stage, _lasting(arm, size))


def _lasting(arm: str, size: Size) -> float:
    """Hours of an online run: drawing, scores of all answers, labels, the discriminator's updates, the policy's steps."""
    answers, windows = size.steps * PAIRS_A_STEP * COMPLETIONS, size.steps * PAIRS_A_STEP // WINDOW
    learns, tokens = "confidence" in arm or arm == "random", PROMPT + ANSWER
    scored = hours.read(GOLD_SHAPE if arm == "gold" else REWARD_SHAPE, Rows(answers, tokens, 0))
    updates = Rows(2 * windows * (BOUGHT + REPLAY), tokens, 0)
    drawing = hours.drawn(SHAPE, size.steps, PAIRS_A_STEP * COMPLETIONS, PROMPT + LONGEST, LONGEST, vllm=True)
    steps = hours.trained(SHAPE, size.steps, Rows(2 * PAIRS_A_STEP, tokens, ANSWER), references=1)
    evaluations = size.steps // size.every + 2
    shown = evaluations * hours.drawn(
        SHAPE, size.test // 4 // BATCH + 1, DRAWN * BATCH, PROMPT + LONGEST, LONGEST, vllm=True
    )
    learnt = scored + hours.trained(REWARD_SHAPE, 1, updates) if learns else 0.0
    return hours.START + drawing + scored + learnt + steps + shown


def offline(place: Place, seed: int) -> Timed:
    """DPO on all labels with the policy's LoRA, rate and beta; answers of its checkpoints, and their gold scores."""
    size = size_of(place)
    trained, answered, scored = (place.of(seed, f"{OFFLINE}{end}") for end in ("", "_answers", "_gold"))
    steps = max(1, OFFLINE_EPOCHS * size.labels // PAIRS_A_STEP)
    values = {
        "model_name_or_path": BASE, "dtype": "bfloat16", "dataset_name": place.of(seed, "pairs_all"), "output_dir": trained,
        "use_peft": True, "lora_r": RANK, "lora_alpha": 2 * RANK, "lora_target_modules": "all-linear", "beta": 0.1,
        "learning_rate": RATE, "lr_scheduler_type": "cosine", "warmup_steps": 20, "max_length": 1024, "max_steps": steps,
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 8, "bf16": True, "gradient_checkpointing": True,
        "save_strategy": "steps", "save_steps": -(-steps // OFFLINE_EPOCHS), "save_only_model": True, "report_to": "none",
        "seed": seed,
    }  # fmt: skip
    train = Command(["python", "-m", "trl.scripts.dpo", *flags(values)])
    asked = launch("generate-checkpoints", {
        "checkpoints": trained, "model": BASE, "prompts": _prompts(place, "test"), "max_input_length": LONGEST_PROMPT,
        "num_samples": DRAWN, "max_new_tokens": LONGEST, "temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0,
        "torch_dtype": "bfloat16", "batch_size": BATCH, "seed": seed, "out": answered,
    }, "--base")  # fmt: skip
    commands = [train, asked, launch("score-gold", {"answers": answered, "gold": GOLD, "out": scored})]
    stage = Stage(
        f"{OFFLINE}_s{seed}", f"seed {seed}: offline DPO", commands, [trained, answered, scored], results=[scored]
    )
    steps_took = hours.trained(SHAPE, steps, Rows(2 * PAIRS_A_STEP, PROMPT + ANSWER, ANSWER), references=1)
    batches = (OFFLINE_EPOCHS + 1) * (size.test // 4 // BATCH + 1)
    drawing = hours.drawn(SHAPE, batches, DRAWN * BATCH, PROMPT + LONGEST, LONGEST, vllm=False)
    return Timed(stage, 4 * hours.START + steps_took + drawing)


def planned(place: Place) -> list[Timed]:
    """The prompts; for each seed labels, two reward models, the arms online, and DPO on the same labels."""
    size, found = size_of(place), [Timed(data(place), 0.0)]
    for seed in place.seeds:
        found += [
            first_labels(place, seed),
            reward_model(place, seed, "first", size.first, f"reward_first_s{seed}"),
            reward_model(place, seed, "all", size.labels, f"fixed_all_s{seed}_reward"),
            *(_online(place, seed, arm) for arm in ONLINE),
            offline(place, seed),
        ]
    return found


def measure(place: Place) -> Measured:
    titles = {arm: title for arm, (title, _) in ONLINE.items()}
    return compare(place, titles, {"near": "a tenth of the learning rate"})


CLAIM = Claim(
    name="d2po-labels-gpu",
    paper="D2PO, arXiv 2405.01511",
    question="For the same number of gold labels, do the answers of Qwen2.5-7B-Instruct get a higher gold score when its discriminator keeps "
    "learning from labels of them than when its reward model stays as it is?",
    comparison=f"gold score of D2PO (least certain labels) minus that of a fixed reward model, both with {FULL.labels:,} labels",
    direction="greater",
    condition=f"UltraFeedback's prompts, a LoRA of rank {RANK}, {FULL.steps:,} steps of {PAIRS_A_STEP} pairs, each the best against the worst of "
    f"{COMPLETIONS} answers. {FULL.first} labels are bought before the run and one in {WINDOW // BOUGHT} pairs during it, which is the authors' share. "
    "Reward models of 1.5 billion parameters; gold is one that others trained on people's choices. It should hold where the policy leaves the "
    "answers that the fixed model's labels were bought for, and fail at a tenth of the learning rate.",
    weakest="One policy, one set of prompts, and gold that is itself a small reward model with faults that a policy can find: a higher score need "
    "not be a better answer. Seeds share prompts and buy their first labels for the same ones. Learning rates are not tuned for any arm, "
    f"and prompts of more than {LONGEST_PROMPT} tokens are left out online but cut for offline DPO.",
    across="policy steps",
    up="gold score (output of the reward model)",
    stages=stages_of(planned),
    measure=measure,
    scale="gpu",
    hours=hours_of(planned),
)
