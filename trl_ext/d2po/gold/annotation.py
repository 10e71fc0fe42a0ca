"""Gold function `ultrafeedbackgold`: a paid model rates how well answers follow their instruction and how they help.

The requests go through the teacher client of `datasets_builders`, whose paces, retries and keys are those of
`python -m datasets_builders teacher`.
"""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .annotation_prompts import alone_prompts, pair_prompts
from .base import GoldFunction, Metadata, check_rows

if TYPE_CHECKING:
    from datasets_builders.teacher.ledger import Ledger, Record

Ratings = tuple[float | None, float | None]


class Annotator(GoldFunction):
    """Scores from 1 to 5: the mean of the ratings for following the instruction and for helping.

    Calling it asks about each response alone, one request for each of the two questions; a response that could not be
    rated scores NaN. `score_pairs` is what the method of the paper does.

    Args:
        backend: `openai` (any compatible server), `anthropic` or `gemini`; keys come from the environment.
        model: as the server calls it.
        base_url: address that replaces the backend's own.
        max_attempts: answers that may be spent on a rating until one can be read.

    Attributes:
        costs: requests and tokens so far, malformed answers by reason.
    """

    def __init__(
        self,
        backend: str,
        model: str,
        base_url: str | None,
        temperature: float | None,
        max_tokens: int | None,
        concurrency: int,
        rpm_limit: float,
        max_retries: int,
        max_attempts: int,
    ) -> None:
        from datasets_builders.teacher.access import SERVICES, find_access
        from datasets_builders.teacher.costs import Costs

        if backend not in SERVICES:
            raise ValueError(f"backend is {backend!r}: valid are {sorted(SERVICES)}")
        if backend == "anthropic" and temperature is not None:
            raise ValueError("backend anthropic takes no temperature; leave it out")
        super().__init__("ultrafeedbackgold", self._score_alone, costs_money=True)
        self._client = backend, find_access(backend, base_url), model, temperature, max_tokens
        self._pace = {"rpm_limit": rpm_limit, "max_retries": max_retries}
        self._concurrency, self._max_attempts = concurrency, max_attempts
        self.costs: Costs = Costs()
        self._ledger: Ledger | None = None
        self._known: dict[str, list[Record]] = {}

    def score_pairs(
        self,
        prompts: Sequence[str],
        first: Sequence[str],
        second: Sequence[str],
        metadata: Sequence[Metadata] | None = None,
    ) -> list[Ratings]:
        """Scores of two responses to each prompt, shown together, once in each order so that the place cannot decide.

        A question whose answers could not be read in both orders counts for neither response.

        Returns:
            (score of first, score of second) a row; (None, None) for a pair that could not be rated.

        Raises:
            ValueError: lists of different length, or a server that refuses the requests.
            OSError: three requests in a row got no answer.
        """
        for responses in (first, second):
            check_rows(prompts, responses, metadata)
        rows = list(zip(prompts, first, second, strict=True))
        asked = [
            (prompt.parser, prompt(question, *order), True)
            for question, one, other in rows
            for prompt in pair_prompts()
            for order in ((one, other), (other, one))
        ]
        answers = self._ask(asked)
        width = 2 * len(pair_prompts())
        return [_combine(answers[start : start + width]) for start in range(0, len(answers), width)]

    def _score_alone(
        self, prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]
    ) -> list[float]:
        asked = [
            (prompt.parser, prompt(question, response), False)
            for question, response in zip(prompts, responses, strict=True)
            for prompt in alone_prompts()
        ]
        answers = self._ask(asked)
        width = len(alone_prompts())
        rows = [answers[start : start + width] for start in range(0, len(answers), width)]
        return [math.nan if None in row else fmean(scores[0] for scores in row if scores) for row in rows]

    def keep_answers(self, folder: Path, retry_failed: bool = False) -> None:
        """Every answer goes into a file in `folder` before it is used, and what stands there is not paid for again.

        Raises:
            ValueError: another run is writing there, or the answers there were made with other settings.
        """
        from datasets_builders.teacher.ledger import Ledger
        from datasets_builders.teacher.requests import wording

        backend, _, model, temperature, _ = self._client
        prompts = {prompt.name: wording(prompt) for prompt in (*pair_prompts(), *alone_prompts())}
        settings = {"backend": backend, "model": model, "temperature": temperature, "wording": prompts}
        self._ledger = Ledger(folder, settings, resume=True)
        for record in self._ledger.records:
            self.costs.add(record.tries, record.tokens_in, record.tokens_out, list(record.malformed.values()))
            if not (retry_failed and record.malformed):
                self._known.setdefault(record.keys[0], []).append(record)

    def close(self) -> None:
        """See `GoldFunction.close`."""
        if self._ledger is not None:
            self._ledger.__exit__()
            self._ledger = None

    def _keep(self, record: "Record") -> None:
        if self._ledger is not None:
            self._ledger.append(record)
        self.costs.add(record.tries, record.tokens_in, record.tokens_out, list(record.malformed.values()))
        self._known.setdefault(record.keys[0], []).append(record)

    def _ask(self, asked: Sequence[tuple[Any, str, bool]]) -> list[tuple[float, ...] | None]:
        """The scores in the answer to each (parser, text, whether it is a pair); None where none could be read.

        Raises:
            KeyboardInterrupt: after the answers that were under way; after a second interrupt without them.
        """
        from datasets_builders.progress import progress
        from datasets_builders.teacher.clients import open_client
        from datasets_builders.teacher.collect import interrupts
        from datasets_builders.teacher.endpoints import Endpoint

        from .asking import Asking

        async def all_answers() -> list[tuple[float, ...] | None]:
            # A client belongs to the event loop that it was opened in.
            client = open_client(*self._client)
            endpoint, room = Endpoint(client, **self._pace), asyncio.Semaphore(self._concurrency)
            run = Asking(endpoint, room, self._known, self._keep, self._max_attempts)
            try:
                # The same text is asked about once.
                distinct = {text: (parser, text, pair) for parser, text, pair in asked}
                with interrupts(run.interrupted), progress(len(distinct), "gold scores", "texts") as bar:
                    async with asyncio.TaskGroup() as group:
                        tasks = {text: group.create_task(run.scores(*one)) for text, one in distinct.items()}
                        for task in tasks.values():
                            task.add_done_callback(lambda _: bar.update())
                if run.cause is not None:
                    raise run.cause
                return [tasks[text].result() for _, text, _ in asked]
            finally:
                await client.close()

        try:
            return asyncio.run(all_answers())
        except asyncio.CancelledError:  # the second interrupt
            raise KeyboardInterrupt from None


