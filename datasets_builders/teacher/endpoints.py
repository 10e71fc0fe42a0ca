"""Clients of the teachers: one request in, one answer out, paced, retried, and with the key in no message.

Anthropic is spoken to through its own client: its OpenAI-compatible endpoint is meant for trials and leaves fields out.
Gemini has a documented OpenAI-compatible address, so one client serves it and every other compatible server.
"""

import asyncio
import json
import math
import os
import random
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

TIMEOUT = 600.0
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
ANTHROPIC_MAX_TOKENS = 4096
SHOWN_CHARACTERS = 500
# Anything shorter is a placeholder such as EMPTY, which may well be a word of an answer.
SHORTEST_SECRET = 8
OPENAI_HOST = "api.openai.com"
RETRIED_STATUSES = (408, 409, 425, 429)
TEXT_STATUSES = (400, 413, 422)


class Transient(Exception):
    """A request that may succeed when it is sent again.

    Attributes:
        retry_after: seconds that the server asked to wait, 0 where it did not.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(ValueError):
    """A request that the server will refuse every time: a wrong key, model or setting, or a text that it does not take.

    Attributes:
        status: of the answer, None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def of_this_text(self) -> bool:
        """Whether another text may well be taken: this one is too long, or was filtered."""
        return self.status in TEXT_STATUSES


class Unanswered(Exception):
    """A request that got no answer within the allowed number of retries."""


class Stopped(Exception):
    """The run is ending; this request was not sent."""


@dataclass(frozen=True)
class Service:
    """Where a backend lives.

    Attributes:
        base_url: its address, None where every user has another.
        url_variable: the environment variable that may hold the address, None where there is none.
        needs_key: no request succeeds without a key.
    """

    package: str
    key_variable: str
    base_url: str | None
    url_variable: str | None
    needs_key: bool


SERVICES = {
    "anthropic": Service("anthropic", "ANTHROPIC_API_KEY", "https://api.anthropic.com", None, True),
    "gemini": Service(
        "openai", "GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai/", None, True
    ),
    "openai": Service("openai", "OPENAI_API_KEY", None, "OPENAI_BASE_URL", False),
}


@dataclass(frozen=True)
class Access:
    """Where requests go. The key is kept out of the repr."""

    base_url: str
    key: str

    def __repr__(self) -> str:
        return f"Access({self.base_url!r})"

    @property
    def host(self) -> str:
        """Name of the server, for messages."""
        return urlsplit(self.base_url).netloc

    def redact(self, text: str) -> str:
        """The text with every occurrence of the key replaced."""
        return text.replace(self.key, "***") if self.key else text

    def redact_body(self, text: str) -> str:
        """As ``redact``, for what a server sent: a placeholder that is too short to be a key stays."""
        return self.redact(text) if len(self.key) >= SHORTEST_SECRET else text


