"""`python -m launch win-rate`: does a judge prefer one model's answers to another's, whichever it sees first?"""

import argparse
import sys
from pathlib import Path
from typing import Any

from datasets_builders.choices import one_of
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json, write_jsonl
from datasets_builders.judging.prompt import PairwisePrompt
from datasets_builders.scratch import digest
from datasets_builders.teacher.access import SERVICES, find_access
from datasets_builders.teacher.flags import add_request_flags
from datasets_builders.teacher.requests import KEY_DIGITS, SYSTEM, single_requests
from launch.answers.records import label_of, read_generations
from launch.cli.flags import add_limit, add_max_new_tokens, add_num_samples
from launch.cli.verbs import verb_parser
from launch.common.table import aligned, estimate_cells
from launch.compare.win_pairs import AnswerPair, draw_pairs, items_of, pair_up, rows_to_judge
from launch.compare.win_statistics import IDENTICAL, SHARES, Outcome, outcomes, win_statistics
from launch.judge.options import rubric_of
from launch.judge.verdicts import JudgedRow, read_verdicts

KIND = "win_rate"


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("win-rate", __doc__)
    add = parser.add_argument
    add("--gens", nargs=2, metavar="DIR", help="generation directories of model A and model B")
    add("--verdicts", metavar="FILE", help="instead: what `judge` wrote about pairs whose first reply is model A's")
    add("--names", nargs=2, metavar="NAME", help="names of model A and model B (default: the labels of --gens)")
    add("--out", required=True, metavar="DIR", help="folder of the answers, the table and the summary")
    add("--write_pairs", action="store_true", help="only write pairs.jsonl for `judge --pairs`, and ask nobody")
    add_limit(parser, "so many pairs, drawn by --seed", dest="max_pairs")
    add("--seed", type=int, default=0, help="seed of the draw of --limit")
    group = parser.add_argument_group("judge")
    add = group.add_argument
    add("--backend", type=one_of(SERVICES), default="openai", help=f"one of {', '.join(SERVICES)}")
    add("--api_model", dest="model", metavar="NAME", help="the judge, as its server calls it")
    parser.rename("--model", "--api_model")
    add("--base_url", help="address of the server (openai: this or OPENAI_BASE_URL is needed)")
    add("--rubric", metavar="FILE", help="what to judge by, a line each (default: helpfulness)")
    add("--thinking", action="store_true", help="ask for reasoning before the verdict")
    add("--ties", type=one_of(("true", "false")), default="true", help="offer tie as an answer")
    add_num_samples(group, 1, "answers in each order of a pair; the most frequent one counts", dest="votes")
    add("--temperature", type=float, help="default 0; anthropic takes none")
    add("--server_temperature", action="store_true", help="leave the temperature to the server")
    add_max_new_tokens(group, None, "the server's", dest="max_tokens")
    add_request_flags(add, "answers until one holds a verdict")
    add("--dry_run", action="store_true", help="show the first request and how many there are; send nothing")
    return parser


def check_flags(args: argparse.Namespace) -> None:
    """Refuses flags that do not go together, and settles the temperature.

    Raises:
        ValueError: naming the flags.
    """
    if (args.gens is None) == (args.verdicts is None):
        raise ValueError("give --gens or --verdicts, one of the two")
    if args.gens and not args.write_pairs and not args.model:
        raise ValueError("--gens needs --api_model, the judge (or --write_pairs, to judge with a model of your own)")
    if args.verdicts and (args.write_pairs or args.max_pairs or args.model):
        raise ValueError("--verdicts holds the judge's answers; leave out --write_pairs, --limit and --api_model")
    if args.temperature is not None and (args.server_temperature or args.backend == "anthropic"):
        raise ValueError("--temperature: not with --server_temperature, and --backend anthropic takes none")
    if args.temperature is not None and not 0 <= args.temperature <= 2:
        raise ValueError(f"--temperature must be from 0 to 2, found {args.temperature}")
    if args.temperature is None and not args.server_temperature and args.backend != "anthropic":
        args.temperature = 0.0
    if args.votes > 1 and args.temperature == 0:
        raise ValueError(f"--num_samples {args.votes}: at --temperature 0 all answers would be the same")


def judge_settings(args: argparse.Namespace, prompt: PairwisePrompt) -> dict[str, Any]:
    """What the answers depend on, the texts of the pairs excepted, which are in the keys of the answers."""
    asked = prompt([{"role": "user", "content": ""}], "", "")
    chosen = {name: getattr(args, name) for name in ("backend", "model", "temperature", "max_tokens")}
    return chosen | {"prompt": prompt.as_dict(), "wording": digest(SYSTEM, asked).hex()[:KEY_DIGITS]}


