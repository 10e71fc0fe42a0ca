"""Flags that several commands share."""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.choices import positive_integer, share
from launch.answers.records import MAX_FAILED_SHARE
from launch.cli.flags import add_torch_dtype

if TYPE_CHECKING:
    from launch.answers.engine import Engine
    from launch.answers.policy import Policy

OWN_TEMPLATE = "default: as trained by ms-swift, else the tokenizer's chat template"


def add_model_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Adds the flags that say which model to load and how its conversations are written."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", required=required, metavar="PATH", help="model directory or hub name")
    group.add_argument("--model_type", help=f"ms-swift model type, such as llama ({OWN_TEMPLATE})")
    group.add_argument("--template", help=f"ms-swift template type, such as chatml ({OWN_TEMPLATE})")
    group.add_argument("--system", help="system message of prompts that have none (default: the template's)")
    add_torch_dtype(group)
    group.add_argument("--max_length", type=positive_integer, help="longest row in tokens (default: the model's limit)")
    group.add_argument("--trust_remote_code", action="store_true", help="run Python code that the model brings")


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how fast a server is asked, and those of `add_failure_options`."""
    parser.add_argument(
        "--rpm_limit", type=positive_integer, help="requests per minute to a server (default: one batch at once)"
    )
    add_failure_options(parser)


def add_failure_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what becomes of a server's answers that are missing or odd."""
    group = parser.add_argument_group("answers of a server that are empty, odd or refused")
    group.add_argument(
        "--max_failed_share", type=share, default=MAX_FAILED_SHARE, help="share of all answers that may have failed"
    )
    group.add_argument("--retry_failed", action="store_true", help="ask for those of earlier runs again")


def settle_template(args: argparse.Namespace, adapters: Iterable[str] = ()) -> None:
    """Where neither --model_type nor --template is given, takes them from the run of ms-swift that left the weights.

    Args:
        adapters: folders that come before that of `--model`.

    Raises:
        ValueError: ms-swift is asked for, by a flag or by the `args.json` beside the weights, and is not there.
    """
    from launch.answers.forms import check_swift
    from launch.models.merge_lora import swift_arguments

    asked = {"--model_type": args.model_type, "--template": args.template}
    if args.model_type is None and args.template is None:
        for folder in map(Path, (*adapters, args.model)):
            trained = swift_arguments(folder)
            args.model_type, args.template = trained.get("model_type"), trained.get("template")
            if args.model_type or args.template:
                file = folder / "args.json"
                asked = {f"{file}: model_type": args.model_type, f"{file}: template": args.template}
                break
    check_swift(asked)


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags of `add_model_options` say to a `Policy` beside the weights."""
    return {
        "model_type": args.model_type,
        "template_type": args.template,
        "system": args.system,
        "torch_dtype": args.torch_dtype,
        "max_length": args.max_length,
        "trust_remote_code": args.trust_remote_code,
    }


def load_policy(args: argparse.Namespace, adapters: Mapping[str, str] | str | None = None) -> "Policy":
    """The policy that the flags of `add_model_options` describe. Errors: see `settle_template` and `Policy`."""
    from launch.answers.policy import Policy

    settle_template(args, [adapters] if isinstance(adapters, str) else (adapters or {}).values())
    return Policy(args.model, adapters=adapters, **settings_of(args))


def load_answering(args: argparse.Namespace, adapter: str | None) -> "Policy | Engine":
    """The same model, with `adapter`, in the hands of `--backend`. Errors: those of `load_policy` and `Engine`."""
    from launch.answers.local import load_model

    settle_template(args, [adapter] if adapter else [])
    return load_model(args.backend, args.model, adapters=adapter, **settings_of(args))
