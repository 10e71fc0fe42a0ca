"""Flags that say which pairs are scored and how, and what they say together."""

import argparse
from pathlib import Path
from typing import Any

from datasets_builders.choices import one_of, share
from datasets_builders.comparisons import SETS, Comparison, read_comparisons, sample_comparisons
from datasets_builders.io import SkipCounter, list_files
from datasets_builders.scoring.parsers import ScoreParser
from datasets_builders.scoring.prompt import PointwisePrompt
from datasets_builders.scoring.prompts import PROMPTS, dataset_of, get_prompt
from launch.answers.backends import Decoding
from launch.answers.checkpoint_options import add_sampling_options, answer_settings, label_of
from launch.answers.checkpoints import Checkpoint
from launch.answers.options import add_server_options
from launch.bt.written import WrittenPairs
from launch.cli.flags import add_batch_size, add_limit, add_max_new_tokens, add_num_samples

DATASET = "summarize_from_feedback"


def add_data_options(parser: argparse.ArgumentParser, n_pairs: int) -> None:
    """Adds the flags that say which pairs are judged."""
    group = parser.add_argument_group("pairs")
    group.add_argument("--dataset", type=one_of(SETS), default=DATASET, help=f"one of {', '.join(SETS)}")
    group.add_argument("--split", help="default: the split to evaluate on")
    group.add_argument("--source", metavar="PATH", help="local file, folder or glob instead of the hub")
    add_limit(group, "so many pairs, chosen by --seed", dest="n_pairs", default=n_pairs)
    group.add_argument("--seed", type=int, default=0, help="seed of the choice of pairs and of every draw")
    group.add_argument("--shuffle_sides", type=int, metavar="SEED", help="exchange the sides of about half the pairs")
    group.add_argument(
        "--max_skipped_share", type=share, default=0.05, help="largest share of rows that cannot be used"
    )


def add_generation_options(parser: argparse.ArgumentParser, n_samples: int, batch_pairs: int) -> None:
    """Adds the flags that say how scores are drawn."""
    group = parser.add_argument_group("generation")
    add_max_new_tokens(group, 128)
    add_num_samples(group, n_samples, "answers to each reply", dest="n_samples")
    add_sampling_options(group)
    add_batch_size(group, batch_pairs, "pairs judged at once", dest="batch_pairs")
    add_server_options(parser)


def add_band_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say when a reply was judged both ways."""
    parser.add_argument("--unc_low", type=float, help="end of the low band (default: 20 out of 100, 2 out of 5)")
    parser.add_argument("--unc_high", type=float, help="start of the high band (default: 80 out of 100, 4 out of 5)")


def split_of(args: argparse.Namespace) -> str:
    """The split that was asked for, or the last one of the data set."""
    return args.split or SETS[args.dataset].splits[-1]


def comparisons_of(
    args: argparse.Namespace, written: WrittenPairs | None = None
) -> tuple[list[Comparison], SkipCounter]:
    """The pairs that the flags choose, in seeded order, and the count of rows that could not be used.

    Args:
        written: choose from these instead of a data set.

    Raises:
        ValueError: no usable pair, more unusable rows than allowed, or a malformed file.
    """
    skips = SkipCounter()
    if written is not None:
        stream, where = written.comparisons, args.data
        skips.kept = 2 * len(stream)
    else:
        stream = read_comparisons(
            args.dataset,
            split_of(args),
            source=args.source,
            skips=skips,
            max_skipped_share=args.max_skipped_share,
            shuffle_sides=args.shuffle_sides,
        )
        where = args.source or f"{args.dataset}[{split_of(args)}]"
    comparisons = sample_comparisons(stream, seed=args.seed, n=args.n_pairs)
    if not comparisons:
        raise ValueError(f"{where}: no usable pair")
    if len(comparisons) < args.n_pairs:
        print(f"{where}: {len(comparisons)} pairs, fewer than --limit {args.n_pairs}")
    return comparisons, skips


def prompt_of(args: argparse.Namespace, name: str) -> PointwisePrompt:
    """The prompt of that name.

    Raises:
        ValueError: there is none of that name, or it is made for another data set.
    """
    prompt = get_prompt(name)
    if (made_for := dataset_of(prompt)) != args.dataset:
        valid = ", ".join(name for name, other in PROMPTS.items() if dataset_of(other) == args.dataset)
        raise ValueError(f"--prompt {prompt.name} is made for {made_for}, not for {args.dataset}; valid: {valid}")
    return prompt


def parser_of(prompt: PointwisePrompt, name: str | None) -> ScoreParser:
    """The parser of that name (None: the prompt's own), which must read the prompt's scale. Errors: `parser_named`."""
    return prompt.parser_named(name) if name else prompt.parser


def bands_of(args: argparse.Namespace, parser: ScoreParser) -> tuple[float, float]:
    """Where uncertainty begins; each end is the scale's unless a flag says otherwise.

    Raises:
        ValueError: the bands overlap.
    """
    from launch.bt.spread import check_bands

    low, high = parser.scale.uncertain
    return check_bands(
        (low if args.unc_low is None else args.unc_low, high if args.unc_high is None else args.unc_high)
    )


def default_out(args: argparse.Namespace, checkpoint: Checkpoint | None, kind: str) -> Path:
    """`KIND/LABEL_DATASET_SPLIT_seedN` beside the checkpoint; in the working folder for a server or a hub model.

    With --data the stem of its name stands for data set and split.
    """
    data = vars(args).get("data")
    pairs = Path(data).stem if data else f"{args.dataset}_{split_of(args)}"
    name = f"{label_of(args, checkpoint)}_{pairs}_seed{args.seed}"
    return (checkpoint.home if checkpoint else Path()) / kind / name


def sample_settings(
    args: argparse.Namespace, checkpoint: Checkpoint | None, prompt: PointwisePrompt, decoding: Decoding
) -> dict[str, Any]:
    """All that decides which scores are drawn, the texts of the pairs excepted."""
    rows = vars(args).get("data") is not None
    return {
        "dataset": None if rows else args.dataset,
        "split": None if rows else split_of(args),
        "source_bytes": sum(file.stat().st_size for file in list_files(args.source)) if args.source else None,
        "n_pairs": args.n_pairs,
        "shuffle_sides": args.shuffle_sides,
        "prompt": prompt.name,
        **answer_settings(args, checkpoint, decoding),
    }