def by_api(args: argparse.Namespace, pairs: list[AnswerPair]) -> tuple[list[JudgedRow], dict[str, Any]] | None:
    """(rows, facts about the judge and its costs), or None after a dry run. Errors: see `ask_judge`."""
    prompt = PairwisePrompt(rubric=rubric_of(args), thinking=args.thinking, ties=args.ties == "true")
    items = items_of(pairs, prompt, args.votes)
    if args.dry_run:
        requests = single_requests(items)
        print(f"{SYSTEM}\n\n{requests[0].user}\n" if requests else "every pair is identical")
        print(f"{len(requests)} requests, about {sum(len(one.user) for one in requests) // 4} tokens to read")
        return None
    from datasets_builders.teacher.clients import open_client
    from datasets_builders.teacher.costs import Costs
    from launch.compare.ask_judge import VerdictFindings, ask_judge, judged_rows

    access = find_access(args.backend, args.base_url)
    client = open_client(args.backend, access, args.model, args.temperature, args.max_tokens)
    findings, settings = VerdictFindings(args.max_attempts, Costs()), judge_settings(args, prompt)
    failed = ask_judge(
        items, client, findings, folder=Path(args.out), settings=settings, resume=args.resume,
        concurrency=args.concurrency, rpm_limit=args.rpm_limit, max_retries=args.max_retries,
    )  # fmt: skip
    rows = judged_rows(pairs, items, findings)
    for problem in sorted(set(failed.values())):
        print(f"no answer, continue with --resume: {problem}", file=sys.stderr)
    costs = {name: value for name, value in findings.costs.as_dict().items() if name != "cost"}
    return rows, {"judge": {**settings, "host": access.host}, "votes": args.votes, "costs": costs,
                  "without_answer": len(failed)}  # fmt: skip


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    names = {"a": result["a"], "b": result["b"]}
    table = [(text.format(**names), *estimate_cells(result[name])) for name, text in SHARES.items()
             if result[name] is not None and result[name]["value"] is not None]  # fmt: skip
    lines = [f"{result['a']} against {result['b']}: {result['pairs']} pairs, {result['judged']} of them judged"]
    for title in ("ties_by_reason", "not_judged"):
        lines += [f"{count} {title.split('_by_')[0].replace('_', ' ')}: {reason}"
                  for reason, count in sorted(result[title].items())]  # fmt: skip
    rate = result["win_rate"]
    if rate["n"]:
        sure = rate["low"] > 0.5 or rate["high"] < 0.5
        better = result["a"] if rate["value"] > 0.5 else result["b"]
        lines.append(f"{better} wins more often" if sure else "not told apart: the interval of the win rate holds 0.5")
    return "\n".join([*lines, aligned(table)] if table else lines)


def main(argv: list[str]) -> int:
    """Exit status 0 when the result is written, 1 when the server gave up before."""
    args = make_parser().parse_args(argv)
    check_flags(args)
    out, names, pairs, facts = Path(args.out), args.names or ["first", "second"], [], {}
    if args.verdicts:
        rows, facts = read_verdicts(args.verdicts), {"verdicts": args.verdicts}
    else:
        gens = [read_generations(folder) for folder in args.gens]
        names = args.names or [label_of(records, folder) for records, folder in zip(gens, args.gens, strict=True)]
        pairs = draw_pairs(pair_up(*gens), args.max_pairs, args.seed)
        if args.write_pairs:
            print(f"{out / 'pairs.jsonl'}: {write_jsonl(out / 'pairs.jsonl', rows_to_judge(pairs))} pairs")
            return 0
        try:
            asked = by_api(args, pairs)
        except OSError as problem:
            print(f"win-rate: {problem}; the answers so far are kept, continue with --resume", file=sys.stderr)
            return 1
        if asked is None:
            return 0
        rows, facts = asked
        write_jsonl(out / "verdicts.jsonl", (row.to_json() for row in rows))
    found = outcomes(rows) + [Outcome(pair.pair_id, "tie", IDENTICAL) for pair in pairs if pair.identical]
    statistics = win_statistics(
        found, rows, {pair.pair_id: pair.prompt_id for pair in pairs}, {pair.pair_id: pair.words for pair in pairs}
    )
    result = {"kind": KIND, "a": names[0], "b": names[1], **facts, **statistics}
    write_jsonl(out / "outcomes.jsonl", (one._asdict() for one in found))
    write_json(out / "win_rate.json", result)
    print(describe(result))
    print(f"written: {out / 'win_rate.json'}")
    return 0
