"""Flags that the commands of this package share, and what they say together."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from datasets_builders.choices import one_of, positive_integer, share
from datasets_builders.comparisons import SETS, Comparison, read_comparisons, sample_comparisons
from datasets_builders.io import SkipCounter, list_files
from datasets_builders.scoring.parsers import ScoreParser
from datasets_builders.scoring.prompt import PointwisePrompt
from datasets_builders.scoring.prompts import PROMPTS, dataset_of, get_prompt
from datasets_builders.scoring.tags import refuse_swallowed_tags
from launch.answers.backends import Backend, Decoding, TransformersBackend
from launch.answers.draw import weight_facts
from launch.answers.forms import check_swift
from launch.answers.options import add_server_options
from launch.answers.policy import Policy
from launch.answers.server import OpenAIBackend, server_settings
from launch.answers.trained_model import Checkpoint, resolve_checkpoint
from launch.bt.spread import Bands, check_bands
from launch.cli.flags import add_batch_size, add_limit, add_max_new_tokens, add_num_samples, add_torch_dtype

DATASET = "summarize_from_feedback"
SAMPLING = {"temperature": 0.7, "top_p": 0.9, "top_k": 50}
ADAPTER = "judge"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say which weights judge, and how their conversations are written."""
    group = parser.add_argument_group("model")
    group.add_argument("--run_dir", metavar="DIR", help="folder of a training run; its args.json names the base model")
    group.add_argument("--checkpoint", metavar="NAME", help="in --run_dir, or a folder; checkpoint-0: before training")
    group.add_argument("--model", metavar="PATH", help="a model of its own, or the base of an adapter that moved")
    group.add_argument("--model_type", help="ms-swift model type (default: as trained by ms-swift)")
    group.add_argument(
        "--template", help="ms-swift template type (default: as trained by ms-swift, else the tokenizer's)"
    )
    group.add_argument("--system", help="system message (default: as trained)")
    group.add_argument("--no_chat_template", action="store_true", help="plain text (default: as trained)")
    add_torch_dtype(group, "as trained")
    group.add_argument("--max_length", type=positive_integer, help="longest row in tokens (default: the model's limit)")
    group.add_argument("--trust_remote_code", action="store_true", help="run Python code that the model brings")
    group.add_argument("--base_url", metavar="URL", help="ask a server that speaks the OpenAI protocol instead")
    group.add_argument("--api_model", metavar="NAME", help="model name at that server; its key: OPENAI_API_KEY")


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
    group.add_argument("--temperature", type=float, help=f"temperature of the draws; default {SAMPLING['temperature']}")
    group.add_argument(
        "--top_p", type=float, help=f"draw from the likeliest tokens with this share, default {SAMPLING['top_p']}"
    )
    group.add_argument(
        "--top_k", type=int, help=f"default {SAMPLING['top_k']}, 0: all tokens; with --base_url: not sent"
    )
    add_batch_size(group, batch_pairs, "pairs judged at once", dest="batch_pairs")
    add_server_options(parser)


