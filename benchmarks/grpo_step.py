"""Parts of a GRPO step with shared prefixes and without, of a scorer or a judge, with sampling by transformers.

    python -m benchmarks.grpo_step --model MODEL [--method pairwise_judge] [--rounds 5] [--no-cpu --dtype bfloat16]

Both trainers are built in one process and take turns on the same pair with the same seed; the first round warms up. `plain`
is the stock trainer's step (`BT_SHARED_PREFIX=off`). The loss part is encoding, all forward passes and the backward one.
Ratios are of elapsed and of processor time: on a machine with other load only the second is steady. `peak_growth_mb` is by how
much the loss part's peak of memory is above what is held when it begins. `--profile` takes one more step with shared
prefixes and says in which functions it spends its time, what they call left out. The model is a checkpoint folder, e.g. from
`python -m launch embedded-model`.
"""

import argparse
import cProfile
import json
import os
import pstats
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.alone import PeakMemory
from benchmarks.turns import WORDS, add_step_flags, ready, report

METHODS = {"bt_grpo": ("BT", "bt_pointwise_baseline"), "pairwise_judge": ("JUDGE", "pairwise_preference")}


def pair_rows(method: str, pairs: int, words: int) -> list[dict]:
    """Rows of the pack's own prompts, about replies of random words."""
    from datasets_builders.judging.prompt import PairwisePrompt
    from datasets_builders.judging.rows import PairToJudge
    from datasets_builders.scoring.prompts import get_prompt

    draw, rows = random.Random(0), []
    for pair in range(pairs):
        question, *replies = (" ".join(draw.choice(WORDS) for _ in range(words)) for _ in range(3))
        if method == "pairwise_judge":
            made = PairToJudge(({"role": "user", "content": question},), tuple(replies), "AB"[pair % 2], source="made")
            rows += made.rows(PairwisePrompt())
        else:
            texts = [get_prompt("hh_score100_scoreonly")(f"Human: {question}", reply) for reply in replies]
            rows += [
                {
                    "messages": [{"role": "user", "content": text}],
                    "pair_id": pair,
                    "side": side,
                    "preferred_side": pair % 2,
                    "parser_name": "score100_last",
                }
                for side, text in enumerate(texts)
            ]
    return rows


def built_trainer(options, data: Path, folder: Path, word: str):
    """The trainer that `swift rlhf` would train, with its optimiser, not yet trained."""
    from swift.pipelines.train.rlhf import SwiftRLHF

    class Built(SwiftRLHF):
        def train(self, trainer):
            return trainer

    prefix, reward = METHODS[options.method]
    os.environ[f"{prefix}_SHARED_PREFIX"] = word
    rows = 2 * options.completions
    flags = {
        "external_plugins": Path("swift_ext/plugins", f"{options.method}.py").resolve(), "reward_funcs": reward,
        "rlhf_type": "grpo", "model": options.model, "model_type": "llama", "template": "chatml", "dataset": data,
        "output_dir": folder / word, "num_generations": options.completions, "per_device_train_batch_size": rows,
        "steps_per_generation": 1, "gradient_accumulation_steps": 1, "max_steps": 1000, "beta": options.beta, "lora_rank": 8,
        "max_completion_length": options.answer_tokens, "temperature": 1.0, "top_k": -1, "lora_dropout": 0, "seed": 1,
        "max_length": 4096, "save_strategy": "no", "split_dataset_ratio": 0, "torch_dtype": options.dtype, "report_to": "none",
        "check_model": "false", "add_version": "false", "use_cpu": str(options.cpu).lower(), "load_from_cache_file": "false",
        "gradient_checkpointing": str(options.checkpointing).lower(), "dataset_shuffle": "false",
    }  # fmt: skip
    return ready(Built([part for name, value in flags.items() for part in (f"--{name}", str(value))]).main())


