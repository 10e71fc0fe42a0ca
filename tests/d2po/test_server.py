"""The discriminator's server and client: over real sockets, with a model and with one that only counts."""

import hashlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from launch.d2po import server
from launch.d2po.keeper import Conflict, Keeper
from tests.tiny import build_classifier
from trl_ext.d2po import remote
from trl_ext.d2po.discriminator import DiscriminatorSettings, LabelledPair, load_discriminator
from trl_ext.d2po.remote import RemoteDiscriminator

ROOT = Path(__file__).resolve().parents[2]
needs_fastapi = pytest.mark.skipif(
    not (find_spec("fastapi") and find_spec("uvicorn")), reason="the extra `server` is not installed"
)
PAIRS = [LabelledPair("Why?", "water water", "bread", 2.0), LabelledPair("Who?", "water", "tree", None)]
OTHERS = [LabelledPair("When?", "water tree", "sky", 1.0)]


class Counter:
    """A discriminator whose weights are the texts it was trained on; the number of updates is checked by its keeper."""

    def __init__(self):
        self.learnt, self.working, self.most_at_once, self.trainings = [], 0, 0, 0

    @contextmanager
    def _work(self):
        self.working += 1
        self.most_at_once = max(self.most_at_once, self.working)
        time.sleep(0.05)
        self.working -= 1
        yield

    def score(self, prompts, responses):
        with self._work():
            return [len(self.learnt) + 0.1 * len(response) for response in responses]

    def update(self, pairs, number):
        with self._work():
            self.learnt.append([list(pair) for pair in pairs])
            self.trainings += 1
            if any(pair.prompt == "explode" for pair in pairs):
                raise ValueError("the weights have run away")
            return {"pairs": float(len(pairs)), "number": float(number)}

    def save(self, folder):
        folder.mkdir()
        (folder / "learnt.json").write_text(json.dumps(self.learnt))

    def load(self, folder):
        self.learnt = json.loads((folder / "learnt.json").read_text())

    def digest(self):
        return hashlib.sha256(json.dumps(self.learnt).encode()).hexdigest()


