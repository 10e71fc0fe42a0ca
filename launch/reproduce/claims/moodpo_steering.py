"""Does one policy that is told its weights follow them, and is it as good as policies that were trained for one weight each?"""

from pathlib import Path
from typing import Any, NamedTuple

from launch.pipelines.command_lines import flags, launch
from launch.pipelines.stages import Command, Stage
from launch.reproduce.claim import Claim, Measured, Place
from launch.reproduce.steered_fronts import ENOUGH, NAMES, STEERED, compared, fixed_label, read_front

OBJECTIVES = ["sea=launch.reproduce.words:enough_a", "garden=launch.reproduce.words:enough_b"]
ENDS = (1.0, 0.0)  # weights of the sea; the soups are of the policies for these
TOKENS = 20
# One token for each share of each objective: a model of this size does not learn in minutes which number is whose.
SHARES = [f"{10 * share}% {name}" for name in NAMES for share in range(11)]
PREPARED = ("rows", "warmup")  # stages that an arm needs besides its own


class Size(NamedTuple):
    """Steps of the language model, rows of the warm-up, steps of a policy, prompts and answers of the evaluation.

    `fixed` are the weights of the sea that a policy of their own is trained for; fronts are compared there. `asked` is how many
    steps lie between 0 and 1 of the weights that the correlation is over.
    """

    language: int | None = None
    rows: int = 9_600
    steps: int = 50
    prompts: int = 128
    answers: int = 4
    fixed: tuple[float, ...] = (1.0, 0.8, 0.5, 0.2, 0.0)
    asked: int = 10


FULL, REHEARSAL = Size(), Size(language=5, rows=64, steps=1, prompts=4, answers=2, fixed=ENDS, asked=1)
ROWS_A_STEP, PROMPTS_A_STEP = 32, 16
PLAIN = {
    "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True,
    "logging_steps": 10,
}  # fmt: skip


def _size(place: Place) -> Size:
    return REHEARSAL if place.rehearsal else FULL


def _language(place: Place, *inside: str) -> Path:
    return place.folder.joinpath("language", *inside)


def _blank(place: Place) -> Path:
    return place.folder / "blank"


def _language_stages(place: Place, size: Size) -> list[Stage]:
    def made(name: str, title: str, out: Path, steps: int | None) -> Stage:
        values = {"out": out, "steps": steps, "further_words": SHARES}
        return Stage(name, title, [launch("small-language", values)], [out])

    return [
        made("language", "the language and its model", _language(place), size.language),
        made("blank", "the same model with random weights, which the warm-up trains", _blank(place), 0),
    ]


def _rows_stage(place: Place, seed: int, size: Size) -> Stage:
    out = place.of(seed, "rows")
    values = {
        "model": _language(place, "lm"), "objectives": ["sea=a", "garden=b"], "rows": size.rows, "tokens": TOKENS,
        "seed": seed, "out": out / "train.jsonl",
    }  # fmt: skip
    command = Command(["python", "-m", "launch.reproduce.steered_rows", *flags(values)])
    return Stage(f"rows_s{seed}", f"seed {seed}: rows of the warm-up", [command], [out])


def _warm_up_stage(place: Place, seed: int) -> Stage:
    out = place.of(seed, "warmup")
    values = {
        "model_name_or_path": _blank(place) / "lm", "dtype": "float32", "dataset_name": place.of(seed, "rows"), "output_dir": out,
        "max_length": 64, "per_device_train_batch_size": ROWS_A_STEP, "num_train_epochs": 2, "learning_rate": 1.5e-3,
        "lr_scheduler_type": "cosine", "warmup_steps": 100, "save_strategy": "no", **PLAIN, "seed": seed,
    }  # fmt: skip
    command = Command(["python", "-m", "trl.scripts.sft", *flags(values)])
    return Stage(f"warmup_s{seed}", f"seed {seed}: warm-up", [command], [out])


def _policy(place: Place, seed: int, arm: str, name: str, steps: int, **own: Any) -> Stage:
    """One run of MOODPO's script from the warm-up, which is its reference too."""
    out = place.of(seed, name)
    values = {
        "csv_path": _language(place, "prompts", "train.jsonl"), "sft_model_path": _language(place, "lm"), "use_lora": False,
        "model_path": place.of(seed, "warmup"), "ref": "previous", "output_dir": out,
        "reward_models": OBJECTIVES, "min_prompt_tokens": 1, "max_prompt_tokens": 16, "max_new_tokens": TOKENS,
        "max_length": 64, "temperature": 1.0, "beta": 0.1, "per_device_train_batch_size": PROMPTS_A_STEP,
        "learning_rate": 3e-4, "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 5, "max_steps": steps,
        "save_steps": steps, "save_only_model": True, "disable_wandb": True, **PLAIN, "seed": seed, **own,
    }  # fmt: skip
    command = Command(["python", "-m", "trl_ext.moodpo.script", *flags(values)])
    return Stage(f"{arm}_s{seed}_{name}", f"seed {seed}: {name}", [command], [out])


