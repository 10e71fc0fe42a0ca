"""Flags that say which weights of a run answer about pairs, or which server, and what they say together."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.scoring.tags import refuse_swallowed_tags
from launch.answers.backends import Backend, Decoding
from launch.answers.checkpoints import Checkpoint
from launch.answers.draw import draw, weight_facts
from launch.answers.engine import Engine
from launch.answers.forms import check_swift
from launch.answers.local import LOCAL, SERVER, add_backend_or_server, backend_of, load_model, settle_backend
from launch.answers.policy import Policy
from launch.answers.prompts import Prompt
from launch.answers.records import read_answers
from launch.answers.trained_model import resolve_checkpoint
from launch.cli.flags import add_torch_dtype

SAMPLING = {"temperature": 0.7, "top_p": 0.9, "top_k": 50}
SETTINGS = "settings.json"
# Of a checkpoint, what names folders decides no answer.
NO_SETTINGS = ("label", "home")


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
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
    add_backend_or_server(group)


def add_sampling_options(group: argparse._ActionsContainer) -> None:
    """Adds the flags that say how a sampled answer is drawn."""
    group.add_argument("--temperature", type=float, help=f"temperature of the draws; default {SAMPLING['temperature']}")
    group.add_argument(
        "--top_p", type=float, help=f"draw from the likeliest tokens with this share, default {SAMPLING['top_p']}"
    )
    group.add_argument(
        "--top_k", type=int, help=f"default {SAMPLING['top_k']}, 0: all tokens; with --base_url: not sent"
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


def checkpoint_of(args: argparse.Namespace, decoding: Decoding) -> Checkpoint | None:
    """The weights that judge, with what the flags say over what the run says; None for a server's.

    Raises:
        ValueError: see `resolve_checkpoint` and `settle_backend`; or flags of a local model together with those of a server.
    """
    settle_backend(args, decoding)
    if args.backend == SERVER:
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


def answer_settings(args: argparse.Namespace, checkpoint: Checkpoint | None, decoding: Decoding) -> dict[str, Any]:
    """All that decides the answers, the texts excepted."""
    settings = {"batch_pairs": args.batch_pairs, **dataclasses.asdict(decoding)}
    if checkpoint is None:
        from launch.answers.server import server_settings

        return {**settings, **server_settings(args.base_url, args.api_model, decoding), "system": args.system}
    weights = dataclasses.asdict(checkpoint)
    return {
        **settings,
        **({"backend": args.backend} if args.backend != LOCAL[0] else {}),  # which it has always been
        **{name: value for name, value in weights.items() if name not in NO_SETTINGS},
        **weight_facts(checkpoint.model, checkpoint.adapter, args.trust_remote_code),
        "max_length": args.max_length,
    }


def backend_maker(
    args: argparse.Namespace, checkpoint: Checkpoint | None, decoding: Decoding, answer: str
) -> Callable[[], Backend]:
    """Makes what draws the answers; a local model is loaded at the first call, and once.

    Args:
        answer: an example of those that can be read.

    Raises:
        ValueError, from what is returned: the model's tokenizer swallows the tags of such an answer; see also `Policy` and
            `OpenAIBackend`.
    """
    if checkpoint is None:
        from launch.answers.server import OpenAIBackend

        return lambda: OpenAIBackend(args.base_url, args.api_model, decoding, args.system, args.rpm_limit)

    @cache
    def model() -> Policy | Engine:
        import torch

        # Every draw has a generator of its own; this is for whatever else in a model might ask for chance.
        torch.manual_seed(args.seed)
        made = load_model(
            args.backend,
            checkpoint.model,
            adapters=checkpoint.adapter,
            model_type=checkpoint.model_type,
            template_type=checkpoint.template,
            system=checkpoint.system,
            torch_dtype=checkpoint.dtype,
            max_length=args.max_length,
            use_chat_template=checkpoint.use_chat_template,
            enable_thinking=checkpoint.enable_thinking,
            trust_remote_code=args.trust_remote_code,
        )
        refuse_swallowed_tags(made.tokenizer, answer)
        return made

    return lambda: backend_of(model(), decoding)


def draw_answers(
    prompts: Sequence[Prompt],
    make_backend: Callable[[], Backend],
    target: Path,
    args: argparse.Namespace,
    decoding: Decoding,
    *,
    label: str,
    settings: dict[str, Any],
) -> dict[tuple[str, int], dict[str, Any]]:
    """(prompt_id, sample) -> the record of the answer, drawn into `target` and read back from it, see `draw`.

    Both replies or both orders of `--batch_pairs` pairs are drawn at once, all samples of them.

    Args:
        settings: what decides the answers; stored beside `target` in `settings.json`, and compared upon a rerun.

    Raises:
        ValueError: the folder was made with other settings, or holds a damaged file; or an error of the backend.
    """
    draw(
        prompts,
        make_backend,
        target,
        settings=settings,
        settings_file=SETTINGS,
        label=label,
        num_samples=decoding.num_samples,
        batch_size=2 * args.batch_pairs * decoding.num_samples,
        max_failed_share=args.max_failed_share,
        retry_failed=args.retry_failed,
    )
    records = read_answers(target)
    asked = [(prompt.prompt_id, sample) for prompt in prompts for sample in range(decoding.num_samples)]
    if missing := [key for key in asked if key not in records]:
        raise ValueError(f"{target}: no answer to prompt {missing[0][0]} sample {missing[0][1]}; delete the folder")
    return records
