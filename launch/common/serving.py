"""What every server of the pack refuses before it answers: one guard, for machines of a cluster and pages in a browser.

Without a secret a server listens on this machine only. Even there a page in a browser could reach it: under a name of
its own that leads to 127.0.0.1, or by sending a form from its own site. So `Host` has to be this machine's, and `Origin`,
which browsers send and programs do not, the server's own.
"""

import hmac
import ipaddress
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`: an address or a name, without a port."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_host(host: str, has_secret: bool, remedy: str) -> None:
    """Refuses to let others in without a secret.

    Args:
        has_secret: every request needs a token, or a name and a password.
        remedy: how one is set, such as `set VARIABLE to a secret`.

    Raises:
        ValueError: `host` is not of this machine alone and there is no secret.
    """
    if not has_secret and not is_loopback(host):
        raise ValueError(f"--host {host} is reachable from outside: {remedy}, or use --host 127.0.0.1")


class RequestGuard:
    """An ASGI layer that refuses requests of strangers, and those with too much in them, however long they say they are.

    Args:
        app: what answers the others.
        most_bytes: of one request's body, counted as they arrive.
        local_only: only requests to a loopback name or address are answered.
        token: what every request has to carry as `Authorization: Bearer ...`; None where the app asks for its own secret.
    """

    def __init__(self, app: Any, most_bytes: int, local_only: bool, token: str | None = None):
        self.app, self.most_bytes, self.local_only = app, most_bytes, local_only
        self.expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        if refusal := self.refusal(scope["headers"]):
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
            from starlette.responses import JSONResponse

            return await JSONResponse({"detail": refusal[1]}, status_code=refusal[0])(scope, receive, send)
        await self.app(scope, self.counted(receive) if scope["type"] == "http" else receive, send)

    def refusal(self, raw_headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        """Status and reason; None lets the request through."""
        headers = dict(raw_headers)
        if self.expected is not None and not hmac.compare_digest(headers.get(b"authorization", b""), self.expected):
            return 401, "this server wants its token as 'Authorization: Bearer ...'"
        host = headers.get(b"host", b"").decode("latin-1")
        if self.local_only and not is_loopback(_name_of(host)):
            return 400, "this server is for its own machine: ask it as localhost or 127.0.0.1"
        origin = headers.get(b"origin")
        if origin is not None and _place_of(origin.decode("latin-1")) != host.lower():
            return 403, "a page of another site asks: only pages of this server are answered"
        length = headers.get(b"content-length")
        if length is not None and b"transfer-encoding" in headers:
            return 400, "the request says twice how long it is, by Content-Length and by Transfer-Encoding"
        if length is not None and (not length.isdigit() or int(length) > self.most_bytes):
            return 413, self._too_much()
        return None

    def counted(self, receive: Any) -> Any:
        """`receive` that ends the request with 413 as soon as more than `most_bytes` have arrived."""
        arrived = 0

        async def receive_counted() -> dict:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self.most_bytes:
                from starlette.exceptions import HTTPException

                raise HTTPException(413, self._too_much())
            return message

        return receive_counted

    def _too_much(self) -> str:
        return f"at most {self.most_bytes} bytes are taken in one request"


def _name_of(host: str) -> str:
    """The name or address in a `Host` header, without the port and the brackets of IPv6; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place_of(origin: str) -> str:
    """`name:port` of an `Origin` header as a `Host` header writes it; empty for `null`, and what is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