@contextmanager
def serving(keeper: Keeper, token: str | None = None):
    """The server in a thread of this process, on a port that the system chose."""
    import uvicorn

    running = uvicorn.Server(uvicorn.Config(server.build_app(keeper, token), port=0, log_level="critical"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def counted(tmp_path):
    """(keeper, client, url) of a server around a Counter."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    keeper = Keeper(Counter(), tmp_path / "state")
    with serving(keeper) as url:
        yield keeper, RemoteDiscriminator(url, patience_seconds=5), url


# --- the five calls ---------------------------------------------------------------------------------------------------


def test_the_client_is_the_discriminator(counted):
    keeper, client, url = counted
    assert client.score(["a", "b"], ["xx", "xxxx"]) == pytest.approx([0.2, 0.4])
    assert client.score([], []) == []
    assert client.update(PAIRS, 0) == {"pairs": 2.0, "number": 0.0}
    assert keeper.discriminator.learnt == [[list(pair) for pair in PAIRS]]  # margins and None arrive as they are
    assert client.digest() == keeper.discriminator.digest()
    assert json.loads(ask(f"{url}/health")[1]) == {"updates": 1, "digest": client.digest()}
    assert client.update([], 1)["pairs"] == 0.0


def test_long_lists_go_in_parts(counted, monkeypatch):
    keeper, client, _ = counted
    monkeypatch.setattr(remote, "ROWS_PER_REQUEST", 3)
    sizes, score = [], keeper.discriminator.score
    keeper.discriminator.score = lambda prompts, responses: sizes.append(len(prompts)) or score(prompts, responses)
    assert client.score(["a"] * 7, ["x" * n for n in range(7)]) == pytest.approx([0.1 * n for n in range(7)])
    assert sizes == [3, 3, 1]


def test_a_repeated_update_trains_once_and_gives_the_same_answer(counted):
    keeper, client, _ = counted
    first = client.update(PAIRS, 0)
    digest = client.digest()
    assert client.update(PAIRS, 0) == first
    assert keeper.discriminator.trainings == 1 and client.digest() == digest
    with pytest.raises(ValueError, match=r"\(409\).*done with other pairs"):
        client.update(OTHERS, 0)
    with pytest.raises(ValueError, match=r"\(409\).*update number 3: 1 updates are done"):
        client.update(OTHERS, 3)
    assert client.digest() == digest


def test_two_updates_at_once_and_scoring_beside_them(counted):
    """Two ranks send the same update, others score: one training, one piece of work at a time."""
    keeper, client, _ = counted
    answers = []
    tasks = [lambda: answers.append(client.update(PAIRS, 0))] * 2 + [lambda: client.score(["a"], ["b"])] * 4
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"pairs": 2.0, "number": 0.0}] * 2
    assert keeper.discriminator.trainings == 1 and keeper.discriminator.most_at_once == 1


def test_save_and_load_go_back(counted, tmp_path):
    keeper, client, _ = counted
    client.update(PAIRS, 0)
    client.save(tmp_path / "checkpoint")
    digest = client.digest()
    client.update(OTHERS, 1)
    client.update(PAIRS, 2)
    client.load(tmp_path / "checkpoint")
    assert client.digest() == digest and keeper.kept() == [0, 1]
    assert client.update(PAIRS, 1)["number"] == 1.0  # another future
    with pytest.raises(ValueError, match=r"no remote\.json"):
        client.load(tmp_path)
    (tmp_path / "checkpoint" / "remote.json").write_text('{"updates": 9}')
    with pytest.raises(ValueError, match=r"\(409\).*no state after 9 updates is kept, only those after \[0, 1, 2\]"):
        client.load(tmp_path / "checkpoint")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/score", "{not json", "JSON"),
        ("/score", '{"prompts": ["a"], "responses": []}', "one each is needed"),
        ("/score", '{"prompts": ["a"], "responses": [3]}', "valid string"),
        ("/score", '{"prompts": ["a"], "responses": ["b"], "colour": 1}', "colour"),
        ("/score", json.dumps({"prompts": ["a"] * 5000, "responses": ["a"] * 5000}), "at most 4096"),
        ("/score", json.dumps({"prompts": ["a" * 200_001], "responses": ["a"]}), "at most 200000"),
        ("/update", '{"number": -1, "pairs": []}', "number"),
        ("/update", '{"number": "0", "pairs": []}', "number"),
        ("/update", '{"number": 0, "pairs": [{"prompt": "a", "chosen": "b", "rejected": "c", "margin": 0}]}', "margin"),
        (
            "/update",
            '{"number": 0, "pairs": [{"prompt": "a", "chosen": "b", "rejected": "c", "margin": NaN}]}',
            "margin",
        ),
        ("/update", '{"number": 0, "pairs": [{"prompt": "a", "chosen": "b", "rejected": "c"}]}', "margin"),
        ("/restore", "{}", "updates"),
    ],
)
def test_a_bad_body_is_named_and_changes_nothing(counted, path, body, words):
    keeper, _, url = counted
    status, text = ask(url + path, body.encode())
    assert status == 422 and words in text and len(text) < 1000
    assert keeper.updates == 0


def test_an_update_that_fails_leaves_the_last_state(counted):
    keeper, client, _ = counted
    client.update(PAIRS, 0)
    digest = client.digest()
    with pytest.raises(ValueError, match=r"\(422\).*run away"):
        client.update([LabelledPair("explode", "a", "b", 1.0)], 1)
    assert client.digest() == digest == keeper.discriminator.digest() and keeper.kept() == [0, 1]
    assert client.update(OTHERS, 1)["number"] == 1.0


def test_its_own_pages_of_documentation_are_off(counted):
    _, _, url = counted
    assert ask(f"{url}/docs")[0] == ask(f"{url}/openapi.json")[0] == 404


# --- the token --------------------------------------------------------------------------------------------------------


@needs_fastapi
def test_with_a_token_every_request_needs_it(tmp_path, monkeypatch):
    monkeypatch.delenv("D2PO_SERVER_TOKEN", raising=False)
    with serving(Keeper(Counter(), tmp_path / "state"), token="secret") as url:
        for path, body in (("/health", None), ("/score", b"{not json"), ("/update", b"{}"), ("/nowhere", None)):
            assert ask(url + path, body)[0] == 401
            for wrong in ("Bearer secre", "Bearer secret2", "secret", "bearer secret", "Bearer "):
                assert ask(url + path, body, Authorization=wrong)[0] == 401
        assert ask(f"{url}/health", Authorization="Bearer secret")[0] == 200
        with pytest.raises(ValueError, match=r"\(401\).*set D2PO_SERVER_TOKEN"):
            RemoteDiscriminator(url).digest()
        with pytest.raises(ValueError, match=r"\(401\)"):
            RemoteDiscriminator(url, token="wrong").digest()
        assert RemoteDiscriminator(url, token="secret").score(["a"], ["b"])
        monkeypatch.setenv("D2PO_SERVER_TOKEN", "secret")
        assert RemoteDiscriminator(url).update(PAIRS, 0)


def test_only_loopback_does_without_a_token(monkeypatch):
    monkeypatch.delenv("D2PO_SERVER_TOKEN", raising=False)
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        assert server.read_token(host) is None
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org", ""):
        with pytest.raises(ValueError, match="set D2PO_SERVER_TOKEN"):
            server.read_token(host)
        with pytest.raises(ValueError, match="reachable from outside"):  # before anything is loaded
            server.main(["--discriminator", "/nowhere", "--state", "/nowhere", "--host", host])
    monkeypatch.setenv("D2PO_SERVER_TOKEN", "s-ecret")
    assert server.read_token("0.0.0.0") == server.read_token("127.0.0.1") == "s-ecret"
    for token in ("two words", "new\nline", "ümlaut"):
        monkeypatch.setenv("D2PO_SERVER_TOKEN", token)
        with pytest.raises(ValueError, match="no header carries") as caught:
            server.read_token("127.0.0.1")
        assert token not in str(caught.value)


def test_every_setting_has_a_flag():
    options = server.make_parser().parse_args(
        ["--discriminator", "a", "--state", "b", "--loss", "margin", "--epochs", "3"]
    )
    assert (options.host, options.port, options.loss, options.epochs) == ("127.0.0.1", 8765, "margin", 3)
    assert DiscriminatorSettings().model_dump().items() - vars(options).items() == {("loss", "bt"), ("epochs", 1)}


# --- the client -------------------------------------------------------------------------------------------------------


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers with the next of `script`: a status with a body, or None for a connection that is cut."""

    script: list
    seen: list

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Authorization")))
        step = self.script.pop(0)
        if step is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, body = step
        self.send_response(status)
        if status == 302:
            self.send_header("Location", body)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@contextmanager
def scripted(*script):
    handler = type("Handler", (Scripted,), {"script": list(script), "seen": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}", handler
    finally:
        running.shutdown()
        running.server_close()


def test_the_client_tries_again_after_a_cut_line_and_after_5xx(monkeypatch):
    pauses = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    with scripted(None, (503, "busy"), (500, "oops"), (200, "<html>"), (200, '{"digest": "d"}')) as (url, handler):
        client = RemoteDiscriminator(url, patience_seconds=5)
        with pytest.raises(ValueError, match=r"<html>.*is this a discriminator server"):
            client.digest()
        assert client.digest() == "d"
        assert len(handler.seen) == 5 and pauses == pytest.approx([0.1, 0.2, 0.4])


def test_the_client_gives_up_when_its_patience_ends():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=r"no answer in 0\.5 s"):
            RemoteDiscriminator(url, patience_seconds=0.5).digest()
        assert 0.2 < time.monotonic() - start < 3


def test_the_client_takes_no_redirect_and_shows_its_token_to_nobody(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # a proxy would see it too
    with scripted() as (other, stranger), scripted((302, other + "/health"), (404, "?")) as (url, handler):
        client = RemoteDiscriminator(url, token="secret", patience_seconds=5)
        with pytest.raises(ValueError, match="redirect"):
            client.digest()
        with pytest.raises(ValueError, match=r"\(404\)") as caught:
            client.digest()
        assert stranger.seen == [] and handler.seen == [("/health", "Bearer secret")] * 2
        assert "secret" not in str(caught.value)


def test_scores_that_are_none_are_refused():
    with scripted((200, '{"scores": [NaN]}'), (200, '{"scores": [1.0, 2.0]}')) as (url, handler):
        handler.do_POST = handler.do_GET
        for _ in range(2):
            with pytest.raises(ValueError, match="not all of use"):
                RemoteDiscriminator(url, patience_seconds=5).score(["a"], ["b"])


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://a", "http://", "http://me:pass@a", "http://a?b=c"])
def test_no_address(url):
    with pytest.raises(ValueError, match="is valid") as caught:
        RemoteDiscriminator(url)
    assert "pass" not in str(caught.value) and "b=c" not in str(caught.value)


def test_patience_and_lists_of_the_client():
    with pytest.raises(ValueError, match="patience_seconds"):
        RemoteDiscriminator("http://127.0.0.1:1", patience_seconds=0)
    with pytest.raises(ValueError, match="2 prompts and 1 responses"):
        RemoteDiscriminator("http://127.0.0.1:1").score(["a", "b"], ["c"])


# --- states on disk ---------------------------------------------------------------------------------------------------


def test_the_newest_states_and_the_newest_saved_ones_are_kept(tmp_path):
    keeper = Keeper(Counter(), tmp_path, keep=2)
    for number in range(7):
        if number in (1, 2, 3):
            assert keeper.save() == number
        keeper.update(PAIRS, number)
    assert keeper.kept() == [2, 3, 6, 7]
    assert keeper.update(PAIRS, 5) == {"pairs": 2.0, "number": 5.0}
    with pytest.raises(Conflict, match="kept no more"):
        keeper.update(PAIRS, 3)
    keeper.restore(3)
    assert keeper.kept() == [2, 3] and keeper.updates == 3 and len(keeper.discriminator.learnt) == 3


def test_a_folder_has_one_server_and_a_cut_off_state_is_none(tmp_path):
    first = Keeper(Counter(), tmp_path)
    first.update(PAIRS, 0)
    with pytest.raises(ValueError, match="used by another server"):
        Keeper(Counter(), tmp_path)
    first._file_lock.release()
    left = tmp_path / ".update-000002.0123456789ab.tmp"  # what a kill while writing leaves
    (left / "discriminator").mkdir(parents=True)
    again = Keeper(Counter(), tmp_path)
    assert again.updates == 1 and again.discriminator.digest() == first.discriminator.digest()
    assert again.update(PAIRS, 0) == {"pairs": 2.0, "number": 0.0} and again.discriminator.trainings == 0
    again.update(OTHERS, 1)
    assert again.kept() == [0, 1, 2] and not left.exists()


# --- killed and started again -----------------------------------------------------------------------------------------


def start(arguments: list[str], log) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "launch.d2po.server", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)


@needs_fastapi
def test_killed_and_started_again_it_is_where_an_uninterrupted_one_is(tmp_path, monkeypatch):
    """kill -9 after the second update, the third is sent while nothing listens: the weights are the same, bit by bit."""
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.2)
    model = build_classifier(tmp_path / "model", labels=1)
    settings = DiscriminatorSettings(lora_rank=4, learning_rate=1e-2, epochs=2, replay=2, batch_size=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--discriminator", str(model), "--state", str(tmp_path / "state"), "--port", str(port)]
    arguments += [f"--{name}={value}" for name, value in settings.model_dump().items()]
    batches = [PAIRS, OTHERS, PAIRS + OTHERS]
    client = RemoteDiscriminator(f"http://127.0.0.1:{port}", patience_seconds=120)
    with open(tmp_path / "log", "w+") as log:
        process = start(arguments, log)
        try:
            metrics = [client.update(batches[number], number) for number in (0, 1)]
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = start(arguments, log)
            assert client.update(batches[1], 1) == metrics[1]  # the answer was lost, say: it is not trained again
            metrics.append(client.update(batches[2], 2))
            digest, scores = client.digest(), client.score(["Why?"], ["water tree"])
        finally:
            process.kill()
            process.wait()
    local = load_discriminator(str(model), settings)
    # What one process trains with one thread, another with several may round otherwise.
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert [local.update(pairs, number) for number, pairs in enumerate(batches)] == metrics
        assert local.digest() == digest and local.score(["Why?"], ["water tree"]) == scores
    finally:
        torch.set_num_threads(threads)
