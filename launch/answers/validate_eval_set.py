"""`python -m launch validate-eval-set`: were all models asked the same prompts, in the same order?"""

from typing import Any

from datasets_builders.command_line import Parser
from datasets_builders.io import write_json
from launch.answers.records import read_generations
from launch.cli.verbs import verb_parser

SHOWN = 5


def compare_eval_sets(directories: list[str]) -> dict[str, Any]:
    """Compares the (prompt_id, sample) sequence of every directory with the first one's.

    Returns:
        `{"match", "reference", "counts": {directory: records}, "mismatches": [up to 5 of
        {"directory", "position", "expected", "found"}]}`, each key `[prompt_id, sample]`, or None past the end.

    Raises:
        ValueError: fewer than two directories, or one that cannot be read.
    """
    if len(directories) < 2:
        raise ValueError("validate-eval-set compares two or more generation directories")
    keys = {place: [[r["prompt_id"], r["sample"]] for r in read_generations(place)] for place in directories}
    reference = keys[directories[0]]
    match = all(found == reference for found in keys.values())
    mismatches = []
    for place, found in keys.items():
        for position in range(max(len(reference), len(found))):
            here = found[position] if position < len(found) else None
            expected = reference[position] if position < len(reference) else None
            if here != expected and len(mismatches) < SHOWN:
                mismatches.append({"directory": place, "position": position, "expected": expected, "found": here})
    return {
        "match": match,
        "reference": directories[0],
        "counts": {place: len(found) for place, found in keys.items()},
        "mismatches": mismatches,
    }


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("validate-eval-set", __doc__)
    parser.add_argument("gens", nargs="+", metavar="DIR", help="generation directories, the first is the reference")
    parser.add_argument("--report", metavar="FILE.json", help="also write the outcome here")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when all directories agree, 1 when they differ."""
    args = make_parser().parse_args(argv)
    outcome = compare_eval_sets(args.gens)
    if args.report:
        write_json(args.report, outcome)
    for place, count in outcome["counts"].items():
        print(f"{count:6d} records  {place}")
    for item in outcome["mismatches"]:
        print(f"{item['directory']}: record {item['position']} is {item['found']}, expected {item['expected']}")
    print("same prompts, same order" if outcome["match"] else f"prompts differ from {outcome['reference']}")
    return 0 if outcome["match"] else 1
