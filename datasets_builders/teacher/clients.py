"""Clients of the servers: one request in, one answer out.

Anthropic is spoken to through its own client: its OpenAI-compatible endpoint is meant for trials and leaves fields out.
Gemini has a documented OpenAI-compatible address, so one client serves it and every other compatible server.
"""

from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from datasets_builders.teacher.access import OPENAI_HOST, Access
from datasets_builders.teacher.answers import (
    TEXT_STATUSES,
    Answer,
    Messages,
    field,
    make_answer,
    parse_body,
    sort_error,
    whole_messages,
)

TIMEOUT = 600.0
ANTHROPIC_MAX_TOKENS = 4096
OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"


def question(system: str, user: str) -> Messages:
    """One user message under a system message."""
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


class Client(Protocol):
    """Sends one request."""

    async def send(self, messages: Messages, **more: Any) -> Answer:
        """The answer to a conversation of texts; ``more`` are arguments of the interface.

        Raises:
            Transient: worth another try.
            Refused: not worth another try.
        """
        ...

    async def close(self) -> None:
        """Releases connections."""
        ...


def load_package(name: str, asker: str) -> ModuleType:
    """An optional package of the extra ``api``.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise ValueError(f"{asker} needs the package {name}: pip install 'swift-trl-ext[api]'") from None


class OpenAIClient:
    """The chat completions of OpenAI, Gemini and every compatible server.

    Args:
        temperature: None leaves it to the server; some models accept no other value than their own.
        max_tokens: of one answer, None leaves it to the server.
        timeout: seconds that one request may take.
    """

    def __init__(
        self,
        access: Access,
        model: str,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float = TIMEOUT,
        backend: str = "openai",
    ) -> None:
        self._sdk = load_package("openai", f"--backend {backend}")
        self._access = access
        # OpenAI's reasoning models know the new name of the limit only, and compatible servers often the old one only.
        limit = NEW_LIMIT if access.host == OPENAI_HOST else OLD_LIMIT
        self._options = _given(model=model, temperature=temperature, **{limit: max_tokens})
        self._client = self._sdk.AsyncOpenAI(
            base_url=access.base_url, api_key=access.key or "none", max_retries=0, timeout=timeout
        )
        self._create = self._client.chat.completions.with_raw_response.create

    async def send(self, messages: Messages, **more: Any) -> Answer:
        """See ``Client``."""
        sent = self._options
        try:
            raw = await self._create(messages=whole_messages(messages), **sent, **more)
        except self._sdk.OpenAIError as error:
            # A gateway in front of a reasoning model: its refusal names what the model takes instead.
            if OLD_LIMIT in sent and getattr(error, "status_code", None) in TEXT_STATUSES and NEW_LIMIT in str(error):
                self._options = {NEW_LIMIT if name == OLD_LIMIT else name: value for name, value in sent.items()}
                return await self.send(messages, **more)
            sort_error(error, self._access)
        body = parse_body(raw.http_response.content, "choices", self._access)
        choice = body["choices"][0] if body["choices"] else {}
        return make_answer(
            self._access,
            body,
            text=field(choice, "message", dict).get("content"),
            cut_off=choice.get("finish_reason") == "length",
            tokens=("prompt_tokens", "completion_tokens"),
        )

    async def close(self) -> None:
        """See ``Client``."""
        await self._client.close()


class AnthropicClient:
    """The messages of Anthropic. Arguments as those of ``OpenAIClient``.

    A limit of tokens is obligatory there, and a temperature is refused since version 2026-10-21 of the interface.
    """

    def __init__(
        self,
        access: Access,
        model: str,
        max_tokens: int | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._sdk = load_package("anthropic", "--backend anthropic")
        self._access = access
        self._options = {"model": model, "max_tokens": max_tokens or ANTHROPIC_MAX_TOKENS}
        self._client = self._sdk.AsyncAnthropic(
            base_url=access.base_url, api_key=access.key or "none", max_retries=0, timeout=timeout
        )

    async def send(self, messages: Messages, **more: Any) -> Answer:
        """See ``Client``."""
        asked = whole_messages(messages)
        if asked[0]["role"] == "system":
            more["system"] = asked.pop(0)["content"]
        try:
            raw = await self._client.messages.with_raw_response.create(messages=asked, **self._options, **more)
        except self._sdk.AnthropicError as error:
            sort_error(error, self._access)
        body = parse_body(raw.http_response.content, "content", self._access)
        texts = [block.get("text") for block in body["content"] if block.get("type") == "text"]
        return make_answer(
            self._access,
            body,
            # An answer of one block of another type is as odd here as with the other client.
            text="".join(texts) if all(isinstance(text, str) for text in texts) else texts,
            cut_off=body.get("stop_reason") == "max_tokens",
            tokens=("input_tokens", "output_tokens"),
        )

    async def close(self) -> None:
        """See ``Client``."""
        await self._client.close()


def open_client(backend: str, access: Access, model: str, temperature: float | None, max_tokens: int | None) -> Client:
    """The client of a backend.

    Raises:
        ValueError: its package is not installed.
    """
    if backend == "anthropic":
        assert temperature is None
        return AnthropicClient(access, model, max_tokens)
    return OpenAIClient(access, model, temperature, max_tokens, backend=backend)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
