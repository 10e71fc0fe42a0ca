"""`python -m launch score-gold`: gold scores of answers, of their beginnings alone and whole, one line per checkpoint.

A score that grows with the length of an answer is not the same as a better answer, so both are given: the score of the
first words (or tokens), and the length.
"""

import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json, write_jsonl
from launch.answers.checkpoint_answers import Answer, read_answers
from launch.answers.draw import check_failed_share
from launch.answers.options import add_failure_options
from launch.cli.verbs import verb_parser
from launch.common.statistics import bootstrap_mean_interval
from launch.common.table import significant
from launch.scores.gold_arguments import add_gold_arguments, read_arguments

SCORES_FILE, SUMMARY_FILE, PAID_FOLDER = "gold_scores.jsonl", "gold_summary.json", "gold_answers"
# A chain of steps that is cut is another chain, and a likelihood a token is no sum: the reference scores them whole too.
NEVER_CUT = ("math", "contrastivedistill")
COLUMNS = ("gold", "gold_beginning", "words")

Cut = Callable[[str], str]


def first_words(text: str, count: int) -> str:
    """The text up to the end of its word number `count`; words are what white space separates."""
    words = list(re.finditer(r"\S+", text))
    return text[: words[count - 1].end()] if len(words) > count else text


def token_cutter(tokenizer: str, count: int) -> Cut:
    """Cuts a text behind its token number `count` of the tokenizer in that folder (or of that hub name).

    Raises:
        ValueError: no tokenizer there, or one that does not say where in the text its tokens lie.
    """
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"--tokenizer {tokenizer}: {error}") from error
    if not loaded.is_fast:
        raise ValueError(f"--tokenizer {tokenizer}: {type(loaded).__name__} gives no places in the text")

    def cut(text: str) -> str:
        # Places in the text, because decoding tokens does not always give the text back.
        places = loaded(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text[: places[count - 1][1]] if len(places) > count else text

    return cut


def score_answers(answers: Sequence[Answer], gold: Callable[..., list[float]], cut: Cut | None) -> list[dict[str, Any]]:
    """One row an answer: `gold` of the whole, `gold_beginning` of what `cut` leaves, `words`, `cut` (was it cut?).

    Args:
        gold: (prompts, responses, metadata) -> one number per response, higher is better.
        cut: None scores the whole answer for both.

    Raises:
        ValueError: a score that is not finite (the answer is named), another number of scores, or an error of `gold`.
            What a function that costs money could not rate (NaN) has None instead.
    """
    responses = [answer.response for answer in answers]
    beginnings = responses if cut is None else [cut(text) for text in responses]
    whole = _scores(answers, responses, gold)
    # What was not cut keeps its score: gold functions may be paid for, and may differ from call to call.
    shortened = [index for index, text in enumerate(responses) if beginnings[index] != text]
    beginning = list(whole)
    if shortened:
        part = _scores([answers[i] for i in shortened], [beginnings[i] for i in shortened], gold)
        for index, value in zip(shortened, part, strict=True):
            beginning[index] = value
    return [
        {
            "prompt_id": answer.prompt_id,
            "question": answer.question,
            "checkpoint": answer.checkpoint,
            "sample": answer.sample,
            "gold": whole[index],
            "gold_beginning": beginning[index],
            "words": len(answer.response.split()),
            "cut": beginnings[index] != responses[index],
        }
        for index, answer in enumerate(answers)
    ]


def _scores(answers: Sequence[Answer], responses: list[str], gold: Callable[..., list[float]]) -> list[float | None]:
    values = gold([answer.question for answer in answers], responses, [answer.metadata for answer in answers])
    if len(values) != len(answers):
        raise ValueError(f"the gold function gave {len(values)} scores for {len(answers)} answers")
    # Only who is asked can fail to answer; it was paid, so it must not stop the others.
    asked = getattr(gold, "costs_money", False)
    for answer, value in zip(answers, values, strict=True):
        if not math.isfinite(value) and not (asked and math.isnan(value)):
            where = f"checkpoint {answer.checkpoint!r}, sample {answer.sample}, question {answer.question[:60]!r}"
            raise ValueError(f"{where}: the gold score is {value}")
    return [None if math.isnan(value) else float(value) for value in values]


def check_rated(rows: Sequence[dict[str, Any]], max_failed_share: float) -> None:
    """Counts the answers that got no score.

    Raises:
        ValueError: more of them than allowed.
    """
    failed = [row for row in rows if None in (row["gold"], row["gold_beginning"])]
    if failed:
        found = f"{len(failed)} of {len(rows)} answers got no gold score, the first to {failed[0]['question'][:60]!r}"
        check_failed_share(len(failed), len(rows), max_failed_share, found, "they are left out of the means")


def summarize(rows: Sequence[dict[str, Any]], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Checkpoint -> number of `prompts` and `answers`, `cut_share`, and of each of COLUMNS its mean with a 95% interval.

    Samples of one prompt are averaged first and prompts are resampled: answers to one prompt are not independent. An
    answer without a score is left out of the mean of that column, and counted in `failed` where there is one.
    """
    summary = {}
    for checkpoint in dict.fromkeys(row["checkpoint"] for row in rows):
        groups: dict[str, list[dict[str, Any]]] = {}
        mine = [row for row in rows if row["checkpoint"] == checkpoint]
        for row in mine:
            groups.setdefault(row["prompt_id"], []).append(row)
        cells = {}
        for column in COLUMNS:
            known = [[row[column] for row in group if row[column] is not None] for group in groups.values()]
            means = [sum(values) / len(values) for values in known if values]
            if not means:
                raise ValueError(f"checkpoint {checkpoint!r}: not one answer has a score {column!r}")
            cells[column] = bootstrap_mean_interval(means, seed).as_json()
        share = sum(row["cut"] for row in mine) / len(mine)
        if failed := sum(None in (row["gold"], row["gold_beginning"]) for row in mine):
            cells["failed"] = failed
        summary[checkpoint] = {"prompts": len(groups), "answers": len(mine), "cut_share": share, **cells}
    return summary


def format_summary(summary: dict[str, dict[str, Any]]) -> str:
    """A line a checkpoint: means with their intervals."""
    head = f"{'checkpoint':20s} {'prompts':>7s}" + "".join(f"  {column:>26s}" for column in COLUMNS)
    lines = [head]
    for name, cells in summary.items():
        texts = [_text(**cells[column]) for column in COLUMNS]
        lines.append(f"{name:20s} {cells['prompts']:7d}" + "".join(f"  {text:>26s}" for text in texts))
    return "\n".join(lines)


def _text(value: float, low: float | None, high: float | None, n: int) -> str:
    text = significant(value, 4)
    return text if low is None else f"{text} [{significant(low, 4)}, {significant(high, 4)}]"


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("score-gold", __doc__)
    parser.add_argument(
        "--answers", nargs="+", required=True, metavar="PATH", help="files of question and response, or their folders"
    )
    add_gold_arguments(parser)
    parser.add_argument("--beginning", type=positive_integer, default=50, help="words or tokens (default %(default)s)")
    parser.add_argument("--tokenizer", metavar="PATH", help="count its tokens instead of words")
    parser.add_argument("--seed", type=int, default=0, help="seed of the intervals")
    add_failure_options(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help=f"folder for {SCORES_FILE} and {SUMMARY_FILE}"
    )
    parser.rename("--fname", "--answers")  # both: the reference's script
    parser.rename("--gfunct", "--gold")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the scores are written, 1 when the server of a paid gold, or the disk, gave up before."""
    from trl_ext.d2po.gold import get_gold

    args = make_parser().parse_args(argv)
    arguments = read_arguments(args.gold_arguments)
    answers = read_answers(args.answers)
    gold = get_gold(args.gold, **arguments)
    if getattr(gold, "costs_money", False) and not args.pay:
        raise ValueError(f"--gold {args.gold} costs money, for up to {2 * len(answers)} answers here: add --pay")
    cut = None
    if args.gold not in NEVER_CUT:
        cut = token_cutter(args.tokenizer, args.beginning) if args.tokenizer else _word_cutter(args.beginning)
    try:
        if args.pay:
            gold.keep_answers(args.out / PAID_FOLDER, args.retry_failed)
        rows = score_answers(answers, gold, cut)
    except OSError as problem:
        if not getattr(gold, "costs_money", False):  # nobody was asked: it is a file of the function's own
            raise ValueError(f"--gold {args.gold}: {type(problem).__name__}: {problem}") from problem
        print(f"score: {problem}; the answers so far are kept, the same command goes on", file=sys.stderr)
        return 1
    finally:
        gold.close()
    check_rated(rows, args.max_failed_share)
    summary = summarize(rows, args.seed)
    write_jsonl(args.out / SCORES_FILE, rows)
    unit = None if cut is None else "tokens" if args.tokenizer else "words"
    settings = {"gold": args.gold, "gold_arguments": arguments, "beginning": args.beginning, "unit": unit}
    write_json(args.out / SUMMARY_FILE, settings | {"checkpoints": summary})
    print(format_summary(summary))
    return 0


def _word_cutter(count: int) -> Cut:
    return lambda text: first_words(text, count)
