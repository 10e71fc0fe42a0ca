"""`python -m launch steer-rows`: supervised rows that teach a model to read its weights, from sampled and scored answers.

Online DPO learns from the difference between two answers to one instruction. A model that hardly reads the instruction
answers all of them alike, and what the weights disagree about cancels out. A supervised warm-up gives it a start: every sampled
answer is written under an instruction that it happens to fulfil.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_rows, write_jsonl
from launch.answers.records import shard_name
from launch.cli.verbs import verb_parser
from launch.moodpo.points import read_points
from launch.moodpo.steered import load_form
from launch.moodpo.weights import lattice

if TYPE_CHECKING:
    import numpy as np


def hindsight_weights(scores: "np.ndarray", vectors: Sequence[tuple[float, ...]], seed: int) -> "np.ndarray":
    """For each answer the index of a weight vector, drawn with a probability proportional to w . u; -1 where u is zero.

    u are the scores scaled to [0, 1] over all answers. An instruction w is then followed by answers a with a density
    proportional to p(a) (w . u(a)) / sum_v v . u(a): the target of reward-weighted regression (Peters and Schaal, ICML
    2007) with the weighted score as its reward, each answer being used once.

    Args:
        scores: (N, K), not a number where an objective failed: such an answer gets -1.
        vectors: V weight vectors of K numbers.

    Raises:
        ValueError: an objective with one value for all answers.
    """
    import numpy as np

    finite = np.isfinite(scores).all(axis=1)
    low, high = scores[finite].min(axis=0), scores[finite].max(axis=0)
    if flat := np.flatnonzero(low == high).tolist():
        raise ValueError(f"objectives {flat} (from 0) give {low[flat].tolist()} to every answer: nothing to learn from")
    fit = np.nan_to_num((scores - low) / (high - low)) @ np.array(vectors).T  # (N, V)
    fit[~finite] = 0.0
    total = fit.sum(axis=1)
    draws = np.random.default_rng(seed).random(len(scores))
    bounds = np.cumsum(fit, axis=1) / np.where(total, total, 1)[:, None]
    chosen = np.minimum((draws[:, None] >= bounds).sum(axis=1), len(vectors) - 1)
    return np.where(total > 0, chosen, -1)


def _said(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("steer-rows", __doc__)
    parser.add_argument(
        "--samples", required=True, type=Path, metavar="DIR", help="--out of `pareto`, its untouched answers"
    )
    parser.add_argument("--model", required=True, help="the model that will be warmed up: where its instruction goes")
    parser.add_argument(
        "--steps", type=positive_integer, help="weights are multiples of 1/STEPS (default: 10; 4 from three objectives)"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="rows of prompt and completion, for `trl sft`"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of weights")
    return parser


def main(argv: list[str]) -> int:
    options = make_parser().parse_args(argv)
    import numpy as np

    names, _, _ = read_points(options.samples)
    answers = {
        (record["prompt_id"], record["sample"]): record
        for _, record in read_rows(options.samples / "generations" / "untouched" / shard_name(0, 1))
    }
    rows = [row for _, row in read_rows(options.samples / "scores" / "untouched.jsonl")]
    scores = np.array([[row["scores"][name] for name in names] for row in rows], dtype=float)
    vectors = lattice(len(names), options.steps)
    chosen = hindsight_weights(scores, vectors, options.seed)
    form = load_form(options.model)
    counts: Counter[str] = Counter()
    made = []
    for index in np.random.default_rng(options.seed).permutation(len(rows)):
        record = answers[rows[index]["prompt_id"], rows[index]["sample"]]
        if chosen[index] < 0 or not record["response"].strip():
            counts["no answer" if not record["response"].strip() else "no objective above its lowest score"] += 1
            continue
        prompt, answer = form.asked(record["messages"], names, vectors[chosen[index]]), record["response"].strip()
        made.append({"prompt": prompt, "completion": answer if isinstance(prompt, str) else [_said(answer)]})
    if not made:
        raise ValueError(f"{options.samples}: no row is left; left out were {dict(counts)}")
    print(f"{write_jsonl(options.out, made)} rows in {options.out}; left out: {dict(counts) or 'none'}")
    return 0
