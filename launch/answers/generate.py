"""`python -m launch generate`: answers to distinct prompts, resumable, the same whether interrupted or not."""

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from launch.answers.backends import Backend, Decoding
from launch.answers.draw import draw, prompt_facts, weight_facts
from launch.answers.local import SERVER, add_backend_or_server, backend_of, settle_backend
from launch.answers.options import add_model_options, add_server_options, load_answering, settle_template
from launch.answers.prompts import Prompt, read_prompts, shard
from launch.answers.records import check_label, shard_name
from launch.cli.flags import add_batch_size, add_limit, add_max_new_tokens, add_num_samples, add_shard
from launch.cli.verbs import verb_parser


def _settings(args: argparse.Namespace, decoding: Decoding, prompts: Sequence[Prompt]) -> dict[str, Any]:
    settings = {
        "backend": args.backend,
        **dataclasses.asdict(decoding),
        "system": args.system,
        "batch_size": args.batch_size,
        "world_size": args.world_size,
        **prompt_facts(prompts),
    }
    if args.backend == SERVER:
        from launch.answers.server import server_settings

        return settings | server_settings(args.base_url, args.api_model, decoding)
    return settings | {
        "model": args.model,
        "adapter": args.adapter,
        **weight_facts(args.model, args.adapter, args.trust_remote_code),
        "model_type": args.model_type,
        "template": args.template,
        "torch_dtype": args.torch_dtype,
        "max_length": args.max_length,
        "max_input_length": args.max_input_length,
    }


def _check_backend(args: argparse.Namespace, decoding: Decoding) -> None:
    settle_backend(args, decoding)
    if args.backend != SERVER:
        if not args.model:
            raise ValueError(f"--backend {args.backend} needs --model")
        settle_template(args, [args.adapter] if args.adapter else [])
        return
    local = ("model", "adapter", "model_type", "template", "torch_dtype", "max_length", "max_input_length")
    if given := [f"--{name}" for name in local if getattr(args, name)]:
        raise ValueError(f"{', '.join(given)}: the server decides this with --backend openai")


def _backend(args: argparse.Namespace, decoding: Decoding) -> Backend:
    if args.backend == SERVER:
        from launch.answers.server import OpenAIBackend

        return OpenAIBackend(args.base_url, args.api_model, decoding, args.system, args.rpm_limit)
    return backend_of(load_answering(args, args.adapter), decoding, args.max_input_length)


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("generate", __doc__)
    add_model_options(parser, required=False)
    parser.add_argument("--adapter", metavar="DIR", help="LoRA adapter to generate with")
    parser.add_argument("--prompts", required=True, metavar="FILE", help="rows with messages or prompt")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of one folder per label")
    parser.add_argument(
        "--label", required=True, metavar="NAME", help="name of this model in tables; answers go to DIR/NAME"
    )
    add_limit(parser, "the first so many distinct prompts", dest="eval_size")
    parser.add_argument("--max_input_length", type=positive_integer, help="tokens; longer prompts lose their beginning")
    add_max_new_tokens(parser, 256)
    add_batch_size(parser, 8, "prompts answered at once, or requests under way")
    parser.add_argument("--do_sample", action="store_true", help="sample; greedy otherwise")
    parser.add_argument("--temperature", type=float, default=1.0, help="temperature of --do_sample")
    parser.add_argument("--top_p", type=float, default=1.0, help="draw from the likeliest tokens with this share")
    parser.add_argument(
        "--top_k", type=positive_integer, help="draw from so many of the likeliest tokens (default: all)"
    )
    parser.add_argument(
        "--repetition_penalty", type=float, default=1.0, help="divides the logits of tokens that were there; 1: none"
    )
    parser.add_argument(
        "--no_repeat_ngram_size", type=int, default=0, help="tokens of a sequence that may not come again; 0: any"
    )
    add_num_samples(parser, 1, "answers to each prompt")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")
    add_shard(parser, "parts of the prompts", dest=("rank", "world_size"))
    add_backend_or_server(parser)
    add_server_options(parser)
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the shard is complete."""
    args = make_parser().parse_args(argv)
    decoding = Decoding(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Decoding)})
    _check_backend(args, decoding)
    prompts = read_prompts(args.prompts, args.eval_size)
    mine = shard(prompts, args.rank, args.world_size)
    target = Path(args.out) / check_label(args.label) / shard_name(args.rank, args.world_size)
    drawn = draw(
        mine,
        partial(_backend, args, decoding),
        target,
        settings=_settings(args, decoding, prompts),
        label=args.label,
        num_samples=args.num_samples,
        batch_size=args.batch_size,
        max_failed_share=args.max_failed_share,
        retry_failed=args.retry_failed,
    )
    print(f"{target}: {drawn} answers drawn, {len(mine)} prompts in all")
    return 0
