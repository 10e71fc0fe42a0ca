"""`python -m launch.reproduce.published_verdicts --out DIR`: verdicts that others have published, as files that our verbs read.

Beside this module, `published/NAME.json` holds the letters that judges said and the figures that were published about them,
with the places of both. No text of a question or a reply is among them: where a verb needs one, a number stands for it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets_builders.command_line import Parser
from datasets_builders.io import SkipCounter, read_object, write_jsonl
from launch.judge.benchmarks import judgebench
from launch.judge.verdicts import JudgedRow
from trl_ext.objectives.verdicts import swap_label

HERE = Path(__file__).with_name("published")
NAMES = ("judgebench", "llmbar", "alpaca_eval")
SOURCE, VERDICTS = "source.jsonl", "verdicts.jsonl"
SAID = {"A": "A", "B": "B", "=": "tie", "-": None}
KINDS = {kind[0]: beginning for beginning, kind in judgebench.KINDS.items()}


def read_published(name: str) -> dict[str, Any]:
    """The file of a benchmark: `judges`, each with `published` figures and the letters of its verdicts."""
    return read_object(HERE / f"{name}.json")


def judgebench_source(published: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows in JudgeBench's format, one a pair: its kind and its label are the published ones, its texts are numbers."""
    return [
        {
            "question": f"question {index}",
            "response_A": f"first reply to {index}",
            "response_B": f"second reply to {index}",
            "label": {"A": "A>B", "B": "B>A"}[label],
            "source": KINDS[kind],
        }
        for index, (kind, label) in enumerate(zip(published["kinds"], published["truth"], strict=True))
    ]


def in_both_orders(
    identifier: str, subset: str, truth: str | None, original: str, swapped: str
) -> tuple[JudgedRow, JudgedRow]:
    """The two rows of a pair; each letter in the order in which the judge saw the replies."""
    first = JudgedRow(identifier, 0, truth, None, subset, (SAID[original],))
    return first, JudgedRow(identifier, 1, swap_label(truth), None, subset, (SAID[swapped],))


def judgebench_rows(source: str, judge: dict[str, Any]) -> Iterator[JudgedRow]:
    """Verdicts on the pairs of a file of `judgebench_source`."""
    pairs = judgebench.BENCHMARK.load(source=source, skips=SkipCounter())
    for pair, *letters in zip(pairs, judge["original"], judge["swapped"], strict=True):
        yield from in_both_orders(pair.pair_id, pair.subset, pair.label, *letters)


def llmbar_rows(published: dict[str, Any], judge: dict[str, Any]) -> Iterator[JudgedRow]:
    """Verdicts on all sets; a set is a subset."""
    for name, truths in published["truth"].items():
        letters = zip(truths, judge["original"][name], judge["swapped"][name], strict=True)
        for index, (truth, *said) in enumerate(letters):
            yield from in_both_orders(f"{name} {index}", name, truth, *said)


def alpaca_eval_rows(judge: dict[str, Any]) -> Iterator[JudgedRow]:
    """Verdicts on pairs whose first reply is the model's.

    AlpacaEval asks once, in an order drawn at random, so the one answer stands in both.
    """
    turned = {"A": "B", "B": "A"}
    for index, said in enumerate(judge["verdicts"]):
        yield from in_both_orders(f"{index}", "", None, said, turned.get(said, said))


def rows_of(name: str, published: dict[str, Any], judge: dict[str, Any], source: str | Path) -> list[JudgedRow]:
    """What one judge said.

    Args:
        name: of the benchmark.
        source: the file of `judgebench_source`, read for JudgeBench only.
    """
    if name == "judgebench":
        return list(judgebench_rows(str(source), judge))
    return list(llmbar_rows(published, judge) if name == "llmbar" else alpaca_eval_rows(judge))


def write_published(out: Path) -> int:
    """Writes `out/BENCHMARK/JUDGE/verdicts.jsonl` and JudgeBench's `source.jsonl`; returns the number of judges."""
    source, count = out / "judgebench" / SOURCE, 0
    write_jsonl(source, judgebench_source(read_published("judgebench")))
    for name in NAMES:
        published = read_published(name)
        for title, judge in published["judges"].items():
            write_jsonl(
                out / name / title / VERDICTS, (row.to_json() for row in rows_of(name, published, judge, source))
            )
            count += 1
    return count


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m launch.reproduce.published_verdicts", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the files")
    args = parser.parse_args(argv)
    print(f"{args.out}: verdicts of {write_published(args.out)} judges")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