def check_address(address: str, key_variable: str) -> None:
    """Refuses an address that is none or holds a secret: it is stored in settings and shown in messages.

    Raises:
        ValueError: without a word of the address itself.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("--base_url: expected an address that starts with http:// or https://")
    if "@" in parts.netloc or parts.query:
        raise ValueError(f"--base_url holds a password or a query; keys come from {key_variable} only")


def find_access(backend: str, base_url: str | None, environment: Mapping[str, str] = os.environ) -> Access:
    """Address and key of a backend, the key from its environment variable only.

    Args:
        base_url: an address that replaces the backend's own (a gateway, a local server); its key is optional then.

    Raises:
        ValueError: no address, a malformed one, one that holds a password, or a missing or unusable key.
    """
    service = SERVICES[backend]
    address = base_url or (service.url_variable and environment.get(service.url_variable)) or service.base_url
    if address is None:
        raise ValueError(f"--backend {backend} needs --base_url or the environment variable {service.url_variable}")
    check_address(address, service.key_variable)
    key = environment.get(service.key_variable, "").strip()
    # Such a character is refused deep inside the client, with an error that shows the whole header.
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(f"{service.key_variable}: the key holds a character that no request can carry")
    if not key and ((service.needs_key and base_url is None) or urlsplit(address).hostname == OPENAI_HOST):
        raise ValueError(f"--backend {backend} needs a key in the environment variable {service.key_variable}")
    return Access(address, key)


@dataclass(frozen=True)
class Answer:
    """What a teacher answered.

    Attributes:
        text: may be empty, where the teacher refused or was filtered.
        cut_off: the answer ended because of the limit of tokens.
        model: the model as the server calls it.
        tokens_in: tokens read, None where the server did not report them.
        tokens_out: tokens written, likewise.
        tries: requests sent until this answer came.
        problem: why the text is missing (``empty``, ``no_text``, ``text_of_wrong_type``), or ``half_character`` where
            one was replaced; empty for an answer as it should be.
    """

    text: str
    cut_off: bool
    model: str
    tokens_in: int | None
    tokens_out: int | None
    tries: int = 1
    problem: str = ""


class Client(Protocol):
    """Sends one request."""

    async def send(self, system: str, user: str) -> Answer:
        """The answer to one user message under a system message.

        Raises:
            Transient: worth another try.
            Refused: not worth another try.
        """
        ...

    async def close(self) -> None:
        """Releases connections."""
        ...


def load_package(name: str, backend: str) -> ModuleType:
    """An optional package of the extra ``api``.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise ValueError(f"--backend {backend} needs the package {name}: pip install 'swift-trl-ext[api]'") from None


