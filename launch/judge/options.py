"""Flags that say who judges pairs of replies, and how; shared by the commands that ask a judge."""

import argparse
from typing import Any, NamedTuple

from datasets_builders.choices import one_of
from datasets_builders.judging.prompt import PairwisePrompt
from datasets_builders.judging.prompt_files import read_rubric
from launch.answers.backends import Decoding
from launch.answers.checkpoint_options import (
    add_checkpoint_options,
    add_sampling_options,
    answer_settings,
    checkpoint_of,
    decoding_of,
    label_of,
)
from launch.answers.checkpoints import Checkpoint
from launch.answers.options import add_server_options
from launch.answers.policy import resolve_adapter
from launch.cli.flags import add_batch_size, add_max_new_tokens, add_num_samples
from launch.judge.inputs import ORDERS


class Asking(NamedTuple):
    """Who is asked, with which prompt and how; the label names the judge. `checkpoint` is None for a server."""

    checkpoint: Checkpoint | None
    prompt: PairwisePrompt
    decoding: Decoding
    label: str


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say who judges, what the prompt asks for, and how answers are drawn."""
    add_checkpoint_options(parser)
    parser.add_argument("--adapter", metavar="DIR", help="LoRA adapter of the judge, another way to say --checkpoint")
    group = parser.add_argument_group("prompt (of pairs that are no rows of the builder)")
    group.add_argument("--rubric", metavar="FILE", help="what to judge by, a line each (default: helpfulness)")
    group.add_argument("--thinking", action="store_true", help="ask for reasoning before the verdict")
    group.add_argument("--ties", type=one_of(("true", "false")), default="true", help="offer tie as an answer")
    group = parser.add_argument_group("generation")
    group.add_argument("--orders", type=one_of(ORDERS), default="both", help="original: the first reply is A, always")
    add_num_samples(group, 1, "answers in each order; the most frequent one counts", dest="n_samples")
    group.add_argument("--do_sample", action="store_true", help="sample; greedy otherwise")
    add_sampling_options(group)
    add_max_new_tokens(group, 1024)
    group.add_argument("--seed", type=int, default=0, help="seed of every draw")
    add_batch_size(group, 8, "pairs judged at once", dest="batch_pairs")
    add_server_options(parser)


def asking_of(args: argparse.Namespace) -> Asking:
    """What the flags of `add_judge_options` say together.

    Raises:
        ValueError: flags that contradict each other, a value out of range, no such weights or rubric.
    """
    settle_adapter(args)
    decoding = decoding_of(args, args.do_sample)
    checkpoint = checkpoint_of(args, decoding)
    prompt = PairwisePrompt(rubric=rubric_of(args), thinking=args.thinking, ties=args.ties == "true")
    return Asking(checkpoint, prompt, decoding, label_of(args, checkpoint))


def settle_adapter(args: argparse.Namespace) -> None:
    """Makes `--adapter` a checkpoint.

    Raises:
        ValueError: both name the weights that judge, or an adapter that is none.
    """
    if args.adapter and args.checkpoint:
        raise ValueError("--adapter and --checkpoint both name the weights that judge; leave one out")
    if args.adapter:
        args.checkpoint = resolve_adapter(args.adapter)


def rubric_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The lines of `--rubric`, none without it. Errors: see `read_rubric`; a missing file is a ValueError here."""
    try:
        return read_rubric(args.rubric) if args.rubric else ()
    except OSError as error:
        raise ValueError(f"--rubric {args.rubric}: {error.strerror}") from error


def settings_of(args: argparse.Namespace, asking: Asking) -> dict[str, Any]:
    """All that decides the answers, the texts of the pairs excepted."""
    return {
        "backend": args.backend,
        "prompt": asking.prompt.as_dict(),
        "orders": args.orders,
        **answer_settings(args, asking.checkpoint, asking.decoding),
    }
