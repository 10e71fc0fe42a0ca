"""``python -m datasets_builders teacher``: scores and reasons for preference pairs from a teacher behind an API."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.choices import one_of, positive_integer, share, whole_number
from datasets_builders.command_line import Parser
from datasets_builders.comparisons import SETS, Comparison, get_set, read_comparisons, sample_comparisons
from datasets_builders.io import SkipCounter, write_json, write_jsonl
from datasets_builders.progress import progress
from datasets_builders.scoring.parsers import SCALES
from datasets_builders.scoring.prompt import PointwisePrompt
from datasets_builders.scoring.prompts import PAIRWISE, PairwisePrompt, dataset_of, get_pairwise_prompt, get_prompt
from datasets_builders.teacher.access import SERVICES, find_access
from datasets_builders.teacher.clients import Client, open_client
from datasets_builders.teacher.costs import Costs, price_of
from datasets_builders.teacher.flags import add_request_flags
from datasets_builders.teacher.ledger import Ledger, check_settings, read_answers
from datasets_builders.teacher.requests import (
    SYSTEM,
    Item,
    Mode,
    Request,
    batch_requests,
    pairwise_items,
    pointwise_items,
    single_requests,
    wording,
)
from datasets_builders.teacher.results import result_rows, summarize

if TYPE_CHECKING:
    from tqdm import tqdm

    from datasets_builders.teacher.collect import Findings

RESULTS = "results.jsonl"
SUMMARY = "summary.json"
INTERRUPTED = 130
SHOWN_REQUESTS = 2
Plan = Callable[[Sequence[Item]], list[Request]]
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_VERDICT = 150
DEFAULT_PROMPTS = {
    ("anthropic_hh", "score100"): "hh_score100_v1",
    ("anthropic_hh", "score5"): "hh_score5_v1",
    ("summarize_from_feedback", "score100"): "score100_v1",
    ("summarize_from_feedback", "score5"): "score5_v1",
}


class _RefusedKey(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        # The value is in the history of the shell and in the list of processes by now; it is not repeated here.
        variables = ", ".join(service.key_variable for service in SERVICES.values())
        parser.error(f"a command line is seen by other users of the machine; keys come from {variables} only")


def add_arguments(parser: Parser) -> None:
    """Declare the options of this builder."""
    add = parser.add_argument
    add("--backend", required=True, type=one_of(SERVICES), help=f"one of {', '.join(SERVICES)}")
    add("--api_model", dest="model", required=True, metavar="NAME", help="the teacher, as its server calls it")
    parser.rename("--model", "--api_model")
    add("--base_url", help="address of the server (openai: this or OPENAI_BASE_URL is needed; others: a gateway)")
    add("--api_key", action=_RefusedKey, help=argparse.SUPPRESS)
    add("--dataset", default="anthropic_hh", type=one_of(SETS), help="default %(default)s")
    add("--split", default="train", help="a published split (default %(default)s)")
    add("--source", help="file, folder or glob (JSONL, JSONL.gz, Parquet) to read instead of the hub")
    add("--prompt", help="name of the prompt (default hh_score100_v1, for summaries score100_v1)")
    add("--scale", type=one_of(SCALES), help="instead of --prompt: the first prompt of the data set with this scale")
    add("--out", required=True, help="folder for answers, results and summary")
    add(
        "--limit",
        dest="n_pairs",
        required=True,
        type=positive_integer,
        metavar="N",
        help="pairs to score, drawn by the seed",
    )
    add("--skip_pairs", type=whole_number, default=0, help="leave out the first so many of the drawn pairs")
    add("--seed", type=int, default=42, help="seed of the draw, and of every order shown to the teacher")
    add("--shuffle_sides", type=int, metavar="SEED", help="exchange the sides of half of the pairs")
    add("--batch_size", type=positive_integer, default=1, help="replies in a request (default 1)")
    add("--pairwise", action="store_true", help="show both replies of a pair in one request")
    add(
        "--num_samples",
        dest="votes",
        type=positive_integer,
        default=1,
        metavar="K",
        help="answers for each item; their scores are averaged",
    )
    add("--temperature", type=_temperature, help="default: that of the server; anthropic takes none")
    add(
        "--max_new_tokens",
        dest="max_tokens",
        type=positive_integer,
        metavar="TOKENS",
        help="longest answer (default: the server's; anthropic: 4096)",
    )
    add_request_flags(add, "answers for an item until one can be read")
    add("--dry_run", action="store_true", help="show the first requests and an estimate; send and write nothing")
    add("--price_in", type=_price, help="money for a million tokens read")
    add("--price_out", type=_price, help="money for a million tokens written")
    add(
        "--max_skipped_share",
        type=share,
        default=0.05,
        help="fail when more than this share of the rows is unusable (default %(default)s)",
    )


def _temperature(text: str) -> float:
    return _in_range(text, 2.0, "a number from 0 to 2")


def _price(text: str) -> float:
    return _in_range(text, sys.float_info.max, "a number of at least 0")


def _in_range(text: str, highest: float, wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


@dataclass(frozen=True)
class Task:
    """What the options ask for.

    Attributes:
        plan: items -> the requests that carry them.
    """

    mode: Mode
    prompt: PointwisePrompt | PairwisePrompt
    comparisons: list[Comparison]
    skips: SkipCounter
    items: list[Item]
    plan: Plan


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Collect what the options describe and return the report.

    Raises:
        ValueError: wrong options or input, a folder of other answers, or a server that refuses the requests.
        OSError: the disk, the hub or the server failed; ``--resume`` goes on.
        SystemExit: 130, after an interrupt; ``--resume`` goes on.
    """
    mode, prompt = _choose(options)
    settings = _settings(options, mode, prompt)
    folder = Path(options.out)
    if options.dry_run:
        check_settings(folder, settings, options.resume)
        return _preview(options, _prepare(options, mode, prompt))
    access = find_access(options.backend, options.base_url)
    client = open_client(options.backend, access, options.model, options.temperature, options.max_tokens)
    with Ledger(folder, settings, options.resume) as ledger:
        return _collect(options, access.host, client, _prepare(options, mode, prompt), ledger)