class OpenAIClient:
    """The chat completions of OpenAI, Gemini and every compatible server.

    Args:
        temperature: None leaves it to the server; some models accept no other value than their own.
        max_tokens: of one answer, None leaves it to the server.
        timeout: seconds that one request may take.
        retries: of the package itself; an `Endpoint` counts its own, so there must be none below it.
    """

    def __init__(
        self,
        access: Access,
        model: str,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float = TIMEOUT,
        backend: str = "openai",
        retries: int = 0,
    ) -> None:
        self._sdk = load_package("openai", backend)
        self._access = access
        # OpenAI's reasoning models know the new name of the limit only, and compatible servers often the old one only.
        limit = "max_completion_tokens" if access.host == OPENAI_HOST else "max_tokens"
        self._options = _given(model=model, temperature=temperature, **{limit: max_tokens})
        self._client = self._sdk.AsyncOpenAI(
            base_url=access.base_url, api_key=access.key or "none", max_retries=retries, timeout=timeout
        )

    async def send(self, system: str, user: str) -> Answer:
        """See ``Client``."""
        return await self.complete([{"role": "system", "content": system}, {"role": "user", "content": user}])

    async def complete(self, messages: Sequence[Mapping[str, str]], **more: Any) -> Answer:
        """The answer to a conversation of texts; ``more`` are arguments of the interface. Errors: see ``Client``."""
        asked = [{**message, "content": _whole_characters(message["content"])} for message in messages]
        try:
            raw = await self._client.chat.completions.with_raw_response.create(messages=asked, **self._options, **more)
        except self._sdk.OpenAIError as error:
            _judge(error, self._access)
        body = _parse_body(raw.http_response.content, "choices", self._access)
        choice = body["choices"][0] if body["choices"] else {}
        return _answer(
            body,
            text=_field(choice, "message", dict).get("content"),
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
        self._sdk = load_package("anthropic", "anthropic")
        self._access = access
        self._options = {"model": model, "max_tokens": max_tokens or ANTHROPIC_MAX_TOKENS}
        self._client = self._sdk.AsyncAnthropic(
            base_url=access.base_url, api_key=access.key or "none", max_retries=0, timeout=timeout
        )

    async def send(self, system: str, user: str) -> Answer:
        """See ``Client``."""
        messages = [{"role": "user", "content": user}]
        try:
            raw = await self._client.messages.with_raw_response.create(
                system=system, messages=messages, **self._options
            )
        except self._sdk.AnthropicError as error:
            _judge(error, self._access)
        body = _parse_body(raw.http_response.content, "content", self._access)
        texts = [block.get("text") for block in body["content"] if block.get("type") == "text"]
        return _answer(
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


def _judge(error: Exception, access: Access) -> NoReturn:
    """Turns an error of a client into ``Transient`` or ``Refused``. Both clients name their errors alike.

    The new error has no cause: the old one holds the request, and the request holds the key.
    """
    sdk = import_module(type(error).__module__.split(".")[0])
    message = access.redact(f"{access.host}: {type(error).__name__}: {error}")[:SHOWN_CHARACTERS]
    if isinstance(error, sdk.APIStatusError):
        if error.status_code in RETRIED_STATUSES or error.status_code >= 500:
            raise Transient(message, retry_after(error.response.headers)) from None
        raise Refused(message, error.status_code) from None
    if isinstance(error, sdk.APIError):
        raise Transient(message) from None
    raise Refused(message) from None


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a ``Retry-After`` header asks to wait, in numbers or as a date; 0 without one."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _parse_body(content: bytes, required: str, access: Access) -> dict[str, Any]:
    """The JSON object of a good status; a proxy in between may well have cut or replaced it."""
    try:
        body = json.loads(access.redact_body(content.decode("utf-8")))
    except (ValueError, RecursionError):
        raise Transient(f"{access.host}: the body of the answer is not JSON, or is cut off") from None
    entries = body.get(required) if isinstance(body, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Transient(f"{access.host}: the body of the answer has no {required!r}")
    return body


def _field(obj: dict[str, Any], name: str, kind: type) -> Any:
    value = obj.get(name)
    return value if isinstance(value, kind) else kind()


def _answer(body: dict[str, Any], text: Any, cut_off: bool, tokens: tuple[str, str]) -> Answer:
    usage = _field(body, "usage", dict)
    read, written = (usage.get(name) for name in tokens)
    model = _whole_characters(_field(body, "model", str))
    whole = _whole_characters(text) if isinstance(text, str) else ""
    problem = "" if whole and whole == text else "half_character" if whole else _missing(text)
    return Answer(whole, cut_off, model, _count(read), _count(written), problem=problem)


def _missing(text: Any) -> str:
    return "empty" if text == "" else "no_text" if text is None else "text_of_wrong_type"


def _whole_characters(text: str) -> str:
    """JSON can carry half a character pair as an escape, which no UTF-8 file and no request can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _count(value: Any) -> int | None:
    """A number of tokens that can be believed."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class Endpoint:
    """A client, paced and retried.

    Args:
        rpm_limit: requests a minute, retries included, evenly spaced.
        max_retries: of one request, beside the first try.
        first_wait: seconds; the longest wait before the first retry, doubled with each further one.
    """

    def __init__(self, client: Client, *, rpm_limit: float, max_retries: int, first_wait: float | None = None) -> None:
        from aiolimiter import AsyncLimiter

        self._client = client
        # One request each 60 / limit seconds: a bucket of a whole minute would let twice the limit pass in the first.
        self._limiter = AsyncLimiter(1, 60 / rpm_limit)
        self._max_retries = max_retries
        self._first_wait = FIRST_WAIT if first_wait is None else first_wait
        self._stop = asyncio.Event()
        self.sent = 0

    def stop(self) -> None:
        """Send no further request; those under way may finish, those that wait raise ``Stopped``."""
        self._stop.set()

    async def ask(self, system: str, user: str) -> Answer:
        """The answer to one request.

        Raises:
            Unanswered: the retries are used up.
            Refused: the server will refuse it every time.
            Stopped: the endpoint was stopped before an answer came.
        """
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(self._max_retries + 1),
            wait=self._wait,
            sleep=lambda seconds: self._unless_stopped(asyncio.sleep(seconds)),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    await self._unless_stopped(self._limiter.acquire())
                    self.sent += 1
                    answer = await self._client.send(system, user)
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
