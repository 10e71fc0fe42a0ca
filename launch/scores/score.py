"""`python -m launch score`: one number per answer and reward, for every generation directory."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json, write_jsonl
from launch.answers.options import add_model_options, load_policy
from launch.answers.policy import Policy
from launch.answers.records import describe, read_labels, token_counts
from launch.cli.flags import add_batch_size
from launch.cli.verbs import verb_parser
from launch.scores.check_margin import implicit_rewards
from launch.scores.score_files import SETTINGS_FILE
from trl_ext.objectives.text import call_text_function, get_text_function

KINDS = ("function", "implicit", "classifier")
_FUNCTION_UNITS = {
    "brevity": "minus words",
    "negative_response_tokens": "minus tokens",
    "plain_words": "minus letters per word",
    "rich_vocabulary": "words",
}

Scorer = Callable[[Sequence[dict[str, Any]]], list[float]]


class RewardSpec(NamedTuple):
    """`name=kind:target` taken apart."""

    name: str
    kind: str
    target: str

    def unit(self, beta: float) -> str:
        """What one step of the score is."""
        if self.kind == "function":
            return _FUNCTION_UNITS.get(self.target, "score")
        return f"{beta:g} × nats" if self.kind == "implicit" else "classifier output"


def parse_specs(texts: Sequence[str]) -> list[RewardSpec]:
    """Reads `name=kind:target` specs.

    Raises:
        ValueError: another form, an unknown kind or function, or one name twice.
    """
    specs = []
    for text in texts:
        name, found, rest = text.partition("=")
        kind, colon, target = rest.partition(":")
        if not (name and found and colon and target) or kind not in KINDS:
            raise ValueError(f"--reward {text!r}: write NAME=KIND:TARGET with KIND one of {', '.join(KINDS)}")
        if kind == "function":
            get_text_function(target)
        if name in [spec.name for spec in specs]:
            raise ValueError(f"--reward {text!r}: the name {name!r} is used twice")
        specs.append(RewardSpec(name, kind, target))
    return specs


def function_scorer(name: str) -> Scorer:
    """Scores records with a text function of the last user message, the response and its token count."""

    def score(records: Sequence[dict[str, Any]]) -> list[float]:
        prompts, responses = ([record[key] for record in records] for key in ("prompt", "response"))
        return call_text_function(name, prompts, responses, token_counts(records, name))

    return score


def implicit_scorer(policy: Policy, adapter: str, beta: float, batch_size: int) -> Scorer:
    """Scores records with beta (log pi_adapter - log pi_base) of the whole response, as training would score it."""

    def score(records: Sequence[dict[str, Any]]) -> list[float]:
        rows = []
        for record in records:
            try:
                answer = {"role": "assistant", "content": record["response"]}
                rows.append(policy.encode_pair_row([*record["messages"], answer]))
            except ValueError as error:
                raise ValueError(f"{describe(record)}: {error}") from error
        return implicit_rewards(policy, rows, adapter, beta, batch_size)

    return score


def classifier_scorer(path: str, batch_size: int = 8, **settings: Any) -> Scorer:
    """Scores records with an output of a sequence classifier; a row that is too long is refused, not cut.

    Args:
        settings: head, max_length, torch_dtype, trust_remote_code of `trl_ext.modpo.classifier.ClassifierReward`.
    """
    from trl_ext.modpo.classifier import ClassifierReward

    reward = ClassifierReward(path, device=None, cut_overlong=False, chosen_by="--classifier_head", **settings)

    def encode(record: dict[str, Any]) -> dict[str, list[int]]:
        try:
            return reward.encode(record["messages"], record["response"])
        except ValueError as error:
            raise ValueError(f"{describe(record)}: {error} (--classifier_max_length)") from error

    return lambda records: reward.score([encode(record) for record in records], batch_size, path).tolist()


def score_records(records: Sequence[dict[str, Any]], scorers: dict[str, Scorer]) -> list[dict[str, Any]]:
    """The score rows of one label: `prompt_id, sample, scores {name: value}, response_tokens, words, capped,
    prompt_truncated`.

    Raises:
        ValueError: a score that is not finite (the row is named), or an error of a scorer.
    """
    columns = {name: scorer(records) for name, scorer in scorers.items()}
    responses = [record["response"] for record in records]
    counts = [record["response_tokens"] for record in records]
    words = [-int(value) for value in call_text_function("brevity", responses, responses, counts)]
    rows = []
    for index, record in enumerate(records):
        scores = {name: column[index] for name, column in columns.items()}
        for name, value in scores.items():
            if not math.isfinite(value):
                raise ValueError(f"{describe(record)}: the score {name!r} is {value}")
        rows.append(
            {
                "prompt_id": record["prompt_id"],
                "sample": record["sample"],
                "scores": scores,
                "response_tokens": record["response_tokens"],
                "words": words[index],
                "capped": record["capped"],
                "prompt_truncated": record["prompt_truncated"],
            }
        )
    return rows


def _scorers(specs: Sequence[RewardSpec], args: argparse.Namespace) -> dict[str, Scorer]:
    # Numbered, because an adapter's name must not hold the dots that a reward's name may.
    adapters = {spec.name: f"reward{index}" for index, spec in enumerate(specs) if spec.kind == "implicit"}
    implicit = {adapters[spec.name]: spec.target for spec in specs if spec.kind == "implicit"}
    if implicit and not args.model:
        raise ValueError("an implicit reward needs --model, the base model of its adapter")
    policy = load_policy(args, implicit) if implicit else None
    scorers: dict[str, Scorer] = {}
    for spec in specs:
        if spec.kind == "function":
            scorers[spec.name] = function_scorer(spec.target)
        elif spec.kind == "implicit":
            scorers[spec.name] = implicit_scorer(policy, adapters[spec.name], args.beta, args.batch_size)
        else:
            scorers[spec.name] = classifier_scorer(
                spec.target,
                args.batch_size,
                head=args.classifier_head,
                max_length=args.classifier_max_length,
                torch_dtype=args.torch_dtype,
                trust_remote_code=args.trust_remote_code,
            )
    return scorers


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("score", __doc__)
    add_model_options(parser, required=False)
    parser.add_argument("--gens", nargs="+", required=True, metavar="DIR", help="generation directories, one per label")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of one score file a label")
    parser.add_argument(
        "--reward", nargs="+", required=True, metavar="NAME=KIND:TARGET", help=f"kinds: {', '.join(KINDS)}"
    )
    parser.add_argument("--beta", type=float, default=0.1, help="beta of implicit rewards")
    add_batch_size(parser, 8, "answers scored at once")
    parser.add_argument("--classifier_head", type=int, default=0, metavar="INDEX", help="output to take as the score")
    parser.add_argument(
        "--classifier_max_length", type=positive_integer, help="tokens (default: the tokenizer's limit)"
    )
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when every label is scored."""
    args = make_parser().parse_args(argv)
    if not args.beta > 0:
        raise ValueError(f"--beta must be positive, got {args.beta}")
    specs = parse_specs(args.reward)
    gens = read_labels(args.gens)
    scorers = _scorers(specs, args)
    out = Path(args.out)
    for label, records in gens.items():
        count = write_jsonl(out / f"{label}.jsonl", score_records(records, scorers))
        print(f"{out / label}.jsonl: {count} answers scored", flush=True)
    rewards = {spec.name: {"kind": spec.kind, "target": spec.target, "unit": spec.unit(args.beta)} for spec in specs}
    write_json(out / SETTINGS_FILE, {"rewards": rewards, "beta": args.beta})
    return 0
