"""`python -m launch steer`: one prompt, one answer for each set of weights, by one policy."""

import argparse
import json

from datasets_builders.command_line import Parser
from launch.answers.backends import Decoding
from launch.answers.local import SERVER, add_backend_or_server, settle_backend
from launch.cli.flags import add_max_new_tokens, add_torch_dtype
from launch.cli.verbs import verb_parser
from launch.moodpo.steered import Steered, ask, asking, load_form, load_policy, objectives_of
from launch.moodpo.weights import parse_weights, write_weights


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """The flags that say which policy is asked."""
    group = parser.add_argument_group("policy")
    group.add_argument("--model", required=True, metavar="PATH", help="base model, or a full checkpoint")
    group.add_argument("--adapter", metavar="DIR", help="LoRA checkpoint of the training")
    group.add_argument(
        "--objectives", nargs="+", metavar="NAME", help="in training's order, for a policy that does not name them"
    )
    add_form_options(group)
    add_backend_or_server(group)


def open_policy(options: argparse.Namespace, decoding: Decoding) -> Steered:
    """The policy of the flags above.

    Raises:
        ValueError: see `settle_backend`, `load_policy` and `ServedPolicy`; or a flag that the server decides.
    """
    settle_backend(options, decoding)
    if options.backend != SERVER:
        return load_policy(options.model, options.adapter, options.exp_type, options.torch_dtype, options.backend)
    if options.torch_dtype:
        raise ValueError("--torch_dtype: the server decides this with --base_url")
    from launch.moodpo.served import ServedPolicy

    form = load_form(options.model, options.adapter, options.exp_type)
    return ServedPolicy(form, options.base_url, options.api_model)


def add_form_options(group: argparse._ActionsContainer) -> None:
    """The flags that say how prompts are written, and in which numbers weights are held."""
    group.add_argument(
        "--exp_type", choices=("assistant", "summary"), default="assistant", help="the same as in training"
    )
    add_torch_dtype(group)


def add_decoding_options(parser: argparse.ArgumentParser) -> None:
    """The flags that say how an answer is drawn."""
    group = parser.add_argument_group("answers")
    group.add_argument("--temperature", type=float, default=0.0, help="0, the default, takes the likeliest tokens")
    add_max_new_tokens(group, 128)
    group.add_argument("--seed", type=int, default=0, help="seed of the draws, with a temperature above 0")


def read_decoding(options: argparse.Namespace) -> Decoding:
    """The decoding of the flags above.

    Raises:
        ValueError: a negative temperature, or several answers to a prompt without one.
    """
    if options.temperature < 0:
        raise ValueError(f"--temperature is {options.temperature:g}: at least 0 is valid")
    sampling = {"do_sample": True, "temperature": options.temperature} if options.temperature else {}
    samples = vars(options).get("num_samples", 1)
    if not options.temperature and samples > 1:
        raise ValueError("--temperature 0 has one answer a prompt: add --num_samples 1")
    return Decoding(max_new_tokens=options.max_new_tokens, num_samples=samples, seed=options.seed, **sampling)


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("steer", __doc__)
    add_policy_options(parser)
    parser.add_argument(
        "--weights", action="append", required=True, metavar="NAME=WEIGHT,...", help="repeat it for several answers"
    )
    add_decoding_options(parser)
    parser.add_argument(
        "--print_prompt",
        action="store_true",
        help="print what the policy would be asked, one JSON object per line, for any other server, and load no weights",
    )
    parser.add_argument("prompt", help="what is asked")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when every answer, or every prompt, is printed."""
    options = make_parser().parse_args(argv)
    names = objectives_of(options.adapter or options.model, options.objectives)
    vectors = [parse_weights(text, names) for text in options.weights]
    decoding = read_decoding(options)
    if not options.prompt.strip():
        raise ValueError("the prompt is empty")
    if options.print_prompt:
        form = load_form(options.model, options.adapter, options.exp_type)
        for vector in vectors:
            asked = form.asked([{"role": "user", "content": options.prompt}], names, vector)
            print(json.dumps({"prompt" if isinstance(asked, str) else "messages": asked}, ensure_ascii=False))
        return 0
    policy = open_policy(options, decoding)
    for vector in vectors:
        answer = ask(asking(policy, names, vector), options.prompt, decoding)
        if len(vectors) > 1:
            print(f"--- {write_weights(names, vector)}")
        print(answer.response, flush=True)
    return 0
