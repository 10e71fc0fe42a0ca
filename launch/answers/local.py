"""What answers: a model of this machine by transformers or by vLLM, or a server. `--backend` and what it asks for."""

import argparse
from typing import Any

from datasets_builders.choices import one_of
from launch.answers.backends import Decoding, LocalBackend, TransformersBackend
from launch.answers.engine import Engine, VLLMBackend, check_engine
from launch.answers.policy import Policy

LOCAL = ("transformers", "vllm")


SERVER = "openai"


def add_backend(group: argparse._ActionsContainer) -> None:
    """Adds `--backend` where a model of this machine answers."""
    text = f"what the model answers by, one of {', '.join(LOCAL)} (default: {LOCAL[0]})"
    group.add_argument("--backend", type=one_of(LOCAL), default=LOCAL[0], metavar="NAME", help=text)


def add_backend_or_server(group: argparse._ActionsContainer) -> None:
    """Adds `--backend` where a server may answer instead, which `settle_backend` reads, and the flags that name it."""
    names = (*LOCAL, SERVER)
    text = f"what answers, one of {', '.join(names)} (default: {LOCAL[0]}, and with --base_url {SERVER})"
    group.add_argument("--backend", type=one_of(names), metavar="NAME", help=text)
    group.add_argument("--base_url", metavar="URL", help="ask a server that speaks the OpenAI protocol instead")
    group.add_argument("--api_model", metavar="NAME", help="model name at that server; its key: OPENAI_API_KEY")


def settle_backend(args: argparse.Namespace, decoding: Decoding) -> None:
    """Puts the default into `args.backend`, and refuses what it cannot do, before anything is written or loaded.

    Raises:
        ValueError: flags of a server without one, or the other way round; see also `check_engine`.
    """
    server = bool(args.base_url or args.api_model)
    args.backend = args.backend or (SERVER if server else LOCAL[0])
    if args.backend == SERVER and not (args.base_url and args.api_model):
        raise ValueError(f"--backend {SERVER} needs --base_url and --api_model")
    if args.backend != SERVER and server:
        raise ValueError(f"--base_url and --api_model belong to --backend {SERVER}, and it needs both")
    check_local(args.backend, decoding)


def check_local(backend: str, decoding: Decoding) -> None:
    """Refuses what the library of that name cannot do. Errors: see `check_engine`."""
    if backend == "vllm":
        check_engine(decoding)


def load_model(backend: str, path: str, **settings: Any) -> Policy | Engine:
    """The model in the hands of that library. Arguments and errors: see `Policy` and `Engine`."""
    return Engine(path, **settings) if backend == "vllm" else Policy(path, **settings)


def backend_of(model: Policy | Engine, decoding: Decoding, max_input_length: int | None = None) -> LocalBackend:
    """What draws answers of that model. Errors: see `LocalBackend`."""
    kind = VLLMBackend if isinstance(model, Engine) else TransformersBackend
    return kind(model, decoding, max_input_length)