def _choose(options: argparse.Namespace) -> tuple[Mode, PointwisePrompt | PairwisePrompt]:
    """The mode and the prompt, checked against each other and against the data set."""
    get_set(options.dataset, options.split)
    if options.pairwise and options.batch_size != 1:
        raise ValueError(f"--pairwise asks about one pair in a request; leave out --batch_size {options.batch_size}")
    if options.backend == "anthropic" and options.temperature is not None:
        raise ValueError("--backend anthropic takes no --temperature: its interface refuses one")
    if options.votes > 1 and options.temperature == 0:
        raise ValueError(f"--num_samples {options.votes}: at --temperature 0 all answers would be the same")
    if (options.price_in is None) != (options.price_out is None):
        raise ValueError("--price_in and --price_out are needed together")
    prompt: PointwisePrompt | PairwisePrompt
    if options.pairwise:
        prompt = get_pairwise_prompt(options.prompt or PAIRWISE.name)
        dataset = "anthropic_hh"
    else:
        if options.prompt == PAIRWISE.name:
            raise ValueError(f"--prompt {options.prompt} needs --pairwise")
        prompt = get_prompt(options.prompt or DEFAULT_PROMPTS[options.dataset, options.scale or "score100"])
        dataset = dataset_of(prompt)
    if dataset != options.dataset:
        raise ValueError(f"--prompt {prompt.name} is made for --dataset {dataset}, not for {options.dataset}")
    if options.scale and options.scale != prompt.scale.name:
        raise ValueError(f"--scale {options.scale}: prompt {prompt.name} asks for scores of {prompt.scale.name}")
    mode: Mode = "pairwise" if options.pairwise else "batch" if options.batch_size > 1 else "reply"
    return mode, prompt


def _settings(options: argparse.Namespace, mode: Mode, prompt: PointwisePrompt | PairwisePrompt) -> dict[str, Any]:
    """What the answers depend on. How many pairs, attempts and votes may change from run to run."""
    same = ("backend", "model", "dataset", "split", "seed", "shuffle_sides", "temperature")
    chosen = {name: getattr(options, name) for name in same}
    return chosen | {"prompt": prompt.name, "mode": mode, "wording": wording(prompt)}


def _prepare(options: argparse.Namespace, mode: Mode, prompt: PointwisePrompt | PairwisePrompt) -> Task:
    skips = SkipCounter()
    stream = read_comparisons(
        options.dataset,
        options.split,
        source=options.source,
        skips=skips,
        max_skipped_share=options.max_skipped_share,
        shuffle_sides=options.shuffle_sides,
    )
    comparisons = sample_comparisons(stream, seed=options.seed, n=options.n_pairs, skip=options.skip_pairs)
    if not comparisons:
        raise ValueError(f"--skip_pairs {options.skip_pairs} leaves no pair of {skips.kept}")
    plan: Plan = single_requests
    if isinstance(prompt, PairwisePrompt):
        items = pairwise_items(comparisons, prompt, options.votes, options.seed)
    else:
        items = pointwise_items(comparisons, prompt, options.votes)
        if mode == "batch":
            plan = partial(batch_requests, prompt=prompt, batch_size=options.batch_size, seed=options.seed)
    return Task(mode, prompt, comparisons, skips, items, plan)


