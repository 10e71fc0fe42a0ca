"""`python -m launch variance`: how much sampled scores scatter, prompt by prompt, on one device or in shards."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.choices import one_of
from datasets_builders.command_line import Parser
from datasets_builders.io import write_bytes, write_json, write_jsonl, write_text
from datasets_builders.scoring.parsers import PARSERS, ScoreParser, get_parser
from datasets_builders.scoring.prompt import PointwisePrompt
from datasets_builders.scoring.prompts import PROMPTS
from datasets_builders.scoring.tags import EXAMPLES
from launch.answers.checkpoint_options import (
    add_checkpoint_options,
    backend_maker,
    checkpoint_of,
    decoding_of,
    draw_answers,
    drawn,
    label_of,
)
from launch.bt import options
from launch.bt.judge import SAMPLES, JudgedPair, digest_pairs, pair_record, prompts_of, read_scores
from launch.bt.pictures import draw_histograms
from launch.bt.shards import OVERALL, PAIRS, merge_prompt, part_of
from launch.cli.flags import add_shard
from launch.cli.verbs import verb_parser
from launch.common.picture import can_draw
from launch.common.table import aligned, markdown, number

PICTURE, TABLE = "histogram.png", "prompts"
FOLDER = "variance"
PROMPT = {"summarize_from_feedback": "score100_v1", "anthropic_hh": "hh_score100_v1"}


class Task(NamedTuple):
    """One prompt to try, with the reading of its answers."""

    prompt: PointwisePrompt
    parser: ScoreParser
    scoring: dict[str, Any]


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("variance", __doc__)
    add_checkpoint_options(parser)
    options.add_data_options(parser, n_pairs=50)
    options.add_generation_options(parser, n_samples=8, batch_pairs=16)
    parser.add_argument(
        "--prompt", type=one_of(PROMPTS), action="append", help="several times for several rows (default: score100_v1)"
    )
    parser.add_argument(
        "--parser", type=one_of(PARSERS), help="reads the score out of an answer (default: each prompt's own)"
    )
    parser.add_argument(
        "--range_thresholds", type=_numbers, metavar="A,B,C", help="points (default: 20, 30 and 40%% of the scale)"
    )
    options.add_band_options(parser)
    add_shard(parser, "contiguous parts of the pairs")
    parser.add_argument("--merge", nargs="+", metavar="DIR", help="join finished shards instead of drawing scores")
    parser.add_argument("--out", metavar="DIR", help="default: variance/... beside the checkpoint")
    return parser


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers with commas between, such as 20,30,40") from None


def tasks_of(args: argparse.Namespace) -> list[Task]:
    """The prompts to try, each once.

    Raises:
        ValueError: a prompt of another data set, a parser of another scale, or overlapping bands.
    """
    from launch.bt.spread import range_thresholds

    tasks = []
    for name in dict.fromkeys(args.prompt or [PROMPT[args.dataset]]):
        prompt = options.prompt_of(args, name)
        parser = options.parser_of(prompt, args.parser)
        scoring = {
            "parser": parser.name,
            "bands": list(options.bands_of(args, parser)),
            "range_thresholds": list(args.range_thresholds or range_thresholds(parser.scale)),
        }
        tasks.append(Task(prompt, parser, scoring))
    return tasks


def draw(args: argparse.Namespace) -> int:
    """Draws the scores of every prompt, then writes and prints what they show."""
    tasks = tasks_of(args)
    decoding = decoding_of(args, do_sample=True)
    checkpoint = checkpoint_of(args, decoding)
    label = label_of(args, checkpoint)
    print(f"{label}: answers {drawn(decoding)}")
    comparisons, skips = options.comparisons_of(args)
    mine = part_of(comparisons, args.shard_id, args.num_shards)
    out = Path(args.out) if args.out else options.default_out(args, checkpoint, FOLDER) / _part(args)
    overall = []
    make_backend = backend_maker(args, checkpoint, decoding, EXAMPLES["score100"])
    for prompt, parser, scoring in tasks:
        settings = options.sample_settings(args, checkpoint, prompt, decoding)
        part = {
            "shard_id": args.shard_id,
            "num_shards": args.num_shards,
            "pairs": len(comparisons),
            "pairs_sha256": digest_pairs(comparisons),
        }
        folder = out / prompt.name
        asked = prompts_of(mine, prompt)
        records = draw_answers(
            asked, make_backend, folder / SAMPLES, args, decoding, label=label, settings=settings | part
        )
        judgement = read_scores(mine, prompt, parser, records)
        head = {"label": label, "settings": settings, "scoring": scoring, "shard": part, "rows": skips.as_dict()}
        overall.append(finish(folder, head, judgement.answers, judgement.pairs))
        for text in judgement.unparsed:
            print(f"{prompt.name}: no score in {text[:200]!r}")
    write_table(out, overall)
    return 0


def _part(args: argparse.Namespace) -> str:
    return f"shard-{args.shard_id}-of-{args.num_shards}" if args.num_shards > 1 else ""


def finish(folder: Path, head: dict[str, Any], answers: dict[str, int], pairs: list[JudgedPair]) -> dict[str, Any]:
    """Writes pairs.jsonl, histogram.png and overall.json of one prompt; returns what the last one holds."""
    from launch.bt.spread import describe_pair, variance

    scoring = head["scoring"]
    scale = get_parser(scoring["parser"]).scale
    names = {"prompt": head["settings"]["prompt"], "parser": scoring["parser"]}
    write_jsonl(folder / PAIRS, ({**pair_record(one), **names, **describe_pair(one.pair)} for one in pairs))
    found = variance([one.pair for one in pairs], scale, tuple(scoring["bands"]), scoring["range_thresholds"])
    if can_draw():
        title = f"{head['label']}, {names['prompt']}: sampled scores"
        step = 10.0**-scale.decimals
        png = draw_histograms(found["wrong_histogram"], found["correct_histogram"], step, title)
        write_bytes(folder / PICTURE, png)
    overall = {**head, "answers": answers, "variance": found}
    # Last, because it says that the rest is there.
    write_json(folder / OVERALL, overall)
    return overall


def write_table(out: Path, overall: list[dict[str, Any]]) -> None:
    """Writes prompts.md and prompts.json, one row per prompt, and prints the table."""
    rows = [table_row(one) for one in overall]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([row.get(name, "") for name in names] for row in rows)]
    write_text(out / f"{TABLE}.md", markdown(cells))
    write_json(out / f"{TABLE}.json", {one["settings"]["prompt"]: one["variance"] for one in overall})
    print(aligned(cells))
    if not can_draw():
        print("no pictures: matplotlib is not installed (extra eval)")
    print(f"written: {out}")


def table_row(overall: dict[str, Any]) -> dict[str, str]:
    """One row of the table of prompts: what it is called -> text."""
    found = overall["variance"]
    row = {"prompt": overall["settings"]["prompt"], "pairs": str(found["pairs"])}
    names = {
        "valid": "valid_rate",
        "acc": "accuracy",
        "strict": "strict_accuracy",
        "std": "std_within_reply",
        "unique": "unique_scores",
        "ties": "tie_rate",
        "uncertain": "uncertain_any",
    }
    row |= {title: number(found[name], 3) for title, name in names.items()}
    scale = get_parser(overall["scoring"]["parser"]).scale
    # In percent of the scale, so that prompts of different scales share their columns.
    percent = 100 / (scale.high - scale.low)
    return row | {f"range>={percent * cell['at_least']:g}%": number(cell["share_any"], 3) for cell in found["range"]}


def merge(args: argparse.Namespace) -> int:
    """Joins the shards in the folders of --merge, after checking that together they are one whole run.

    Raises:
        ValueError: a folder without a finished shard, a shard twice or missing, different settings, or a pair twice.
    """
    if not args.out:
        raise ValueError("--merge needs --out")
    folders = [Path(folder) for folder in args.merge]
    prompts = sorted({file.parent.name for folder in folders for file in folder.glob(f"*/{OVERALL}")})
    if not prompts:
        raise ValueError(f"--merge {' '.join(args.merge)}: no finished shard ({OVERALL}) there")
    joined = [merge_prompt(prompt, folders) for prompt in prompts]
    out = Path(args.out)
    write_table(
        out, [finish(out / head["settings"]["prompt"], head, answers, pairs) for head, answers, pairs in joined]
    )
    return 0


def main(argv: list[str]) -> int:
    """Exit status 0 when everything is written."""
    args = make_parser().parse_args(argv)
    return merge(args) if args.merge else draw(args)