def _soup_stage(place: Place, seed: int, size: Size) -> Stage:
    out = place.of(seed, "soup")
    ends = [f"{name}={place.of(seed, fixed_label(w))}" for name, w in zip(NAMES, ENDS, strict=True)]
    command = launch("soup", {"adapters": ends, "grid": size.asked + 1, "out": out})
    return Stage(f"soup_s{seed}", f"seed {seed}: soups", [command], [out])


def _evaluation_stages(place: Place, seed: int, size: Size) -> list[Stage]:
    out, distances = place.of(seed, "pareto"), place.of(seed, "distances.json")
    policies = [f"{arm}=moodpo:{place.of(seed, arm)}" for arm in STEERED]
    policies += [f"{fixed_label(w)}=fixed:{place.of(seed, fixed_label(w))}" for w in size.fixed]
    policies.append(f"soup=soup:{place.of(seed, 'soup')}")
    words = [word for text in policies for word in ("--policy", text)]
    common = {"model": _language(place, "lm"), "prompts": _language(place, "prompts", "test.jsonl")}
    asked = {
        **common, "objectives": OBJECTIVES, "steps": size.asked, "limit": size.prompts, "num_samples": size.answers,
        "max_new_tokens": TOKENS, "batch_size": 256, "seed": seed, "out": out,
    }  # fmt: skip
    measured = {**common, "pareto": out, "tokens": TOKENS, "limit": size.prompts, "seed": seed, "out": distances}
    distance = Command(["python", "-m", "launch.reproduce.steered_divergence", *flags(measured)])
    return [
        Stage(f"answers_s{seed}", f"seed {seed}: answers of every policy", [launch("pareto", asked, *words)], [out]),
        Stage(f"distances_s{seed}", f"seed {seed}: distances from the untouched model", [distance], [distances]),
    ]


def stages(place: Place) -> list[Stage]:
    """One language; for each seed a warm-up, eight policies of MOODPO, the soups, and one evaluation of all of them."""
    size = _size(place)
    found = _language_stages(place, size)
    for seed in place.seeds:
        found += [_rows_stage(place, seed, size), _warm_up_stage(place, seed)]
        found.append(_policy(place, seed, "steered", "steered", size.steps))
        for w in size.fixed:
            own = {"fixed_weights": [w, round(1 - w, 6)]}
            arm = "ends" if w in ENDS else "fixed"
            found.append(_policy(place, seed, arm, fixed_label(w), size.steps, **own))
        found.append(_policy(place, seed, "unprepared", "unprepared", size.steps, model_path=None, ref=None))
        found.append(_policy(place, seed, "long", "long", len(size.fixed) * size.steps))
        found += [_soup_stage(place, seed, size), *_evaluation_stages(place, seed, size)]
    return found


def measure(place: Place) -> Measured:
    """See `compared`."""
    return compared(
        {
            seed: read_front(place.of(seed, "pareto"), place.of(seed, "distances.json"), _size(place).fixed)
            for seed in place.seeds
        }
    )


CLAIM = Claim(
    name="moodpo-steering",
    paper="Robust Multi-Objective Preference Alignment with Online DPO, arXiv 2503.00295",
    question="Do both scores of one policy that is told its weights in the prompt follow them, and is its front as good as that of "
    "policies which were trained for one weight each?",
    comparison=f"the smaller of the two objectives' Spearman correlations between 11 asked weights and mean scores, minus {ENOUGH:g}",
    direction="greater",
    condition="A model that reads its weights: its tokenizer has one token for each share of each objective, and a supervised warm-up "
    "taught random weights the language and the sentence at once, on 9,600 rows whose nouns keep to the topic that is asked for; half "
    "of the rows ask for one objective alone. In pilots neither a finished language model nor, with fewer such rows, random weights "
    "learnt to read the sentence; the policy without the warm-up starts from the finished one. The objectives are words of two lists "
    "in an answer of 20, which compete for nouns but do not exclude each other, with diminishing returns: n words score n / (n + 1). "
    "A weighted sum of plain counts is largest at an end for every weight but one half, and in pilots policies jumped there from one "
    "topic to the other. All weights of half a million are trained, on 16 prompts a step.",
    weakest="The warm-up shows every weight that is asked later, so steering is partly its own: its correlation and front stand beside "
    "the policy's, and a policy whose front is no better would change our mind. A correlation counts order, not distance: in a pilot "
    "whose warm-up showed the two ends alone it was near 1 too, though the wishes from 20 to 80 had nearly the same answers. A soup "
    "is asked without the sentence that its two policies were trained under, which the last line measures at one end. It is one made "
    "language with functions as rewards; seeds draw rows, prompts, weights and answers.",
    across="weight of the sea",
    up="weighted score, of 0 to 1",
    stages=stages,
    measure=measure,
    compared="mean",
    shared={
        **dict.fromkeys(("steered", "long"), PREPARED),
        **dict.fromkeys(("fixed", "soup"), ("ends", *PREPARED)),
        "warmup": PREPARED[:1],
    },
)