def _combine(answers: Sequence[tuple[float, ...] | None]) -> Ratings:
    """Answers (as asked, exchanged) for each question -> the means over the questions that were read in both orders."""
    first, second = [], []
    for forward, backward in zip(answers[::2], answers[1::2], strict=True):
        if forward is not None and backward is not None:
            first.append((forward[0] + backward[1]) / 2)
            second.append((forward[1] + backward[0]) / 2)
    return (fmean(first), fmean(second)) if first else (None, None)


def annotator(
    backend: str = "openai",
    model: str = "gpt-4-0613",
    base_url: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = 500,
    concurrency: int = 8,
    rpm_limit: float = 50,
    max_retries: int = 3,
    max_attempts: int = 2,
) -> Annotator:
    """See `Annotator`; the other arguments are the options of `python -m datasets_builders teacher`.

    Raises:
        ValueError: an unknown backend, no address or key, or a number that is too small.
    """
    if min(concurrency, rpm_limit, max_attempts) < 1 or max_retries < 0:
        raise ValueError(
            f"concurrency is {concurrency}, rpm_limit {rpm_limit}, max_attempts {max_attempts} and max_retries "
            f"{max_retries}: at least 1, 1, 1 and 0 are valid"
        )
    return Annotator(
        backend, model, base_url, temperature, max_tokens, concurrency, rpm_limit, max_retries, max_attempts
    )
