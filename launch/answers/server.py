"""Answers from a server that speaks the OpenAI protocol."""

import asyncio
from collections.abc import Sequence

from datasets_builders.messages import Messages
from datasets_builders.teacher.access import SERVICES, check_address, find_access
from datasets_builders.teacher.answers import Refused
from datasets_builders.teacher.clients import OpenAIClient
from datasets_builders.teacher.endpoints import Endpoint, Unanswered
from launch.answers.backends import Answer, Decoding, Item, Keep
from launch.answers.prompts import Prompt
from launch.answers.records import NO_COUNTS
from launch.answers.sampling import draw_seed

SERVER_RETRIES = 5
# Kinds of the `problem` of an answer that never came.
REFUSED, UNANSWERED = "refused", "unanswered"


def server_settings(base_url: str, api_model: str, decoding: Decoding) -> dict[str, str]:
    """What is stored of a server, checked before: a refused run leaves no settings that its correction differs from.

    Raises:
        ValueError: a setting that the protocol does not have, or an address that is none or holds a password.
    """
    if decoding.repetition_penalty != 1.0 or decoding.no_repeat_ngram_size:
        raise ValueError("--repetition_penalty and --no_repeat_ngram_size do not exist in the openai backend")
    check_address(base_url, SERVICES["openai"].key_variable)
    return {"base_url": base_url, "api_model": api_model}


class OpenAIBackend:
    """Answers from a server that speaks the OpenAI protocol; a batch is what is in flight at once.

    The key is read from OPENAI_API_KEY only. Prompts are sent whole: the server owns the template and its limits.

    Args:
        system: message for prompts that have none.
        rpm_limit: requests per minute, retries included, evenly spaced; None sends a batch at once.

    Raises:
        ValueError: a setting that the protocol does not have, an address that is none, or a package that is missing.
    """

    whole_batches = False
    own_batches = False

    def __init__(
        self,
        base_url: str,
        api_model: str,
        decoding: Decoding,
        system: str | None = None,
        rpm_limit: float | None = None,
    ):
        server_settings(base_url, api_model, decoding)
        self.decoding, self.system = decoding, system
        self.client = OpenAIClient(
            find_access("openai", base_url),
            api_model,
            temperature=decoding.temperature if decoding.do_sample else 0.0,
            max_tokens=decoding.max_new_tokens,
        )
        self.endpoint = Endpoint(self.client, rpm_limit=rpm_limit, max_retries=SERVER_RETRIES)
        self.runner = asyncio.Runner()

    def length(self, prompt: Prompt) -> int:
        """Always 0: batches keep the order of the file."""
        return 0

    def generate(self, items: Sequence[Item]) -> list[Answer]:
        """One answer an item, in order; an item that got none has an empty one whose `problem` says why.

        Raises:
            ValueError: the server refuses whatever is asked of it: a wrong key, model or address.
        """
        answers: dict[int, Answer] = {}
        failed = self._run(items, lambda asked, given: answers.update({id(asked[0]): given[0]}), every_refusal=False)
        answers |= {id(item): answer for item, answer in failed}
        return [answers[id(item)] for item in items]

    def draw(self, items: Sequence[Item], keep: Keep) -> list[tuple[Item, Answer]]:
        """Gives `keep` each answer as soon as it is there. Errors: those of `keep` only.

        Returns:
            The items that got none, each with an empty answer whose `problem` says why.
        """
        return self._run(items, keep, every_refusal=True)

    def _run(self, items: Sequence[Item], keep: Keep, every_refusal: bool) -> list[tuple[Item, Answer]]:
        try:
            return self.runner.run(self._draw(items, keep, every_refusal))
        except ExceptionGroup as problems:
            raise problems.exceptions[0] from None

    async def _draw(self, items: Sequence[Item], keep: Keep, every_refusal: bool) -> list[tuple[Item, Answer]]:
        async def one(item: Item) -> tuple[Item, Answer] | None:
            try:
                answer = await self._one(item)
            except (Refused, Unanswered) as problem:
                kind = REFUSED if isinstance(problem, Refused) else UNANSWERED
                if kind == REFUSED and not (every_refusal or problem.of_this_text):
                    raise
                return item, Answer("", 0, 0, False, False, f"{kind}: {problem}")
            keep([item], [answer])
            return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
        return [task.result() for task in tasks if task.result() is not None]

    def _messages(self, prompt: Prompt) -> Messages:
        if self.system is None or prompt.messages[0]["role"] == "system":
            return prompt.messages
        return [{"role": "system", "content": self.system}, *prompt.messages]

    async def _one(self, item: Item) -> Answer:
        decoding, sampling = self.decoding, {}
        if decoding.do_sample:
            # Servers keep the seed in 32 bits.
            seed = draw_seed(decoding.seed, item.prompt.prompt_id, item.sample) % 2**31
            sampling = {"top_p": decoding.top_p, "seed": seed}
            if decoding.top_k is not None:
                # No part of the protocol, but vLLM, SGLang and llama.cpp read it under this name; -1 is all tokens there.
                sampling["extra_body"] = {"top_k": decoding.top_k or -1}
        answer = await self.endpoint.ask(self._messages(item.prompt), **sampling)
        uncounted = answer.tokens_in is None or answer.tokens_out is None
        problem = answer.problem or (NO_COUNTS if uncounted else "")
        return Answer(answer.text, answer.tokens_out or 0, answer.tokens_in or 0, False, answer.cut_off, problem)

    def close(self) -> None:
        """Closes the connections and the event loop."""
        self.runner.run(self.client.close())
        self.runner.close()
