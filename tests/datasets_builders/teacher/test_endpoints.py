"""The clients against a server that fails in every way: retries, pacing, and a key that nobody gets to see."""

import asyncio
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.util import find_spec

import pytest

from datasets_builders.scoring.prompts import get_prompt
from datasets_builders.teacher import clients
from datasets_builders.teacher.access import Access, find_access
from datasets_builders.teacher.answers import SHOWN_CHARACTERS, Refused, retry_after
from datasets_builders.teacher.clients import AnthropicClient, OpenAIClient, question
from datasets_builders.teacher.endpoints import Endpoint, Stopped, Unanswered
from tests.datasets_builders.teacher.conftest import KEY, PACKAGES

USER = get_prompt("hh_score100_v1")("Human: q", "an answer")
BACKENDS = ("openai", "anthropic")

pytestmark = pytest.mark.skipif(not all(map(find_spec, PACKAGES)), reason="the extra `api` is not installed")


def ask(server, backend, times=1, max_retries=8, rpm_limit=600000, stop_after=None, timeout=600.0, **options):
    """Answers to the same request, asked one after another."""
    access = Access(server.address + ("/v1" if backend == "openai" else ""), KEY)
    client = (OpenAIClient if backend == "openai" else AnthropicClient)(access, "judge-1", timeout=timeout, **options)

    async def main():
        endpoint = Endpoint(client, rpm_limit=rpm_limit, max_retries=max_retries)
        if stop_after is not None:
            asyncio.get_running_loop().call_later(stop_after, endpoint.stop)
        try:
            return [await endpoint.ask(question("Be strict.", USER)) for _ in range(times)]
        finally:
            await client.close()

    return asyncio.run(main())


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_may_pass_is_tried_again(teacher, backend):
    server = teacher("500", "cut", "429", "json", "shapeless", "ok")
    (answer,) = ask(server, backend)
    assert answer.tries == 6 == len(server.bodies)
    assert answer.text == server.judge(USER)
    assert (answer.tokens_in, answer.tokens_out) == (len(USER) // 4, len(answer.text) // 4)
    assert answer.model == "fake-1" and not answer.cut_off
    # The 429 asked for a second.
    assert server.times[3] - server.times[2] >= 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("status", ["400", "401", "404"])
def test_a_refusal_is_not_tried_again_and_shows_no_key(teacher, backend, status):
    """The server repeats all headers in its message, and with them the key."""
    server = teacher(status)
    with pytest.raises(Refused, match=r"127\.0\.0\.1") as caught:
        ask(server, backend)
    assert len(server.bodies) == 1
    assert KEY in str(server.headers)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert "***" in str(caught.value) or len(str(caught.value)) == SHOWN_CHARACTERS
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["500", "cut", "json"])
def test_retries_end(teacher, backend, way):
    server = teacher(*[way] * 9)
    with pytest.raises(Unanswered, match="sent 3 times") as caught:
        ask(server, backend, max_retries=2)
    assert len(server.bodies) == 3
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_that_answers_too_slowly_is_asked_again(teacher, backend):
    (answer,) = ask(teacher("slow", "ok"), backend, timeout=0.5)
    assert answer.tries == 2


