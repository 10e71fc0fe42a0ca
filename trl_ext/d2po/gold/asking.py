"""Asks a paid model about single texts: each answer is kept before it is read, and what is kept is not asked for again."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets_builders.scratch import digest
from datasets_builders.teacher.answers import Refused
from datasets_builders.teacher.clients import question
from datasets_builders.teacher.collect import FAILURES_IN_A_ROW, given_up
from datasets_builders.teacher.endpoints import Endpoint, Stopped, Unanswered
from datasets_builders.teacher.ledger import Record
from datasets_builders.teacher.replies import Malformed, Verdict, read_pair, read_reply
from datasets_builders.teacher.requests import KEY_DIGITS, SYSTEM


class Asking:
    """The requests of one call. What ends it lets the answers under way come in, since they are paid for too.

    Args:
        room: for so many requests at once.
        known: key of a text -> the answers to it so far; `keep` adds to them.
        max_attempts: answers that may be spent on a text.

    Attributes:
        cause: what ended the call, None for one that went to its end.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        room: asyncio.Semaphore,
        known: Mapping[str, Sequence[Record]],
        keep: Callable[[Record], None],
        max_attempts: int,
    ) -> None:
        self.endpoint, self.room, self.known, self.keep, self.max_attempts = endpoint, room, known, keep, max_attempts
        self.failures_in_a_row = 0
        self.cause: BaseException | None = None

    async def scores(self, parser: Any, text: str, pair: bool) -> tuple[float, ...] | None:
        """The scores of the first answer to a text that can be read; None where there is none."""

        def read(text: str, cut_off: bool) -> Verdict | Malformed:
            return (read_pair if pair else read_reply)(parser, text, cut_off)

        key = digest(SYSTEM, text).hex()[:KEY_DIGITS]
        for record in self.known.get(key, ()):
            if isinstance(reading := read(record.text, record.cut_off), Verdict):
                return reading.scores
        for _ in range(len(self.known.get(key, ())), self.max_attempts):
            async with self.room:
                try:
                    answer = await self.endpoint.ask(question(SYSTEM, text))
                    reading = read(answer.text, answer.cut_off)
                    malformed = {key: reading.reason} if isinstance(reading, Malformed) else {}
                    fields = {name: getattr(answer, name) for name in ("cut_off", "model", "tokens_in", "tokens_out")}
                    self.keep(Record((key,), answer.text, tries=answer.tries, malformed=malformed, **fields))
                except Stopped:
                    return None
                except (Unanswered, Refused, OSError) as problem:
                    self._fail(problem)
                    return None
            self.failures_in_a_row = 0
            if isinstance(reading, Verdict):
                return reading.scores
        return None

    def _fail(self, problem: Exception) -> None:
        self.failures_in_a_row += 1
        if isinstance(problem, OSError) or (isinstance(problem, Refused) and not problem.of_this_text):
            self.cause = self.cause or problem
        elif self.failures_in_a_row >= FAILURES_IN_A_ROW:
            self.cause = self.cause or given_up(problem)
        if self.cause is not None:
            self.endpoint.stop()

    def interrupted(self, cause: KeyboardInterrupt) -> None:
        """Sends nothing more; what is under way comes in."""
        self.cause = cause
        self.endpoint.stop()
