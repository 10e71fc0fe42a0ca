"""`python -m launch armorm`: every head of a reward model for generated answers, with a summary of the HelpSteer heads."""

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_object, write_json, write_jsonl
from datasets_builders.old_variables import ARMORM, refuse_old_variables
from datasets_builders.progress import progress
from launch.answers.records import read_labels
from launch.answers.validate_eval_set import compare_eval_sets
from launch.cli.flags import add_batch_size, add_limit, add_torch_dtype
from launch.cli.verbs import verb_parser
from launch.common.resume import PartialFile, check_settings
from launch.common.table import aligned, write_csv
from launch.scores.head_summary import COLUMNS, KIND, shown_heads, summarise_heads, table_rows
from launch.scores.heads import choose_heads
from launch.scores.score import score_records
from launch.scores.score_files import SETTINGS_FILE, read_scores
from trl_ext.modpo.digest import model_digest
from trl_ext.modpo.model_dir import resolve_model

WORK = ".work"
SUMMARY = "summary.json"
Records = list[dict[str, Any]]


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("armorm", __doc__)
    parser.add_argument("--model", required=True, metavar="PATH", help="reward model with several heads")
    parser.add_argument("--gens", nargs="+", required=True, metavar="DIR", help="generation directories, one per label")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of one score file a label, and the summary")
    parser.add_argument("--heads", nargs="+", default=[], metavar="NAME", help="default: all that the model names")
    add_batch_size(parser, 8, "answers scored at once")
    parser.add_argument("--max_length", type=positive_integer, help="tokens (default: the model's limit)")
    add_limit(parser, "the first so many answers of each label", dest="max_samples")
    add_torch_dtype(parser)
    parser.add_argument("--trust_remote_code", action="store_true", help="run Python code that the model brings")
    parser.add_argument("--resamples", type=positive_integer, default=1000, help="resamples of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    return parser


def check_same_prompts(directories: Sequence[str]) -> None:
    """Refuses directories that do not answer the same prompts.

    Raises:
        ValueError: the first answer that differs.
    """
    if len(directories) > 1 and not (outcome := compare_eval_sets(list(directories)))["match"]:
        first = outcome["mismatches"][0]
        raise ValueError(
            f"{first['directory']}: record {first['position']} is {first['found']}, {outcome['reference']} has "
            f"{first['expected']}; see python -m launch validate-eval-set"
        )


def score_label(
    records: Records, model: Any, heads: Mapping[str, int], partial: PartialFile, batch_size: int, what: str
) -> list[dict[str, Any]]:
    """The score rows of one label, see `score_records`, with `reward_truncated`; finished batches are taken from disk.

    Batches are a function of all records, finished ones included, so that a restart meets the same padding and gives
    the same bytes.

    Args:
        what: names the work in the progress bar.
    """
    encoded = [model.encode_record(record) for record in records]
    order = sorted(range(len(records)), key=lambda place: (len(encoded[place][0]["input_ids"]), place))
    keys = [(record["prompt_id"], record["sample"]) for record in records]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    batches = [batch for batch in batches if any(keys[place] not in partial.records for place in batch)]
    ahead = sum(map(len, batches))
    with progress(len(order), what, "answers", len(order) - ahead) as bar:
        for batch in batches:
            rewards = model.rewards([encoded[place][0] for place in batch]).tolist()
            partial.append(
                {"prompt_id": keys[place][0], "sample": keys[place][1], "rewards": row}
                for place, row in zip(batch, rewards, strict=True)
            )
            bar.update(len(batch))
    columns = {name: [partial.records[key]["rewards"][place] for key in keys] for name, place in heads.items()}
    rows = score_records(records, {name: lambda _, column=column: column for name, column in columns.items()})
    return [row | {"reward_truncated": cut} for row, (_, cut) in zip(rows, encoded, strict=True)]


def settings_of(args: argparse.Namespace, records: Records) -> dict[str, Any]:
    """All that decides the scores of one label."""
    text = json.dumps(records, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    named = ("heads", "batch_size", "max_length", "torch_dtype")
    return {
        "model_fingerprint": model_digest(resolve_model(args.model, args.trust_remote_code)),
        **{name: getattr(args, name) for name in named},
        "records": len(records),
        "records_sha256": hashlib.sha256(text).hexdigest()[:16],
    }


def score_all(args: argparse.Namespace, gens: Mapping[str, Records], load: Callable[[], Any]) -> None:
    """Writes the score file of every label that has none yet, and `score.json`; loads no model when all are there.

    Raises:
        ValueError: the folder was made with other settings, or an error of the model.
    """
    out = Path(args.out)
    settings = {out / WORK / f"{label}.settings.json": settings_of(args, records) for label, records in gens.items()}
    for file, wanted in settings.items():
        if file.exists():
            check_settings(file, wanted)
    todo = [label for label in gens if not (out / f"{label}.jsonl").exists()]
    if not todo and (out / SETTINGS_FILE).exists():
        return
    model = load()
    heads = choose_heads(args.heads, model.table)
    for file, wanted in settings.items():  # only now: a folder must not remember a head that does not exist
        check_settings(file, wanted)
    rewards = {name: {"kind": "head", "target": f"{args.model}#{name}", "unit": "head output"} for name in heads}
    write_json(out / SETTINGS_FILE, {"rewards": rewards, "head_names_from": model.table.source})
    for label in todo:
        with PartialFile(out / WORK / f"{label}.partial.jsonl") as partial:
            rows = score_label(gens[label], model, heads, partial, args.batch_size, label)
            write_jsonl(out / f"{label}.jsonl", rows)
            partial.remove()
        print(f"{out / label}.jsonl: {len(rows)} answers scored", flush=True)


def main(argv: list[str]) -> int:
    """Exit status 0 when every label is scored and summarised."""
    args = make_parser().parse_args(argv)
    refuse_old_variables(ARMORM)
    gens = {label: records[: args.max_samples] for label, records in read_labels(args.gens).items()}
    check_same_prompts(args.gens)

    def load():
        from launch.scores.multi_head import MultiHeadReward

        return MultiHeadReward(
            args.model,
            device=None,
            max_length=args.max_length,
            torch_dtype=args.torch_dtype,
            trust_remote_code=args.trust_remote_code,
        )

    score_all(args, gens, load)
    out = Path(args.out)
    stored = read_object(out / SETTINGS_FILE)
    table = read_scores(out, list(gens))
    summary = summarise_heads(table, list(stored["rewards"]), args.seed, args.resamples)
    cut = {label: sum(row["reward_truncated"] for row in rows.values()) for label, rows in table.items()}
    document = {"kind": KIND, "model": args.model, "head_names_from": stored["head_names_from"], "truncated": cut}
    bootstrap = {"resamples": args.resamples, "seed": args.seed, "alpha": 0.05}
    write_json(out / SUMMARY, document | {"bootstrap": bootstrap, "rows": summary})
    write_csv(out / "summary.csv", COLUMNS, summary)
    print(f"head names: {stored['head_names_from']}")
    print(aligned(table_rows(summary, shown_heads(list(stored["rewards"])))))
    for label, count in cut.items():
        if count:
            print(f"{label}: {count} of {len(table[label])} conversations lost their beginning: --max_length")
    print(f"written: {out / SUMMARY}")
    return 0