def test_no_connection_is_tried_again():
    with pytest.raises(Unanswered, match="sent 2 times"):
        ask(type("Nobody", (), {"address": "http://127.0.0.1:9"}), "openai", max_retries=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_sent(teacher, backend):
    server = teacher()
    ask(server, backend)
    extra = {"max_tokens": 77} | ({"temperature": 0.5} if backend == "openai" else {})
    ask(server, backend, **extra)
    plain, given = server.bodies
    user = {"role": "user", "content": USER}
    if backend == "openai":
        assert plain == {"model": "judge-1", "messages": [{"role": "system", "content": "Be strict."}, user]}
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    else:
        assert plain == {"model": "judge-1", "messages": [user], "system": "Be strict.", "max_tokens": 4096}
    assert given == plain | extra


def test_the_limit_of_tokens_has_another_name_at_openai():
    client = OpenAIClient(Access("https://api.openai.com/v1", KEY), "m", max_tokens=5)
    assert client._options == {"model": "m", "max_completion_tokens": 5}


@pytest.mark.parametrize("backend", BACKENDS)
def test_odd_answers(teacher, backend):
    echoed, limited, empty = ask(teacher("echo", "limit", "empty"), backend, times=3)
    assert KEY not in echoed.text and "***" in echoed.text
    assert limited.cut_off and not echoed.cut_off
    assert empty.text == ""


def test_requests_are_evenly_spaced(teacher):
    server = teacher("500")
    ask(server, "openai", times=4, rpm_limit=600)
    assert len(server.times) == 5
    assert server.times[-1] - server.times[0] > 0.3


@pytest.mark.parametrize(("script", "rpm_limit"), [(["429"] * 9, 600000), ([], 1)])
def test_stopping_ends_the_waiting(teacher, script, rpm_limit):
    """The wait before a retry, and the wait for one's turn."""
    server = teacher(*script)
    with pytest.raises(Stopped):
        ask(server, "openai", times=2, rpm_limit=rpm_limit, stop_after=0.3)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7), ("0.5", 0.5), ("-3", 0), ("nan", 0), ("inf", 0), ("soon", 0), ("", 0)]
)
def test_retry_after_in_numbers(text, seconds):
    assert retry_after({"retry-after": text}) == seconds


def test_retry_after_as_a_date():
    assert retry_after({}) == 0
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 27 < retry_after({"retry-after": later}) <= 30
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


def test_where_requests_go():
    env = {"OPENAI_API_KEY": f" {KEY}\n", "OPENAI_BASE_URL": "http://here/v1"}
    assert find_access("openai", None, env) == Access("http://here/v1", KEY)
    assert find_access("openai", "http://there/v1", env).base_url == "http://there/v1"
    assert find_access("openai", "http://there:8000/v1", {}) == Access("http://there:8000/v1", "")
    assert find_access("anthropic", "http://gateway", {}).key == ""
    assert find_access("anthropic", None, {"ANTHROPIC_API_KEY": KEY}).base_url == "https://api.anthropic.com"
    gemini = find_access("gemini", None, {"GEMINI_API_KEY": KEY, "OPENAI_BASE_URL": "http://here/v1"})
    assert gemini.host == "generativelanguage.googleapis.com"
    assert KEY not in repr(gemini)


@pytest.mark.parametrize(
    ("backend", "base_url", "env", "named"),
    [
        ("openai", None, {}, "OPENAI_BASE_URL"),
        ("openai", "https://api.openai.com/v1", {}, "OPENAI_API_KEY"),
        ("anthropic", None, {"OPENAI_API_KEY": KEY}, "ANTHROPIC_API_KEY"),
        ("gemini", None, {}, "GEMINI_API_KEY"),
        ("openai", "localhost:8000", {}, "http://"),
        ("openai", f"http://user:{KEY}@host/v1", {}, "password"),
        ("gemini", f"https://host/v1?key={KEY}", {}, "query"),
        ("openai", "http://host", {"OPENAI_API_KEY": f"{KEY}é"}, "OPENAI_API_KEY"),
        ("openai", "http://host", {"OPENAI_API_KEY": f"{KEY}\n{KEY}"}, "OPENAI_API_KEY"),
    ],
)
def test_a_wrong_address_or_key_is_refused_without_showing_it(backend, base_url, env, named):
    with pytest.raises(ValueError, match=named) as caught:
        find_access(backend, base_url, env)
    assert KEY not in str(caught.value)


def test_a_placeholder_is_no_secret():
    assert Access("http://x", "EMPTY").redact_answer("an EMPTY reply") == "an EMPTY reply"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(clients, "import_module", lambda name: __import__("no_such_package"))
    with pytest.raises(ValueError, match=r"needs the package anthropic: .*\[api\]"):
        AnthropicClient(Access("http://x", KEY), "m")
