"""`python -m launch compare-runs`: two runs or seeds, scored on the same prompts: what is better now, and surely so?"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import nearest, positive_integer, share
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json, write_text
from launch.cli.verbs import verb_parser
from launch.common.page import number, signed
from launch.common.table import aligned, markdown, write_csv
from launch.compare.comparison import Pairing, compare, metrics_of, pair_answers
from launch.scores.head_summary import shown_heads
from launch.scores.score_files import Rows, read_scores, uncapped_prompts

KIND = "run_comparison"
COLUMNS = ("label", "metric", "prompts", "old", "new", "difference", "low", "high", "excludes_zero")
HEAD = ("label", "metric", "prompts", "old", "new", "new minus old", "95% interval", "")


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("compare-runs", __doc__)
    parser.add_argument("--old", required=True, metavar="DIR", help="scores of the first run, of `score` or `armorm`")
    parser.add_argument("--new", required=True, metavar="DIR", help="scores of the second run")
    parser.add_argument(
        "--labels", nargs="+", default=[], metavar="LABEL", help="or OLD:NEW (default: all that both runs have)"
    )
    parser.add_argument("--reference", metavar="LABEL", help="also compare every label with this one, within each run")
    parser.add_argument("--metrics", nargs="+", default=[], metavar="NAME", help="default: all scores, and lengths")
    parser.add_argument("--uncapped", action="store_true", help="only prompts that no label of either run cut off")
    parser.add_argument(
        "--max_unpaired_share", type=share, default=0.05, help="answers that one run alone has (default %(default)s)"
    )
    parser.add_argument("--resamples", type=positive_integer, default=5000, help="resamples of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the tables and the summary")
    return parser


def label_files(directory: str) -> list[str]:
    """Labels that have a score file in a folder.

    Raises:
        ValueError: none has.
    """
    labels = sorted(file.name.removesuffix(".jsonl") for file in Path(directory).glob("*.jsonl"))
    if not labels:
        raise ValueError(f"{directory}: no score files")
    return labels


def choose_labels(args: argparse.Namespace) -> tuple[list[tuple[str, str]], list[str]]:
    """[(old label, new label)], and the labels that one run alone has.

    Raises:
        ValueError: a label without scores, one twice, or none that both runs have.
    """
    old, new = label_files(args.old), label_files(args.new)
    pairs = [(label, label) for label in old if label in new]
    if args.labels:
        split = [text.partition(":") for text in args.labels]
        pairs = [(first, second or first) for first, _, second in split]
    for first, second in pairs:
        for label, there, folder in ((first, old, args.old), (second, new, args.new)):
            if label not in there:
                raise ValueError(f"--labels {label}: no scores in {folder}; {nearest(label, there)}")
    if not pairs or len(set(pairs)) < len(pairs):
        raise ValueError(f"--labels: one twice, or none in both of {args.old} ({old}) and {args.new} ({new})")
    if args.reference and args.reference not in [first for first, _ in pairs]:
        raise ValueError(f"--reference {args.reference}: {nearest(args.reference, [first for first, _ in pairs])}")
    return pairs, sorted(set(old) ^ set(new))


def choose_metrics(wanted: Sequence[str], tables: Sequence[Rows]) -> tuple[list[str], list[str]]:
    """(metrics to compare, scores that one run alone has). Raises ValueError for one that is not in every table."""
    shared, others = metrics_of(*tables)
    for name in wanted:
        if name not in shared:
            raise ValueError(f"--metrics {name}: not in both runs; {nearest(name, shared)}")
    return list(wanted) or shared, others


def check_pairing(pairing: Pairing, label: str, max_share: float) -> None:
    """Refuses runs that did not answer the same prompts.

    Raises:
        ValueError: too many answers of one run alone, the first one named; or none in common.
    """
    alone = [*pairing.only_old, *pairing.only_new]
    if not pairing.both or pairing.unpaired_share > max_share:
        raise ValueError(
            f"label {label!r}: {len(pairing.only_old)} answers of the old run and {len(pairing.only_new)} of the new one "
            f"have no partner ({pairing.unpaired_share:.1%}, --max_unpaired_share {max_share:.1%})"
            + (f"; the first: {alone[0]}" if alone else "; no prompt is left")
        )


def text_rows(rows: Sequence[Mapping[str, Any]], first: str = "old", second: str = "new") -> list[tuple[str, ...]]:
    """The table as text, under a head."""
    head = [text.replace("old", first).replace("new", second) for text in HEAD]
    body = [
        (row["label"], row["metric"], str(row["prompts"]), number(row["old"]), number(row["new"]),
         signed(row["difference"]), f"[{signed(row['low'])}, {signed(row['high'])}]",
         "differs" if row["excludes_zero"] else "")
        for row in rows
    ]  # fmt: skip
    return [tuple(head), *body]


def within_runs(
    tables: Mapping[str, Mapping[str, Rows]], reference: Mapping[str, str], metrics: Sequence[str],
    prompts: set[str] | None, args: argparse.Namespace,
) -> list[dict[str, Any]]:  # fmt: skip
    """Every label minus the reference of the same run; `old` is the reference, `new` the label."""
    rows = []
    for run, table in tables.items():
        for label in table:
            if label != reference[run]:
                pairing = pair_answers(table[reference[run]], table[label], prompts)
                rows += [
                    {"run": run, "label": label, **row} for row in compare(pairing, metrics, args.seed, args.resamples)
                ]
    return rows


def main(argv: list[str]) -> int:
    """Exit status 0 when the comparison is written."""
    args = make_parser().parse_args(argv)
    pairs, left_out = choose_labels(args)
    names = {"old": [first for first, _ in pairs], "new": [second for _, second in pairs]}
    tables = {run: read_scores(getattr(args, run), list(dict.fromkeys(labels))) for run, labels in names.items()}
    metrics, others = choose_metrics(args.metrics, [*tables["old"].values(), *tables["new"].values()])
    prompts = uncapped_prompts(tables["old"]) & uncapped_prompts(tables["new"]) if args.uncapped else None
    rows, unpaired = [], {}
    for first, second in pairs:
        label = first if first == second else f"{first}:{second}"
        pairing = pair_answers(tables["old"][first], tables["new"][second], prompts)
        check_pairing(pairing, label, args.max_unpaired_share)
        unpaired[label] = {"old": len(pairing.only_old), "new": len(pairing.only_new)}
        rows += [{"label": label, **row} for row in compare(pairing, metrics, args.seed, args.resamples)]
    inside = []
    if args.reference:
        of_run = {"old": args.reference, "new": dict(pairs)[args.reference]}
        inside = within_runs(tables, of_run, metrics, prompts, args)
    out, bootstrap = Path(args.out), {"resamples": args.resamples, "seed": args.seed, "alpha": 0.05}
    document = {"kind": KIND, "old": args.old, "new": args.new, "uncapped_only": args.uncapped, "unpaired": unpaired}
    document |= {"labels_of_one_run": left_out, "scores_of_one_run": others, "bootstrap": bootstrap}
    document |= {"rows": rows, "reference": args.reference, "against_reference": inside}
    write_json(out / "comparison.json", document)
    write_csv(out / "new_minus_old.csv", COLUMNS, rows)
    text = f"# {args.new} minus {args.old}\n\n{markdown(text_rows(rows))}"
    if inside:
        write_csv(out / "against_reference.csv", ("run", *COLUMNS), inside)
        for run in tables:
            part = text_rows([row for row in inside if row["run"] == run], args.reference, "label")
            text += f"\n## {run} run, minus {args.reference}\n\n{markdown(part)}"
    write_text(out / "comparison.md", text)
    shown = {*shown_heads([name for name in metrics if name not in ("words", "response_tokens")]), *metrics[-2:]}
    print(aligned(text_rows([row for row in rows if row["metric"] in shown])))
    if left_out or others:
        print(f"in one run only, left out: {', '.join([*left_out, *others])}")
    print(f"written: {out / 'comparison.json'}")
    return 0
