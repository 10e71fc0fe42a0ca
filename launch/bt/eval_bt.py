"""`python -m launch eval-bt`: how often a generative reward model scores the preferred reply higher, and how surely."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.choices import one_of
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json, write_jsonl
from datasets_builders.scoring.parsers import PARSERS, ScoreParser
from datasets_builders.scoring.prompt import PointwisePrompt
from datasets_builders.scoring.prompts import PROMPTS
from datasets_builders.scoring.tags import EXAMPLES
from launch.answers.backends import Decoding
from launch.answers.checkpoint_options import (
    add_checkpoint_options,
    backend_maker,
    checkpoint_of,
    decoding_of,
    draw_answers,
    drawn,
    label_of,
)
from launch.answers.checkpoints import Checkpoint
from launch.bt import options
from launch.bt.judge import SAMPLES, Judgement, digest_pairs, pair_record, prompts_of, read_scores
from launch.bt.written import WrittenPairs, read_written
from launch.cli.verbs import verb_parser
from launch.common.table import aligned, estimate_cells, number

RESULT = "result.json"
PAIRS = "pairs.jsonl"
FOLDER = "eval_bt"
OF_A_SET = ("source", "split", "prompt", "shuffle_sides")
PROMPT = {"summarize_from_feedback": "score5_v1", "anthropic_hh": "hh_score5_v1"}

ROWS = {
    "accuracy": "accuracy, ties 0.5",
    "strict_accuracy": "accuracy, strict",
    "non_tie_accuracy": "accuracy, without ties",
    "accuracy_of_all": "accuracy, unparsable wrong",
    "strict_accuracy_of_all": "accuracy, strict, unparsable wrong",
    "tie_rate": "ties",
    "pair_parse_rate": "pairs with both scores",
    "sample_parse_rate": "answers with a score",
    "bt_loss": "Bradley-Terry loss",
    "bt_loss_non_ties": "Bradley-Terry loss, without ties",
}


class Plan(NamedTuple):
    """What a command line asks for, checked, before a model is loaded or a row of a data set is read.

    `written` is what --data holds, None without it.
    """

    checkpoint: Checkpoint | None
    prompt: PointwisePrompt
    parser: ScoreParser
    decoding: Decoding
    settings: dict[str, Any]
    scoring: dict[str, Any]
    folder: Path
    written: WrittenPairs | None


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("eval-bt", __doc__)
    add_checkpoint_options(parser)
    options.add_data_options(parser, n_pairs=500)
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="rows of `datasets_builders pointwise`, prompts as they are; instead of a --dataset",
    )
    options.add_generation_options(parser, n_samples=1, batch_pairs=8)
    parser.add_argument("--do_sample", action="store_true", help="sample; greedy otherwise")
    parser.add_argument("--prompt", type=one_of(PROMPTS), help="default: score5_v1 or hh_score5_v1")
    parser.add_argument(
        "--parser", type=one_of(PARSERS), help="reads the score out of an answer (default: the prompt's own)"
    )
    parser.add_argument("--bt_temp", type=float, default=1.0, help="points of the scale for one unit of log-odds")
    parser.add_argument("--require_all_samples", action="store_true", help="one unparsable answer voids its pair")
    parser.add_argument("--report_margins", action="store_true", help="print margins and losses with their tails too")
    parser.add_argument("--report_uncertainty", action="store_true", help="print where wrong pairs were uncertain too")
    options.add_band_options(parser)
    parser.add_argument("--out", metavar="DIR", help="default: eval_bt/... beside the checkpoint")
    return parser


def plan_of(args: argparse.Namespace) -> Plan:
    """The plan of a command line.

    Raises:
        ValueError: flags that contradict each other, or a checkpoint that is not there.
    """
    from launch.bt.metrics import check_temperature

    check_temperature(args.bt_temp)
    written = None
    if args.data:
        if given := [f"--{name}" for name in OF_A_SET if getattr(args, name) is not None]:
            raise ValueError(f"{', '.join(given)}: the rows of --data say it already, leave one of the two out")
        written = read_written(args.data)
        prompt = written.prompt(args.parser, args.data)
    else:
        prompt = options.prompt_of(args, args.prompt or PROMPT[args.dataset])
    parser = options.parser_of(prompt, args.parser)
    decoding = decoding_of(args, args.do_sample)
    checkpoint = checkpoint_of(args, decoding)
    scoring = {
        "parser": parser.name,
        "bt_temp": args.bt_temp,
        "require_all_samples": args.require_all_samples,
        "bands": list(options.bands_of(args, parser)),
    }
    folder = Path(args.out) if args.out else options.default_out(args, checkpoint, FOLDER)
    settings = options.sample_settings(args, checkpoint, prompt, decoding)
    return Plan(checkpoint, prompt, parser, decoding, settings, scoring, folder, written)


def measure(judgement: Judgement, plan: Plan) -> dict[str, Any]:
    """Every quantity of the result that is a function of the scores."""
    from launch.bt.calibration import calibrate
    from launch.bt.metrics import evaluate_pairs, margins_of, swap_probe
    from launch.bt.spread import uncertainty

    pairs = [judged.pair for judged in judgement.pairs]
    bt_temp, all_samples = plan.scoring["bt_temp"], plan.scoring["require_all_samples"]
    seed = plan.decoding.seed
    return {
        "metrics": evaluate_pairs(pairs, bt_temp=bt_temp, require_all_samples=all_samples, seed=seed),
        "calibration": calibrate(margins_of(pairs, all_samples), bt_temp, seed),
        "uncertainty": uncertainty(pairs, plan.parser.scale, plan.scoring["bands"], all_samples),
        "swap_probe": swap_probe(pairs, all_samples),
    }


def describe(result: dict[str, Any], *, margins: bool, uncertain: bool) -> str:
    """The result as text: a table with intervals; margins with their tails and uncertainty where asked for."""
    from launch.bt.metrics import PERCENTILES

    metrics, fit = result["metrics"], result["calibration"]["fit"]
    lines = [
        f"{result['label']}: {metrics['evaluated']} of {metrics['pairs']} pairs evaluated, "
        f"{metrics['unparsable']} without a score; answers {result['decoding']}",
        aligned([(text, *estimate_cells(metrics[name])) for name, text in ROWS.items()]),
        _calibration_line(result["calibration"], fit),
    ]
    if shortened := result["answers"]["prompt_shortened"]:
        lines.append(
            f"{shortened} prompts were longer than the model's limit and lost their beginning: see --max_length"
        )
    if margins:
        head = ("", "n", "mean", "std", "min", *(f"p{rank}" for rank in PERCENTILES), "max")
        rows = [
            (f"{kind}, {part.replace('_', ' ')}", str(cell["n"]), *(number(cell[name], 3) for name in head[2:]))
            for kind in ("margins", "losses")
            for part, cell in metrics[kind].items()
            if cell
        ]
        lines.append(aligned([head, *rows]))
    if uncertain:
        found = result["uncertainty"]
        low, high = found["bands"]
        lines.append(
            f"wrong pairs: {found['wrong_pairs']}; a reply scored both <= {low:g} and >= {high:g}: "
            f"any {number(found['uncertain_any'])}, both {number(found['uncertain_both'])}"
        )
        for name in ("wrong", "correct"):
            counts = found[name]["bands"]
            lines.append(
                f"scores in {name} pairs: low {counts['low']}, middle {counts['middle']}, high {counts['high']}"
            )
    return "\n".join(lines)


def _calibration_line(calibration: dict[str, Any], fit: dict[str, Any]) -> str:
    at = f"calibration error at temperature {calibration['at_bt_temp']['temperature']:g}: "
    at += number(calibration["at_bt_temp"]["ece"])
    if fit["temperature"] is None:
        return f"{at}; no temperature fitted: {fit['note']}"
    held = calibration["held_out_at_fitted"]
    return f"{at}; at the fitted {fit['temperature']:.3g}, on {fit['held_out']} held-out pairs: {number(held['ece'])}"


def main(argv: list[str]) -> int:
    """Exit status 0 when result.json is written."""
    args = make_parser().parse_args(argv)
    plan = plan_of(args)
    comparisons, skips = options.comparisons_of(args, plan.written)
    label = label_of(args, plan.checkpoint)
    records = draw_answers(
        prompts_of(comparisons, plan.prompt),
        backend_maker(args, plan.checkpoint, plan.decoding, EXAMPLES["score100"]),
        plan.folder / SAMPLES,
        args,
        plan.decoding,
        label=label,
        settings={**plan.settings, "pairs_sha256": digest_pairs(comparisons)},
    )
    judgement = read_scores(comparisons, plan.prompt, plan.parser, records)
    write_jsonl(
        plan.folder / PAIRS,
        (
            {**pair_record(one), "margin": one.pair.margin(plan.scoring["require_all_samples"])}
            for one in judgement.pairs
        ),
    )
    result = {
        "label": label,
        "settings": plan.settings,
        "scoring": plan.scoring,
        "rows": skips.as_dict(),
        "decoding": drawn(plan.decoding),
        "answers": {**judgement.answers, "without_score": judgement.unparsed},
        **measure(judgement, plan),
    }
    write_json(plan.folder / RESULT, result)
    print(describe(result, margins=args.report_margins, uncertain=args.report_uncertainty))
    print(f"written: {plan.folder / RESULT}")
    return 0
