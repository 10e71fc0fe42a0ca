"""A client that is paced and retried, so that neither a limit of the server nor a passing failure ends a run."""

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from datasets_builders.teacher.answers import Answer, Messages, Transient
from datasets_builders.teacher.clients import Client, load_package

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
ASKER = "asking a server"


class Unanswered(Exception):
    """A request that got no answer within the allowed number of retries."""


class Stopped(Exception):
    """The run is ending; this request was not sent."""


class Endpoint:
    """A client, paced and retried.

    Args:
        rpm_limit: requests per minute, retries included, evenly spaced; None sets no pace.
        max_retries: of one request, beside the first try.
        first_wait: seconds; the longest wait before the first retry, doubled with each further one.
    """

    def __init__(
        self, client: Client, *, rpm_limit: float | None, max_retries: int, first_wait: float | None = None
    ) -> None:
        self._client, self._tenacity = client, load_package("tenacity", ASKER)
        # One request each 60 / limit seconds: a bucket of a whole minute would let twice the limit pass in the first.
        self._limiter = load_package("aiolimiter", ASKER).AsyncLimiter(1, 60 / rpm_limit) if rpm_limit else None
        self._max_retries = max_retries
        self._first_wait = FIRST_WAIT if first_wait is None else first_wait
        self._stop = asyncio.Event()
        self.sent = 0

    def stop(self) -> None:
        """Send no further request; those under way may finish, those that wait raise ``Stopped``."""
        self._stop.set()

    async def ask(self, messages: Messages, **more: Any) -> Answer:
        """The answer to one request, see ``Client.send``.

        Raises:
            Unanswered: the retries are used up.
            Refused: the server will refuse it every time.
            Stopped: the endpoint was stopped before an answer came.
        """
        attempts = self._tenacity.AsyncRetrying(
            retry=self._tenacity.retry_if_exception_type(Transient),
            stop=self._tenacity.stop_after_attempt(self._max_retries + 1),
            wait=self._wait,
            sleep=lambda seconds: self._unless_stopped(asyncio.sleep(seconds)),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    if self._limiter is not None:
                        await self._unless_stopped(self._limiter.acquire())
                    self.sent += 1
                    answer = await self._client.send(messages, **more)
        except Transient as error:
            raise Unanswered(f"{error} (sent {self._max_retries + 1} times)") from None
        return replace(answer, tries=attempt.retry_state.attempt_number)

    def _wait(self, state: Any) -> float:
        error = state.outcome.exception()
        longest = min(self._first_wait * 2 ** (state.attempt_number - 1), LONGEST_WAIT)
        # The jitter also comes on top of what the server asked for: it told every worker the same.
        return max(random.uniform(0, longest), error.retry_after + random.uniform(0, self._first_wait))

    async def _unless_stopped(self, waiting: Awaitable[Any]) -> None:
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._stop.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if self._stop.is_set():
            raise Stopped
