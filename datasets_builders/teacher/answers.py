"""What comes back from a server: an answer, an error worth another try, or a refusal; with the key in none of them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any, NoReturn

from datasets_builders.teacher.access import Access

SHOWN_CHARACTERS = 500
RETRIED_STATUSES = (408, 409, 425, 429)
TEXT_STATUSES = (400, 413, 422)

Messages = Sequence[Mapping[str, str]]


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


def sort_error(error: Exception, access: Access) -> NoReturn:
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


def parse_body(content: bytes, required: str, access: Access) -> dict[str, Any]:
    """The JSON object of a good status; a proxy in between may well have cut or replaced it."""
    try:
        body = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Transient(f"{access.host}: the body of the answer is not JSON, or is cut off") from None
    entries = body.get(required) if isinstance(body, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Transient(f"{access.host}: the body of the answer has no {required!r}")
    return body


def field(obj: dict[str, Any], name: str, kind: type) -> Any:
    """The value of that name, or an empty one where it is missing or of another type."""
    value = obj.get(name)
    return value if isinstance(value, kind) else kind()


def make_answer(access: Access, body: dict[str, Any], text: Any, cut_off: bool, tokens: tuple[str, str]) -> Answer:
    """The answer of a body; `tokens` are the names of the counts of what was read and of what was written."""
    usage = field(body, "usage", dict)
    read, written = (usage.get(name) for name in tokens)
    model = access.redact_answer(_whole_characters(field(body, "model", str)))
    whole = _whole_characters(text) if isinstance(text, str) else ""
    problem = "" if whole and whole == text else "half_character" if whole else _missing(text)
    return Answer(access.redact_answer(whole), cut_off, model, _count(read), _count(written), problem=problem)


def whole_messages(messages: Messages) -> list[dict[str, str]]:
    """The messages as a request can carry them: half a character becomes a question mark."""
    return [{**message, "content": _whole_characters(message["content"])} for message in messages]


def _missing(text: Any) -> str:
    return "empty" if text == "" else "no_text" if text is None else "text_of_wrong_type"


def _whole_characters(text: str) -> str:
    """JSON can carry half a character pair as an escape, which no UTF-8 file and no request can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _count(value: Any) -> int | None:
    """A number of tokens that can be believed."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
