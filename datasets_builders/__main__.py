"""``python -m datasets_builders BUILDER ...``: build a data set file and print its report.

Exit codes: 0 success, 1 the system failed (disk, network), 2 the input or an option is wrong.
"""

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from datasets_builders.choices import nearest
from datasets_builders.command_line import Parser
from datasets_builders.mistakes import exit_code, run_program


class Builder(NamedTuple):
    """A module with add_arguments(parser) and run(options) -> report, what it is for, and flags to begin with."""

    module: str
    purpose: str
    example: str


# Only the chosen one is imported.
BUILDERS = {
    "helpsteer": Builder(
        "datasets_builders.helpsteer",
        "pairs from the attribute ratings of nvidia/HelpSteer",
        "--attribute helpfulness --split train --format swift --out data/helpfulness.jsonl",
    ),
    "helpsteer2-pairwise": Builder(
        "datasets_builders.helpsteer2_pairwise",
        "prompts for a judge of two replies, in both orders: nvidia/HelpSteer2",
        "--output_dir data/judge --max_prompt_chars 12000",
    ),
    "pairs": Builder(
        "datasets_builders.question_pairs",
        "pairs from rows of question, response_j, response_k[, magnitude]",
        "--source preferences.jsonl --split train --format trl --out data/pairs.jsonl",
    ),
    "pointwise": Builder(
        "datasets_builders.pointwise",
        "prompts for a judge of one reply: HH, TL;DR comparisons",
        "--dataset anthropic_hh --prompt hh_score100_v3 --split train --out data/train.jsonl",
    ),
    "preference": Builder(
        "datasets_builders.preference",
        "pairs of Anthropic HH, UltraFeedback, PKU-SafeRLHF, TL;DR",
        "--dataset anthropic_hh --split train --format swift --out data/hh.jsonl",
    ),
    "teacher": Builder(
        "datasets_builders.teacher.command",
        "scores and reasons for pairs from a teacher behind an API",
        "--backend anthropic --api_model MODEL --limit 1000 --out data/teacher --dry_run",
    ),
    "teacher-sft": Builder(
        "datasets_builders.teacher_sft",
        "supervised rows for a judge from what a teacher wrote",
        "--input data/teacher --prompt hh_score100_v1 --filter_correct --out data/sft.jsonl",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the builder that the first argument names; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    program = "python -m datasets_builders"
    if not given or given[0] in ("-h", "--help"):
        print(f"usage: {program} BUILDER [options]\n")
        print("\n".join(f"  {name:20} {builder.purpose}" for name, builder in BUILDERS.items()))
        return 0 if given else 2
    name = given[0]
    if name not in BUILDERS:
        print(f"{program}: error: unknown builder {name!r}; {nearest(name, BUILDERS)}", file=sys.stderr)
        return 2
    return exit_code(f"{program} {name}", lambda: _build(name, given[1:]))


def make_parser(name: str) -> Parser:
    """The command line of a builder."""
    builder, program = BUILDERS[name], f"python -m datasets_builders {name}"
    parser = Parser(prog=program, description=builder.purpose, example=f"{program} {builder.example}")
    import_module(builder.module).add_arguments(parser)
    return parser


def _build(name: str, arguments: Sequence[str]) -> int:
    options = make_parser(name).parse_args(arguments)
    print(json.dumps(import_module(BUILDERS[name].module).run(options), ensure_ascii=False, indent=2))
    return 0


if __name__ == "__main__":
    run_program(main)