def _findings(options: argparse.Namespace, task: Task) -> "Findings":
    from datasets_builders.teacher.collect import Findings

    costs = Costs(options.price_in, options.price_out)
    return Findings(task.mode, task.prompt.parser, options.max_attempts, costs)


def _preview(options: argparse.Namespace, task: Task) -> dict[str, Any]:
    findings = _findings(options, task)
    for record in read_answers(Path(options.out))[0]:
        findings.add(record)
    requests = task.plan(findings.missing(task.items))
    for number, request in enumerate(requests[:SHOWN_REQUESTS], start=1):
        title = f"===== request {number} of {len(requests)}"
        print(f"{title}, system =====\n{SYSTEM}\n{title}, user =====\n{request.user}", file=sys.stderr)
    characters = sum(len(SYSTEM) + len(request.user) for request in requests)
    verdicts = sum(len(request.keys) for request in requests) * (2 if task.mode == "pairwise" else 1)
    tokens_in, tokens_out = characters // CHARACTERS_PER_TOKEN, verdicts * TOKENS_PER_VERDICT
    return {
        "dry_run": True,
        "pairs": len(task.comparisons),
        "requests": len(requests),
        "estimated_tokens_in": tokens_in,
        "estimated_tokens_out": tokens_out,
        "estimated_cost": price_of(tokens_in, tokens_out, options.price_in, options.price_out),
        "estimate": (
            f"a token for {CHARACTERS_PER_TOKEN} characters, {TOKENS_PER_VERDICT} tokens for each reply that is "
            "judged, and no answer asked for twice"
        ),
    }


def _collect(options: argparse.Namespace, host: str, client: Client, task: Task, ledger: Ledger) -> dict[str, Any]:
    import asyncio

    findings = _findings(options, task)
    for record in ledger.records:
        findings.add(record)
    wanted = {item.key for item in task.items}
    open_items = {item.key for item in findings.missing(task.items)}
    kept = len(ledger.records)
    with progress(len(wanted), "the teacher", "verdicts", len(wanted & findings.verdicts.keys())) as bar:
        try:
            failed, lost = asyncio.run(_ask(options, client, task, ledger, findings, bar))
        except (KeyboardInterrupt, asyncio.CancelledError):
            new = len(ledger.records) - kept
            print(f"interrupted; {new} new answers are kept, continue with --resume", file=sys.stderr)
            raise SystemExit(INTERRUPTED) from None
    common = {
        "dataset": options.dataset,
        "split": options.split,
        "prompt_name": task.prompt.name,
        "scale": task.prompt.scale.name,
        "mode": task.mode,
        "model": options.model,
    }
    rows = result_rows(task.comparisons, task.items, findings, failed, common)
    summary = common | {"backend": options.backend, "host": host} | summarize(rows)
    summary |= findings.costs.as_dict() | {
        "requests_without_answer": lost,
        "items": len(wanted),
        "items_asked_now": len(open_items),
        "items_without_verdict": len(wanted - findings.verdicts.keys()),
        "votes": options.votes,
        "rows": task.skips.as_dict(),
    }
    write_jsonl(Path(options.out) / RESULTS, rows)
    write_json(Path(options.out) / SUMMARY, summary)
    return summary


async def _ask(
    options: argparse.Namespace, client: Client, task: Task, ledger: Ledger, findings: "Findings", bar: "tqdm"
) -> tuple[dict[str, str], int]:
    """Returns the items that got no answer, with the reason, and how many requests were sent in vain."""
    from datasets_builders.teacher.collect import Collector
    from datasets_builders.teacher.endpoints import Endpoint

    endpoint = Endpoint(client, rpm_limit=options.rpm_limit, max_retries=options.max_retries)
    collector = Collector(endpoint, ledger, findings, options.concurrency, bar)
    answered = findings.costs.requests
    try:
        await collector.collect(task.items, task.plan)
    finally:
        await client.close()
    return collector.failed, endpoint.sent - (findings.costs.requests - answered)
