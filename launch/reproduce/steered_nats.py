"""How far a `pareto`'s policies are from its untouched model, over the answers that lie there: `python -m launch.reproduce.steered_nats`.

For every point the mean of log pi(answer | prompt as `pareto` asked it) - log pi_untouched(answer | prompt alone) over the
policy's own answers: an estimate of the divergence in nats an answer. `steered_divergence` has it exactly, for a small model
that never ends by itself; this one reads answers of any length and needs no logits of the whole vocabulary at once.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json
from datasets_builders.mistakes import exit_code, run_program
from launch.answers.policy import Policy
from launch.answers.records import read_generations
from launch.moodpo.pareto import place_of
from launch.moodpo.points import Point, asked_weights, read_points
from launch.moodpo.steered import asking

PROGRAM = "python -m launch.reproduce.steered_nats"


def nats(
    policy: Policy, point: Point, names: Sequence[str], records: Sequence[dict[str, Any]], batch_size: int
) -> float:
    """Mean over the answers of a point.

    Args:
        policy: its model, whose adapter, where it has one, is the only one.
        names: of the objectives, in the order of the run.
        records: the point's answers.
    """
    rows = [[*record["messages"], {"role": "assistant", "content": record["response"]}] for record in records]
    asked = asking(policy, point.names, asked_weights(point, names)).form if point.names else policy.form
    adapter = next(iter(policy.adapters), None)
    measured = partial(policy.sequence_logps, batch_size=batch_size, what=point.label)
    drawn = measured([asked.encode_pair_row(row) for row in rows], adapter).double()
    return float((drawn - measured([policy.encode_pair_row(row) for row in rows], None).double()).mean())


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROGRAM, description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--model", required=True, help="the untouched model")
    parser.add_argument("--pareto", type=Path, required=True, metavar="DIR", help="--out of `pareto`")
    parser.add_argument("--torch_dtype", metavar="DTYPE", help="numbers of the weights (default: the model's own)")
    parser.add_argument("--batch_size", type=positive_integer, default=8, help="answers read at once")
    parser.add_argument("--out", type=Path, required=True, help="JSON: label of the point -> nats")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the file is written.

    Raises:
        ValueError: a policy that is no adapter of the untouched model.
    """
    args = make_parser().parse_args(argv)
    names, _, points = read_points(args.pareto)
    found: dict[str, float] = {}
    for model, adapter in dict.fromkeys(place_of(point, args.model) for point in points):
        if model != args.model:
            raise ValueError(f"--pareto {args.pareto}: {model} is no adapter of {args.model}, which is held beside it")
        policy = Policy(model, adapters=adapter, kind="assistant", torch_dtype=args.torch_dtype)
        for point in points:
            if place_of(point, args.model) == (model, adapter):
                records = read_generations(args.pareto / "generations" / point.label)
                found[point.label] = nats(policy, point, names, records, args.batch_size)
                print(f"{point.label:24s} {found[point.label]:.2f} nats", flush=True)
        del policy  # before the next one is loaded
    write_json(args.out, found)
    print(f"{fmean(found.values()):.2f} nats on average")
    return 0


if __name__ == "__main__":
    run_program(lambda argv: exit_code(PROGRAM, lambda: main(argv)))