def add_band_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say when a reply was judged both ways."""
    parser.add_argument("--unc_low", type=float, help="end of the low band (default: 20 out of 100, 2 out of 5)")
    parser.add_argument("--unc_high", type=float, help="start of the high band (default: 80 out of 100, 4 out of 5)")


def split_of(args: argparse.Namespace) -> str:
    """The split that was asked for, or the last one of the data set."""
    return args.split or SETS[args.dataset].splits[-1]


def comparisons_of(args: argparse.Namespace) -> tuple[list[Comparison], SkipCounter]:
    """The pairs that the flags choose, in seeded order, and the count of rows that could not be used.

    Raises:
        ValueError: no usable pair, more unusable rows than allowed, or a malformed file.
    """
    skips = SkipCounter()
    stream = read_comparisons(
        args.dataset,
        split_of(args),
        source=args.source,
        skips=skips,
        max_skipped_share=args.max_skipped_share,
        shuffle_sides=args.shuffle_sides,
    )
    comparisons = sample_comparisons(stream, seed=args.seed, n=args.n_pairs)
    where = args.source or f"{args.dataset}[{split_of(args)}]"
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


def bands_of(args: argparse.Namespace, parser: ScoreParser) -> Bands:
    """Where uncertainty begins; each end is the scale's unless a flag says otherwise.

    Raises:
        ValueError: the bands overlap.
    """
    low, high = parser.scale.uncertain
    return check_bands(
        (low if args.unc_low is None else args.unc_low, high if args.unc_high is None else args.unc_high)
    )


def decoding_of(args: argparse.Namespace, do_sample: bool) -> Decoding:
    """How answers are drawn: sampled with the defaults of SAMPLING, or greedy.

    Raises:
        ValueError: a value out of range, or one that has no effect without sampling.
    """
    given = {name: getattr(args, name) for name in SAMPLING if getattr(args, name) is not None}
    defaults = dict(SAMPLING) if do_sample else {}
    if args.base_url:
        defaults.pop("top_k", None)
    return Decoding(
        max_new_tokens=args.max_new_tokens,
        num_samples=args.n_samples,
        seed=args.seed,
        do_sample=do_sample,
        **(defaults | given),
    )


def drawn(decoding: Decoding) -> str:
    """How answers were drawn, in words: what a share of answers with a score depends on."""
    if not decoding.do_sample:
        return "greedy"
    top_k = {None: "the server's own top-k", 0: "all tokens"}.get(decoding.top_k, f"top-k {decoding.top_k}")
    return f"sampled at temperature {decoding.temperature:g}, top-p {decoding.top_p:g}, {top_k}"


def checkpoint_of(args: argparse.Namespace) -> Checkpoint | None:
    """The weights that judge, with what the flags say over what the run says; None for a server's.

    Raises:
        ValueError: see `resolve_checkpoint`; or flags of a local model together with those of a server.
    """
    if args.base_url or args.api_model:
        if not (args.base_url and args.api_model):
            raise ValueError("--base_url and --api_model belong together")
        local = (
            "run_dir",
            "checkpoint",
            "model",
            "model_type",
            "template",
            "torch_dtype",
            "max_length",
            "no_chat_template",
        )
        if given := [f"--{name}" for name in local if getattr(args, name)]:
            raise ValueError(f"{', '.join(given)}: the server decides this with --base_url")
        return None
    found = resolve_checkpoint(args.run_dir, args.checkpoint, args.model).but(
        model_type=args.model_type,
        template=args.template,
        system=args.system,
        dtype=args.torch_dtype,
    )
    run = found.home / "args.json"
    check_swift(
        {
            f"{run}: model_type" if args.model_type is None else "--model_type": found.model_type,
            f"{run}: template" if args.template is None else "--template": found.template,
        }
    )
    if not args.no_chat_template:
        return found
    if args.system:
        raise ValueError("--system has no place in plain text, leave out --no_chat_template or --system")
    return dataclasses.replace(found, use_chat_template=False, system=None)


def label_of(args: argparse.Namespace, checkpoint: Checkpoint | None) -> str:
    """The name of what judges, in tables and folders."""
    return checkpoint.label if checkpoint else args.api_model.strip("/").split("/")[-1]


def default_out(args: argparse.Namespace, checkpoint: Checkpoint | None, kind: str) -> Path:
    """`KIND/LABEL_DATASET_SPLIT_seedN` beside the checkpoint; in the working folder for a server or a hub model."""
    name = f"{label_of(args, checkpoint)}_{args.dataset}_{split_of(args)}_seed{args.seed}"
    return (checkpoint.home if checkpoint else Path()) / kind / name


def sample_settings(
    args: argparse.Namespace, checkpoint: Checkpoint | None, prompt: PointwisePrompt, decoding: Decoding
) -> dict[str, Any]:
    """All that decides which scores are drawn, the texts of the pairs excepted."""
    settings = {
        "dataset": args.dataset,
        "split": split_of(args),
        "source_bytes": sum(file.stat().st_size for file in list_files(args.source)) if args.source else None,
        "n_pairs": args.n_pairs,
        "shuffle_sides": args.shuffle_sides,
        "prompt": prompt.name,
        "batch_pairs": args.batch_pairs,
        **dataclasses.asdict(decoding),
    }
    if checkpoint is None:
        return {**settings, **server_settings(args.base_url, args.api_model, decoding), "system": args.system}
    return {
        **settings,
        "model": checkpoint.model,
        "adapter": checkpoint.adapter,
        **weight_facts(checkpoint.model, checkpoint.adapter, args.trust_remote_code),
        "model_type": checkpoint.model_type,
        "template": checkpoint.template,
        "system": checkpoint.system,
        "use_chat_template": checkpoint.use_chat_template,
        "enable_thinking": checkpoint.enable_thinking,
        "dtype": checkpoint.dtype,
        "max_length": args.max_length,
    }


def make_backend(args: argparse.Namespace, checkpoint: Checkpoint | None, decoding: Decoding, answer: str) -> Backend:
    """What draws the answers; `answer` is an example of those that can be read.

    Raises:
        ValueError: the model's tokenizer swallows the tags of such an answer; see also `Policy` and `OpenAIBackend`.
    """
    if checkpoint is None:
        return OpenAIBackend(args.base_url, args.api_model, decoding, args.system, args.rpm_limit)
    import torch

    # Every draw has a generator of its own; this is for whatever else in a model might ask for chance.
    torch.manual_seed(args.seed)
    policy = Policy(
        checkpoint.model,
        adapters={ADAPTER: checkpoint.adapter} if checkpoint.adapter else None,
        model_type=checkpoint.model_type,
        template_type=checkpoint.template,
        system=checkpoint.system,
        torch_dtype=checkpoint.dtype,
        max_length=args.max_length,
        use_chat_template=checkpoint.use_chat_template,
        enable_thinking=checkpoint.enable_thinking,
        trust_remote_code=args.trust_remote_code,
    )
    refuse_swallowed_tags(policy.tokenizer, answer)
    return TransformersBackend(policy, decoding)
