"""Asks a teacher for every item that has no verdict yet, several requests at a time, and keeps each answer at once."""

import asyncio
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from datasets_builders.scoring.parsers import ScoreParser
from datasets_builders.teacher.answers import Answer, Refused
from datasets_builders.teacher.clients import question
from datasets_builders.teacher.costs import Costs
from datasets_builders.teacher.endpoints import Endpoint, Stopped, Unanswered
from datasets_builders.teacher.ledger import Ledger, Record
from datasets_builders.teacher.replies import Malformed, Verdict, read_batch, read_pair, read_reply
from datasets_builders.teacher.requests import SYSTEM, Item, Mode, Request

# So many requests in a row without an answer mean that the server is down, not that one request is hopeless.
FAILURES_IN_A_ROW = 3


class Findings:
    """What the answers so far say about each item.

    Args:
        max_attempts: answers that may be spent on one item; after as many malformed ones it is given up.
    """

    def __init__(self, mode: Mode, parser: ScoreParser, max_attempts: int, costs: Costs) -> None:
        self._mode, self._parser, self._max_attempts = mode, parser, max_attempts
        self.costs = costs
        self.verdicts: dict[str, Verdict] = {}
        self.attempts: Counter[str] = Counter()
        self.problems: dict[str, str] = {}

    def read(self, keys: Sequence[str], text: str, cut_off: bool) -> list[Verdict | Malformed]:
        """What an answer says about each of its items, in order."""
        if self._mode == "batch":
            return read_batch(self._parser, text, len(keys), cut_off)
        return [(read_pair if self._mode == "pairwise" else read_reply)(self._parser, text, cut_off)]

    def add(self, record: Record) -> int:
        """Takes an answer in; returns how many items it gave a verdict."""
        new, malformed = 0, []
        readings = self.read(record.keys, record.text, record.cut_off)
        for key, reading in zip(record.keys, readings, strict=True):
            self.attempts[key] += 1
            if isinstance(reading, Malformed):
                malformed.append(reading.reason)
                self.problems[key] = f"malformed: {reading.reason}"
            else:
                new += key not in self.verdicts
                self.verdicts.setdefault(key, reading)
        self.costs.add(record.tries, record.tokens_in, record.tokens_out, malformed)
        return new

    def missing(self, items: Iterable[Item]) -> list[Item]:
        """The items that still need an answer, without those that were given up."""
        return [
            item for item in items if item.key not in self.verdicts and self.attempts[item.key] < self._max_attempts
        ]


class Collector:
    """Sends requests through a number of workers.

    Each worker puts an answer on the disk before it takes the next request. A text that the server does not take costs
    its own items. A refusal of everything, an interrupt and a server that is down stop the run: no request leaves any more, and those under way are waited for, since they are
    paid for too.

    Args:
        progress: a progress bar: ``update(n)``, ``set_postfix(**counters)``.
    """

    def __init__(self, endpoint: Endpoint, ledger: Ledger, findings: Findings, concurrency: int, progress: Any) -> None:
        self._endpoint, self._ledger, self._findings = endpoint, ledger, findings
        self._concurrency, self._progress = concurrency, progress
        self._failures_in_a_row = 0
        self._cause: BaseException | None = None
        self.failed: dict[str, str] = {}

    async def collect(self, items: Sequence[Item], plan: Callable[[Sequence[Item]], list[Request]]) -> None:
        """Asks until every item has a verdict, was given up, or failed in this run.

        Args:
            plan: items -> the requests that carry them.

        Raises:
            Refused: the server refuses such requests, or several texts in a row.
            OSError: the server is down, or the disk is full.
            KeyboardInterrupt: the user interrupted the run.
        """
        with interrupts(self._interrupted):
            while missing := [item for item in self._findings.missing(items) if item.key not in self.failed]:
                queue = deque(plan(missing))
                async with asyncio.TaskGroup() as workers:
                    for _ in range(min(self._concurrency, len(queue))):
                        workers.create_task(self._work(queue))
                if self._cause is not None:
                    raise self._cause

    async def _work(self, queue: deque[Request]) -> None:
        while queue:
            request = queue.popleft()
            try:
                answer = await self._endpoint.ask(question(SYSTEM, request.user))
                self._keep(request, answer)
            except Stopped:
                return
            except (Unanswered, Refused, OSError) as problem:
                if isinstance(problem, OSError) or (isinstance(problem, Refused) and not problem.of_this_text):
                    self._stop(problem)
                    return
                self._fail(request, problem)
            else:
                self._failures_in_a_row = 0

    def _keep(self, request: Request, answer: Answer) -> None:
        readings = self._findings.read(request.keys, answer.text, answer.cut_off)
        record = Record(
            keys=request.keys,
            text=answer.text,
            cut_off=answer.cut_off,
            model=answer.model,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            tries=answer.tries,
            malformed={
                key: reading.reason
                for key, reading in zip(request.keys, readings, strict=True)
                if isinstance(reading, Malformed)
            },
        )
        self._ledger.append(record)
        self._progress.update(self._findings.add(record))
        self._progress.set_postfix(**self._findings.costs.as_postfix(), refresh=False)

    def _fail(self, request: Request, problem: Unanswered | Refused) -> None:
        self.failed |= dict.fromkeys(request.keys, f"failed: {problem}")
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            self._stop(given_up(problem))

    def _stop(self, cause: BaseException) -> None:
        self._cause = self._cause or cause
        self._endpoint.stop()

    def _interrupted(self, cause: KeyboardInterrupt) -> None:
        self._cause = cause
        self._endpoint.stop()


def given_up(last: Unanswered | Refused) -> Exception:
    """What ends a run after `FAILURES_IN_A_ROW` requests without an answer."""
    kind = Refused if isinstance(last, Refused) else OSError
    return kind(f"{FAILURES_IN_A_ROW} requests in a row got no answer; the last: {last}")


@contextmanager
def interrupts(stop: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
    """What an interrupt (Ctrl-C) does to requests that are under way, which are paid for too.

    Inside, a first one calls `stop` with what the caller raises in the end; a second one cancels every task.
    """
    loop = asyncio.get_running_loop()
    stopped = False

    def handle() -> None:
        nonlocal stopped
        if stopped:
            for task in asyncio.all_tasks():
                task.cancel()
            return
        stopped = True
        print("waiting for the answers under way; interrupt once more to give them up", file=sys.stderr)
        stop(KeyboardInterrupt())

    # Outside the main thread there are no signals to handle, and some systems know no handlers.
    with suppress(ValueError, RuntimeError, NotImplementedError):
        loop.add_signal_handler(signal.SIGINT, handle)
    try:
        yield
    finally:
        with suppress(ValueError, RuntimeError, NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