def timed_step(trainer, rows: list[dict], seed: int) -> dict[str, tuple[float, float] | float]:
    """{part: (elapsed, processor) seconds} of one step, in the order in which `training_step` has the parts; and the memory."""
    import torch
    from transformers import set_seed

    marks: list[tuple[float, float]] = []

    def mark() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        marks.append((time.perf_counter(), time.process_time()))

    set_seed(seed)  # the same answers on both sides
    trainer.model.train()
    mark()
    samples = trainer._score_completions(trainer._rollout_samples(rows))
    memory = PeakMemory()
    mark()
    batches = trainer._prepare_batch_inputs(samples)
    trainer._postprocess_batch(samples, batches)
    trainer.accelerator.backward(trainer.compute_loss(trainer.model, batches[0]))
    mark()
    growth = memory.peak() - memory.begin
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    mark()
    spans = {"sampling": (0, 1), "loss part": (1, 2), "step": (0, 3)}
    seconds = {
        part: (marks[end][0] - marks[begin][0], marks[end][1] - marks[begin][1]) for part, (begin, end) in spans.items()
    }
    return seconds | {"peak_growth_mb": growth}


def paired(plain: list[float], shared: list[float]) -> dict[str, float]:
    """Medians of both, and the median of the rounds' ratios."""
    ratios = [b / a for a, b in zip(plain, shared, strict=True)]
    return {
        "plain": statistics.median(plain),
        "shared": statistics.median(shared),
        "ratio": statistics.median(ratios),
    }


def compared(steps: dict[str, list[dict]]) -> dict:
    """{part: {elapsed, processor: seconds as in `paired`}}, and `peak_growth_mb` likewise."""
    plain, shared = steps["off"], steps["on"]
    result: dict = {"peak_growth_mb": paired(*([one["peak_growth_mb"] for one in side] for side in (plain, shared)))}
    for part in plain[0].keys() - {"peak_growth_mb"}:
        result[part] = {
            clock: paired(*([one[part][place] for one in side] for side in (plain, shared)))
            for place, clock in enumerate(("elapsed", "processor"))
        }
    return result


def profile(trainer, rows: list[dict], seed: int) -> dict[str, float]:
    """Function -> share of a step that it takes itself; those above 1%, the dearest first."""
    profiler = cProfile.Profile()
    profiler.runcall(timed_step, trainer, rows, seed)
    stats = pstats.Stats(profiler)
    own = {f"{Path(file).stem}:{name}": times[2] for (file, _, name), times in stats.stats.items()}  # type: ignore[attr-defined]
    whole = sum(own.values())
    return {
        name: round(own[name] / whole, 3) for name in sorted(own, key=own.get, reverse=True) if own[name] > whole / 100
    }


def measure(options, folder: Path) -> dict:
    seconds: dict[str, list[dict]] = {word: [] for word in (("off", "on") if options.rounds else ("on",))}
    data = folder / "rows.jsonl"
    made = pair_rows(options.method, max(options.rounds + 1, 4), options.words)
    data.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    trainers = {word: built_trainer(options, data, folder, word) for word in seconds}
    batches = iter(trainers["on"].get_train_dataloader())
    for turn in range(options.rounds + 1):
        rows = next(batches)
        for word in sorted(seconds, reverse=bool(turn % 2)):
            taken = timed_step(trainers[word], [dict(row) for row in rows], seed=turn)
            print(json.dumps({"round": turn, "shared_prefix": word} | taken), file=sys.stderr, flush=True)
            if turn:
                seconds[word].append(taken)
    length = len(trainers["on"].template.encode({"messages": rows[0]["messages"]})["input_ids"])
    if options.profile:
        print(json.dumps(profile(trainers["on"], [dict(row) for row in rows], seed=0), indent=1), file=sys.stderr)
    head = {"method": options.method, "completions": options.completions, "prompt_tokens": length}
    return head | (compared(seconds) if options.rounds else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--method", choices=METHODS, default="bt_grpo")
    add_step_flags(parser, 5, "0: no stock trainer, for --profile")
    parser.add_argument("--completions", type=int, default=8)
    parser.add_argument("--answer_tokens", type=int, default=16, help="at most")
    parser.add_argument("--words", type=int, default=60, help="of a question and of a reply")
    parser.add_argument("--beta", type=float, default=0.04)
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--profile", action="store_true", help="where a step with shared prefixes spends its time")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as temporary:
        report(measure(options, Path(temporary)), options.out)


if __name__ == "__main__":
    main()
