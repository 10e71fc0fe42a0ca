"""Verdicts from a judge behind an API: every answer on the disk before its worker asks again."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.progress import progress
from datasets_builders.teacher.clients import Client
from datasets_builders.teacher.collect import Collector, Findings
from datasets_builders.teacher.costs import Costs
from datasets_builders.teacher.endpoints import Endpoint
from datasets_builders.teacher.ledger import Ledger
from datasets_builders.teacher.replies import Malformed
from datasets_builders.teacher.requests import Item, single_requests
from launch.compare.win_pairs import AnswerPair
from launch.judge.verdicts import JudgedRow
from trl_ext.objectives.verdicts import parse_verdict

INTERRUPTED = 130


class VerdictFindings(Findings):
    """Findings whose answers hold a verdict on a pair instead of scores: `A`, `B` or `tie`."""

    def __init__(self, max_attempts: int, costs: Costs) -> None:
        super().__init__("reply", parse_verdict, max_attempts, costs)

    def read(self, keys: Sequence[str], text: str, cut_off: bool) -> list[str | Malformed]:
        """The verdict of an answer. One that was cut off has none, whatever stands in it."""
        if cut_off:
            return [Malformed("cut_off")]
        if not text.strip():
            return [Malformed("empty")]
        return [parse_verdict(text) or Malformed("no_verdict")]


def ask_judge(
    items: Sequence[Item],
    client: Client,
    findings: VerdictFindings,
    *,
    folder: Path,
    settings: Mapping[str, Any],
    resume: bool,
    concurrency: int,
    rpm_limit: int,
    max_retries: int,
) -> dict[str, str]:
    """Asks for every item without a verdict; `findings` holds the verdicts afterwards, those of earlier runs included.

    Returns:
        item key -> why it has no answer, of the requests that failed in this run.

    Raises:
        ValueError: a folder of other settings or without `resume`, or a server that refuses the requests.
        OSError: the server is down or the disk is full.
        SystemExit: 130, after an interrupt; the answers so far are kept.
    """
    with Ledger(folder, dict(settings), resume) as ledger:
        for record in ledger.records:
            findings.add(record)
        known, kept = len({item.key for item in items} & findings.verdicts.keys()), len(ledger.records)
        with progress(len({item.key for item in items}), "the judge", "verdicts", known) as bar:

            async def collect() -> dict[str, str]:
                endpoint = Endpoint(client, rpm_limit=rpm_limit, max_retries=max_retries)
                collector = Collector(endpoint, ledger, findings, concurrency, bar)
                try:
                    await collector.collect(items, single_requests)
                finally:
                    await client.close()
                return collector.failed

            try:
                return asyncio.run(collect())
            except (KeyboardInterrupt, asyncio.CancelledError):
                new = len(ledger.records) - kept
                print(f"interrupted; {new} new answers are kept, continue with --resume", file=sys.stderr)
                raise SystemExit(INTERRUPTED) from None


def judged_rows(pairs: Sequence[AnswerPair], items: Sequence[Item], findings: VerdictFindings) -> list[JudgedRow]:
    """One row for each order of each pair that was asked about, all votes of it together."""
    votes: dict[tuple[int, int], list[str | None]] = {}
    for item in items:
        votes.setdefault((item.pair, item.sides[0]), []).append(findings.verdicts.get(item.key))
    return [
        JudgedRow(pairs[place].pair_id, side, None, None, "", tuple(said))
        for (place, side), said in sorted(votes.items())
    ]
