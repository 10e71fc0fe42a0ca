"""A discriminator in another process, behind `python -m launch discriminator-server`. No torch."""

import http.client
import json
import logging
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datasets_builders.io import write_json
from datasets_builders.secrets import hide_passwords

from .discriminator_interface import LabelledPair

TOKEN_VARIABLE = "D2PO_SERVER_TOKEN"
ROWS_PER_REQUEST = 512
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds between two tries, doubled each time
STATE = "remote.json"
logger = logging.getLogger(__name__)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever the answer points."""

    def redirect_request(self, *_: Any) -> None:
        return None


class RemoteDiscriminator:
    """The interface of a discriminator, over HTTP.

    While the server cannot be reached or answers with 5xx, a call is tried again, so that a run outlives a restart of
    the server. Every call may be repeated: an update that was done already is not done twice. Redirects are not
    followed and no proxy is used.

    Args:
        url: such as http://127.0.0.1:8765.
        token: sent as `Authorization: Bearer`; None takes the environment variable D2PO_SERVER_TOKEN, if it is set.
        patience_seconds: for how long a call is tried again, and how long one answer may take.

    Raises:
        ValueError: not an address, or a request that the server refuses (4xx); its reason is in the message.
        ConnectionError: no good answer within `patience_seconds`.
    """

    def __init__(self, url: str, token: str | None = None, patience_seconds: float = 600.0):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError(
                f"{hide_passwords(url).partition('?')[0]!r}: an address such as 'http://127.0.0.1:8765' is valid, "
                "without user name and query"
            )
        if parts.path.rstrip("/").endswith("/train"):
            raise ValueError(
                f"{hide_passwords(url)!r}: /train was the one door of the authors' server; give the address of "
                f"`python -m launch discriminator-server` alone, {url.rstrip('/').removesuffix('/train')!r} if it listens there"
            )
        if not patience_seconds > 0:
            raise ValueError(f"patience_seconds is {patience_seconds}: a number above 0 is valid")
        self.url, self.patience_seconds = url.rstrip("/"), patience_seconds
        self._token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """One finite score a response."""
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: one prompt a response is needed")
        scores: list[float] = []
        for start in range(0, len(prompts), ROWS_PER_REQUEST):
            part = slice(start, start + ROWS_PER_REQUEST)
            body = {"prompts": list(prompts[part]), "responses": list(responses[part])}
            scores += self._call("/score", body)["scores"]
        if len(scores) != len(prompts) or not all(math.isfinite(score) for score in scores):
            raise ValueError(f"{self.url} answered {len(prompts)} responses with {len(scores)} scores, not all of use")
        return scores

    def update(self, pairs: Sequence[LabelledPair], number: int) -> dict[str, float]:
        """Trains there; `number` updates came before. Returns the metrics."""
        body = {"number": number, "pairs": [LabelledPair(*pair)._asdict() for pair in pairs]}
        return self._call("/update", body)["metrics"]

    def save(self, folder: Path) -> None:
        """Has the server keep its present state and notes which one that is."""
        updates = self._call("/save", {})["updates"]
        write_json(Path(folder, STATE), {"url": self.url, "updates": updates})

    def load(self, folder: Path) -> None:
        """Has the server go back to the state that `save` noted; later ones are given up there."""
        file = Path(folder) / STATE
        if not file.is_file():
            raise ValueError(f"{folder}: no {STATE}, this is not the saved state of a discriminator on a server")
        self._call("/restore", {"updates": json.loads(file.read_text(encoding="utf-8"))["updates"]})

    def digest(self) -> str:
        """SHA-256 of the trained weights there."""
        return self._call("/health")["digest"]

    def _call(self, path: str, body: dict | None = None) -> dict:
        deadline, pause = None, FIRST_PAUSE
        while True:
            try:
                return self._request(path, body)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise ValueError(self._refusal(path, error)) from None
                problem: Exception = error
            except (OSError, http.client.HTTPException) as error:  # refused, reset, timed out, or cut off half way
                problem = error
            now = time.monotonic()
            deadline = deadline or now + self.patience_seconds
            if now + pause > deadline:
                raise ConnectionError(f"{self.url}{path}: no answer in {self.patience_seconds:g} s: {problem}")
            logger.warning("%s%s: %s; trying again in %.1f s", self.url, path, problem, pause)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _request(self, path: str, body: dict | None) -> dict:
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        request = urllib.request.Request(self.url + path, data=data, headers={"Content-Type": "application/json"})
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        with self._opener.open(request, timeout=self.patience_seconds) as answer:
            text = answer.read()
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError(f"{self.url}{path} answers {text[:80]!r}: is this a discriminator server?") from None

    def _refusal(self, path: str, error: urllib.error.HTTPError) -> str:
        if 300 <= error.code < 400:
            return f"{self.url}{path} answers with a redirect, which is not followed: give the server's own address"
        text = error.read(2000).decode("utf-8", "replace")
        hint = f"; set {TOKEN_VARIABLE} to the server's token" if error.code == 401 else ""
        return f"{self.url}{path} refused ({error.code}): {text}{hint}"
