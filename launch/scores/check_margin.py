"""`python -m launch check-margin`: does a margin adapter prefer the chosen answers, before it is used to train?"""

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from datasets_builders.command_line import Parser
from datasets_builders.io import write_json
from datasets_builders.messages import Messages, plain
from datasets_builders.pair_rows import read_sides
from datasets_builders.source import each_row
from launch.answers.options import add_model_options, load_policy
from launch.answers.policy import EncodedRow, Policy
from launch.cli.flags import add_batch_size, add_limit
from launch.cli.verbs import verb_parser
from launch.common.statistics import share

ADAPTER = "margin"
WORST = 3


def implicit_rewards(
    policy: Policy, rows: Sequence[EncodedRow], adapter: str, beta: float, batch_size: int = 8
) -> list[float]:
    """beta (log pi_adapter - log pi_base) of each of B encoded rows. Unit: nats times beta.

    Raises:
        ValueError: a value that is not finite (the row's index is named), or an unknown adapter.
    """
    tuned = policy.sequence_logps(rows, adapter, batch_size, f"log-probs of {adapter}").double()
    base = policy.sequence_logps(rows, None, batch_size, "log-probs of the base model").double()
    rewards = (beta * (tuned - base)).tolist()
    for index, reward in enumerate(rewards):
        if not math.isfinite(reward):
            raise ValueError(f"the implicit reward of row {index} is {reward}")
    return rewards


def read_pairs(path: str | Path, max_examples: int | None = None) -> list[tuple[Messages, Messages]]:
    """The first `max_examples` pairs (chosen conversation, rejected conversation).

    Args:
        path: a file, folder or glob; which rows are pairs, see `datasets_builders.pair_rows`.

    Raises:
        ValueError: `FILE:LINE: ...` for a row that is no pair, or no rows.
    """
    found = islice(each_row(path, lambda row: read_sides(row, must_teach=False)), max_examples)
    pairs = [(plain(sides.chosen), plain(sides.rejected)) for _, sides in found]
    if not pairs:
        raise ValueError(f"{path}: no pairs")
    return pairs


def check_margin(
    policy: Policy, adapter: str, pairs: Sequence[tuple[Messages, Messages]], beta: float, batch_size: int = 8
) -> dict[str, Any]:
    """How well the implicit reward of `adapter` orders `pairs`: chosen above rejected. A tie counts as wrong.

    Returns:
        `n, wins, ties, accuracy {value, low, high, n}, mean_gap, beta, worst` (the pairs with the smallest gaps).

    Raises:
        ValueError: a pair that is too long for the model, or a reward that is not finite.
    """
    rows = []
    for index, pair in enumerate(pairs):
        for side, messages in zip(("chosen", "rejected"), pair, strict=True):
            try:
                rows.append(policy.encode_pair_row(messages))
            except ValueError as error:
                raise ValueError(f"pair {index + 1}, {side}: {error}") from error
    rewards = implicit_rewards(policy, rows, adapter, beta, batch_size)
    gaps = [chosen - rejected for chosen, rejected in zip(rewards[::2], rewards[1::2], strict=True)]
    wins = sum(gap > 0 for gap in gaps)
    worst = sorted(range(len(gaps)), key=lambda index: (gaps[index], index))[:WORST]
    return {
        "n": len(gaps),
        "wins": wins,
        "ties": sum(gap == 0 for gap in gaps),
        "accuracy": share(wins, len(gaps)).as_json(),
        "mean_gap": sum(gaps) / len(gaps),
        "beta": beta,
        "worst": [
            {
                "pair": index + 1,
                "gap": gaps[index],
                "prompt": pairs[index][0][-2]["content"],
                "chosen": pairs[index][0][-1]["content"],
                "rejected": pairs[index][1][-1]["content"],
            }
            for index in worst
        ],
    }


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("check-margin", __doc__)
    add_model_options(parser, required=True)
    parser.add_argument("--adapter", required=True, metavar="DIR", help="the margin adapter")
    parser.add_argument("--pairs", required=True, metavar="FILE", help="rows with messages and rejected_response")
    parser.add_argument(
        "--beta", type=float, default=0.1, help="beta of the adapter's training; the unit of the gap is nats times beta"
    )
    add_limit(parser, "the first so many pairs", dest="max_examples", default=256)
    parser.add_argument("--min_accuracy", type=float, default=0.6, help="exit code 1 below this share of right pairs")
    add_batch_size(parser, 8, "answers scored at once")
    parser.add_argument("--out", metavar="FILE.json", help="also write the outcome here")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the accuracy reaches the threshold, 1 when it does not."""
    args = make_parser().parse_args(argv)
    if not args.beta > 0 or not 0 <= args.min_accuracy <= 1:
        raise ValueError("--beta must be positive and --min_accuracy between 0 and 1")
    pairs = read_pairs(args.pairs, args.max_examples)
    outcome = check_margin(load_policy(args, {ADAPTER: args.adapter}), ADAPTER, pairs, args.beta, args.batch_size)
    accuracy = outcome["accuracy"]
    passed = accuracy["value"] >= args.min_accuracy
    if args.out:
        write_json(args.out, {**outcome, "min_accuracy": args.min_accuracy, "passed": passed})
    for item in outcome["worst"]:
        print(f"pair {item['pair']}: gap {item['gap']:+.4f}  {item['prompt']!r:.100}")
    print(f"{outcome['n']} pairs, {outcome['ties']} ties, mean gap {outcome['mean_gap']:+.4f}")
    print(
        f"accuracy {accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}] {'reaches' if passed else 'is below'} "
        f"the threshold {args.min_accuracy:.3f}"
    )
    return 0 if passed else 1
