"""Where requests go: the address and the key of a backend, and how neither of them gets into a text."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from datasets_builders.secrets import hide_passwords, redact

# Anything shorter is a placeholder such as EMPTY, which may well be a word of an answer.
SHORTEST_SECRET = 8
OPENAI_HOST = "api.openai.com"


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
        """A message without the key and without the password of any address."""
        return hide_passwords(redact(text, self.key))

    def redact_answer(self, text: str) -> str:
        """The text of an answer without the key; a placeholder that is too short to be a key stays."""
        return redact(text, self.key) if len(self.key) >= SHORTEST_SECRET else text


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
    if "@" in parts.netloc or parts.query or parts.fragment:
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
