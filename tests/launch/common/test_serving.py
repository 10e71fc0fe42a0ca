"""What both servers refuse, byte by byte over real sockets: names of strangers, other sites' pages, too much."""

import json
import socket
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from launch.answers.backends import Decoding
from launch.common.serving import check_host, is_loopback
from launch.d2po import server
from launch.d2po.keeper import Keeper
from launch.moodpo import page
from tests.d2po.test_server import Counter, serving

MOST = 2000
needs_gradio = pytest.mark.skipif(not find_spec("gradio"), reason="the extra `ui` is not installed")
needs_server = pytest.mark.skipif(not find_spec("uvicorn"), reason="the extra `server` is not installed")


@contextmanager
def discriminator_server(folder):
    with serving(Keeper(Counter(), folder)) as url:
        yield int(url.rpartition(":")[2])


@contextmanager
def steering_page(_):
    built = page.build_page(page.Desk(None, ("brevity", "wit"), Decoding()))
    try:
        yield int(page.serve(built, "127.0.0.1", None, None).rstrip("/").rpartition(":")[2])
    finally:
        built.close(verbose=False)


SERVERS = {
    "discriminator": (discriminator_server, "/health", "/score", '{"prompts": ["a"], "responses": ["b"]}'),
    "page": (
        steering_page,
        "/config",
        "/gradio_api/queue/join",
        '{"data": [], "fn_index": 0, "session_hash": "visitor"}',
    ),
}


@pytest.fixture(
    scope="module",
    params=[pytest.param("discriminator", marks=needs_server), pytest.param("page", marks=needs_gradio)],
)
def running(request, tmp_path_factory):
    """(port, path of a GET, path of a POST, its body) of a server that takes at most MOST bytes."""
    serve, *rest = SERVERS[request.param]
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr(server, "MOST_BYTES", MOST)
        limits.setattr(page, "MOST_BYTES", MOST)
        with serve(tmp_path_factory.mktemp("state") / "kept") as port:
            yield port, *rest


def status(port: int, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
    """The status of the answer to exactly these bytes."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + body)
        return int(connection.recv(100).split()[1])


def chunks(body: bytes, size: int = 500) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:7860", 200), ("127.9.9.9:80", 200),
        ("evil.example", 400), ("127.0.0.1.evil.example", 400), ("localhost.evil.example:80", 400), ("0.0.0.0", 400),
        ("192.168.1.4", 400), ("[fe80::1]", 400), ("[", 400), ("", 400),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(running, host, expected):
    port, path, post, body = running
    assert status(port, "GET", path, {"Host": host}) == expected
    headers = {"Host": host, "Content-Type": "application/json", "Content-Length": str(len(body))}
    assert status(port, "POST", post, headers, body.encode()) == expected


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "http://[", "file://"])
def test_pages_of_other_sites_are_not(running, origin):
    port, path, post, body = running
    host = f"127.0.0.1:{port}"
    assert status(port, "GET", path, {"Host": host, "Origin": origin}) == 403
    headers = {"Host": host, "Content-Type": "application/json", "Content-Length": str(len(body))}
    assert status(port, "POST", post, {**headers, "Origin": origin}, body.encode()) == 403
    assert status(port, "POST", post, {**headers, "Origin": f"http://{host}"}, body.encode()) == 200


def test_what_arrives_is_counted_whatever_the_headers_say(running):
    port, _, post, body = running
    host = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json"}
    chunked = {**host, "Transfer-Encoding": "chunked"}
    long = b'{"prompts": ["' + b"a" * MOST
    assert status(port, "POST", post, {**host, "Content-Length": str(MOST + 1)}, long) == 413
    assert status(port, "POST", post, chunked, chunks(long)) == 413
    assert status(port, "POST", post, chunked, chunks(long).removesuffix(b"0\r\n\r\n")) == 413  # before it ends
    assert status(port, "POST", post, {"Content-Length": "5", **chunked}, chunks(long)) == 400
    assert status(port, "POST", post, chunked, chunks(body.encode())) == 200


@needs_gradio
def test_the_page_counts_characters_itself(monkeypatch):
    """A program that skips the text box gets no longer prompt to the model than a visitor."""
    monkeypatch.setattr(page, "MOST_BYTES", 2**20)
    with steering_page(None) as port:
        base = f"http://127.0.0.1:{port}"
        config = json.load(urllib.request.urlopen(f"{base}/config", timeout=20))
        generate = next(one for one in config["dependencies"] if len(one["inputs"]) == 5)
        data = [None, "a" * (page.LONGEST_PROMPT + 1), 0, 50, 50]
        call = {"data": data, "fn_index": generate["id"], "session_hash": "visitor"}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{base}/gradio_api/queue/join", json.dumps(call).encode(), headers)
        urllib.request.urlopen(request, timeout=20).close()
        with urllib.request.urlopen(f"{base}/gradio_api/queue/data?session_hash=visitor", timeout=20) as events:
            told = next(line for line in events if b"process_completed" in line).decode()
        assert "at most 20000 are taken" in told and "aaaa" not in told


def test_others_are_let_in_with_a_secret_only():
    for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost", "LOCALHOST"):
        assert is_loopback(host)
        check_host(host, False, "set SECRET")
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org", ""):
        check_host(host, True, "set SECRET")
        with pytest.raises(ValueError, match=r"reachable from outside: set SECRET, or use --host 127\.0\.0\.1"):
            check_host(host, False, "set SECRET")
