"""Flags that several commands share."""

import argparse
from collections.abc import Mapping

from datasets_builders.choices import positive_integer, share
from launch.answers.policy import Policy
from launch.cli.flags import add_torch_dtype

MAX_FAILED_SHARE = 0.05


def add_model_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Adds the flags that say which model to load and how its conversations are written."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", required=required, metavar="PATH", help="model directory or hub name")
    group.add_argument("--model_type", help="ms-swift model type, such as llama")
    group.add_argument("--template", help="ms-swift template type, such as chatml")
    group.add_argument("--system", help="system message of prompts that have none (default: the template's)")
    add_torch_dtype(group)
    group.add_argument("--max_length", type=positive_integer, help="longest row in tokens (default: the model's limit)")
    group.add_argument("--trust_remote_code", action="store_true", help="run Python code that the model brings")


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how fast a server is asked, and those of `add_failure_options`."""
    parser.add_argument("--rpm_limit", type=positive_integer, help="requests per minute to a server (default: one batch at once)")
    add_failure_options(parser)


def add_failure_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what becomes of a server's answers that are missing or odd."""
    group = parser.add_argument_group("answers of a server that are empty, odd or refused")
    group.add_argument("--max_failed_share", type=share, default=MAX_FAILED_SHARE, help="share of all answers that may have failed")
    group.add_argument("--retry_failed", action="store_true", help="ask for those of earlier runs again")


def load_policy(args: argparse.Namespace, adapters: Mapping[str, str] | None = None) -> Policy:
    """The policy that the flags of `add_model_options` describe. Errors: see `Policy`."""
    return Policy(
        args.model,
        adapters=adapters,
        model_type=args.model_type,
        template_type=args.template,
        system=args.system,
        torch_dtype=args.torch_dtype,
        max_length=args.max_length,
        trust_remote_code=args.trust_remote_code,
    )
