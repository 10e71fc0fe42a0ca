import itertools
import json
from contextlib import ExitStack

import pytest

from datasets_builders.teacher import endpoints
from launch.answers import generate
from launch.answers.backends import Item
from launch.answers.prompts import Prompt
from launch.answers.records import read_generations
from launch.answers.server import SERVER_RETRIES, OpenAIBackend
from launch.judge.reward import asker
from launch.scores.score import function_scorer
from tests.fake_server import FakeServer

KEY = "key-that-must-not-be-shown"


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(endpoints, "FIRST_WAIT", 0.01)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with ExitStack() as stack:
        yield lambda *script, **options: stack.enter_context(FakeServer(script, **options))


@pytest.fixture
def prompts_file(write_rows):
    return write_rows("prompts.jsonl", [{"prompt": text} for text in ("one", "two", "an endless one", "four", "five")])


def flags(server, prompts_file, out, *extra):
    return [
        *["--backend", "openai", "--base_url", server.url, "--api_model", "served", "--prompts", prompts_file],
        *["--out", str(out), "--label", "api", "--batch_size", "2", "--max_new_tokens", "7", *extra],
    ]


def test_answers_arrive_after_an_error_and_the_key_is_not_shown(serve, prompts_file, tmp_path, capsys):
    server = serve("500")
    assert generate.main(flags(server, prompts_file, tmp_path, "--system", "Be kind")) == 0
    records = read_generations(tmp_path / "api")
    assert [record["response"] for record in records] == ["ONE", "TWO", "AN ENDLESS ONE", "FOUR", "FIVE"]
    assert [record["capped"] for record in records] == [False, False, True, False, False]
    assert [record["response_tokens"] for record in records] == [0, 0, 3, 1, 1]
    assert [record["prompt_tokens"] for record in records] == [0, 0, 3, 1, 1]
    assert len(server.bodies) == 6
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert all(body["temperature"] == 0 and body["max_tokens"] == 7 for body in server.bodies)
    assert all(body["messages"][0] == {"role": "system", "content": "Be kind"} for body in server.bodies)
    assert [message["role"] for message in records[0]["messages"]] == ["user"]
    written = "".join(path.read_text() for path in (tmp_path / "api").iterdir())
    printed = capsys.readouterr()
    assert KEY not in written + printed.out + printed.err


def test_each_batch_is_on_the_disk_before_the_next(serve, prompts_file, tmp_path, monkeypatch):
    server = serve()
    partial = tmp_path / "api/00001-of-00001.partial.jsonl"
    genuine = OpenAIBackend.draw
    found = []

    def watch(self, items, keep):
        found.append(len(partial.read_text().splitlines()) if partial.exists() else 0)
        if len(found) == 3:
            raise KeyboardInterrupt
        return genuine(self, items, keep)

    monkeypatch.setattr(OpenAIBackend, "draw", watch)
    with pytest.raises(KeyboardInterrupt):
        generate.main(flags(server, prompts_file, tmp_path))
    assert found == [0, 2, 4]
    monkeypatch.setattr(OpenAIBackend, "draw", genuine)
    generate.main(flags(server, prompts_file, tmp_path))
    assert len(server.bodies) == 5
    assert len(read_generations(tmp_path / "api")) == 5


def test_sampling_sends_a_seed_for_each_answer(serve, prompts_file, tmp_path):
    server = serve()
    generate.main(flags(server, prompts_file, tmp_path, "--do_sample", "--temperature", "0.7", "--num_samples", "2"))
    assert len({body["seed"] for body in server.bodies}) == 10
    assert {body["temperature"] for body in server.bodies} == {0.7}


def test_a_refusal_is_reported_without_the_key(serve, prompts_file, tmp_path):
    server = serve(*["401"] * 99)
    with pytest.raises(ValueError, match="AuthenticationError") as error:
        generate.main(flags(server, prompts_file, tmp_path))
    assert KEY not in str(error.value)
    assert error.value.__cause__ is None
    assert not (tmp_path / "api/00001-of-00001.jsonl").exists()


@pytest.mark.parametrize(
    "extra", [["--max_input_length", "5"], ["--repetition_penalty", "1.1"], ["--model", "x"], ["--template", "chatml"]]
)
def test_settings_that_the_server_owns_are_refused(serve, prompts_file, tmp_path, extra):
    with pytest.raises(ValueError, match=extra[0]):
        generate.main(flags(serve(), prompts_file, tmp_path, *extra))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--base_url", "http://u:SECRETSECRET@host/v1"], "holds a password or a query"),
        (["--base_url", "http://[host/v1"], "expected an address"),
        (["--repetition_penalty", "1.1"], "--repetition_penalty"),
    ],
)
def test_what_is_refused_is_not_stored_and_the_corrected_command_goes_on(serve, prompts_file, tmp_path, extra, message):
    command = flags(serve(), prompts_file, tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        generate.main([*command, *extra])
    assert "SECRET" not in str(error.value) and not (tmp_path / "api").exists()
    assert generate.main(command) == 0


def test_a_password_that_an_earlier_version_stored_is_not_shown(serve, prompts_file, tmp_path):
    command = flags(serve(), prompts_file, tmp_path)
    generate.main(command)
    file = tmp_path / "api/generate.json"
    file.write_text(file.read_text().replace("http://", "http://u:SECRET@SECRET@"))
    with pytest.raises(ValueError, match=r"base_url = 'http://\*\*\*@127") as error:
        generate.main(command)
    assert "SECRET" not in str(error.value)


def said(content, reason="stop", **more):
    return {"message": {"role": "assistant", "content": content}, "finish_reason": reason, **more}


HTML = (200, b"<html>Gateway time-out</html>")
ODD = {
    "null": (said(None, "length"), "no_text"),
    "empty": (said(""), "empty"),
    "list": (said([{"type": "text", "text": "x"}]), "text_of_wrong_type"),
    "number": (said(7), "text_of_wrong_type"),
    "no message": ({"message": None}, "no_text"),
    "reason of another type": (said(None, ["length"]), "no_text"),
    "no choices": ((200, json.dumps({"choices": [], "usage": None}).encode()), "no_text"),
    "html": (HTML, "unanswered"),
    "half a body": ((200, b'{"choices": [{"mess'), "unanswered"),
    "choices of another type": ((200, b'{"choices": "none"}'), "unanswered"),
    "too long": ((400, b'{"error": {"message": "the context is too long"}}'), "refused"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_costs_that_answer(serve, write_rows, tmp_path, capsys, name):
    body, kind = ODD[name]
    server = serve(odd={"odd": body})
    file = write_rows("odd.jsonl", [{"prompt": text} for text in ("one", "odd", "two", "three")])
    # All in flight at once; one of four is above the share that is allowed without a word.
    command = flags(server, file, tmp_path, "--batch_size", "4")
    with pytest.raises(
        ValueError, match=rf"1 of 4 answers failed \({kind} 1\).*--max_failed_share 0\.05.*--retry_failed"
    ):
        generate.main(command)
    assert len((tmp_path / "api/00001-of-00001.partial.jsonl").read_text().splitlines()) >= 3
    asked = len(server.bodies)
    assert generate.main([*command, "--max_failed_share", "0.25"]) == 0
    # What came was paid for, and is not asked for again; what was refused or never came is.
    assert len(server.bodies) - asked == {"refused": 1, "unanswered": SERVER_RETRIES + 1}.get(kind, 0)
    assert f"1 of 4 answers failed ({kind} 1)" in capsys.readouterr().out
    records = read_generations(tmp_path / "api")
    assert [record["response"] for record in records if "problem" not in record] == ["ONE", "TWO", "THREE"]
    assert records[1]["problem"].partition(":")[0] == kind
    assert records[1]["response"] == ""
    assert records[1]["capped"] == (name == "null") and records[1]["response_tokens"] >= 0

    server.odd.clear()
    asked = len(server.bodies)
    assert generate.main(command) == 0 and len(server.bodies) == asked
    assert generate.main([*command, "--retry_failed"]) == 0 and len(server.bodies) == asked + 1
    assert [record["response"] for record in read_generations(tmp_path / "api")] == ["ONE", "ODD", "TWO", "THREE"]
    assert not any("problem" in record for record in read_generations(tmp_path / "api"))
    assert sorted(path.name for path in (tmp_path / "api").iterdir()) == ["00001-of-00001.jsonl", "generate.json"]


UNCOUNTED = {"prompt_tokens": -5, "completion_tokens": True}
USABLE = {
    "half_character": (said("half \ud83d of it"), "half ? of it"),
    "no_token_counts": ((200, json.dumps({"choices": [said("x")], "usage": UNCOUNTED}).encode()), "x"),
}


@pytest.mark.parametrize("kind", USABLE)
def test_an_odd_answer_whose_text_can_be_used_has_not_failed(serve, write_rows, tmp_path, capsys, kind):
    """A server may never send counts: nothing would ever be finished, and each retry would be paid for."""
    body, text = USABLE[kind]
    server = serve(odd={"odd": body, "odd too": body})
    command = flags(server, write_rows("odd.jsonl", [{"prompt": "odd"}, {"prompt": "odd too"}]), tmp_path)
    assert generate.main(command) == 0
    assert f"2 of 2 answers are odd but usable ({kind} 2)" in capsys.readouterr().out
    records = read_generations(tmp_path / "api")
    assert [record["response"] for record in records] == [text, text]
    assert {record["problem"] for record in records} == {kind}
    assert generate.main([*command, "--retry_failed"]) == 0 and len(server.bodies) == 2
    if kind == "no_token_counts":
        assert len(function_scorer("brevity")(records)) == 2
        with pytest.raises(ValueError, match=r"label api, prompt .* the server sent no token counts"):
            function_scorer("negative_response_tokens")(records)


@pytest.mark.parametrize("way", ["--retry_failed", None])
def test_what_a_stopped_retry_has_paid_for_is_used_and_read_once(serve, write_rows, tmp_path, way):
    """Two answers failed and were asked for again, one came; both files lie there, and a later start takes it up."""
    server = serve(odd={"two": said(None), "four": said(None)})
    file = write_rows("p.jsonl", [{"prompt": text} for text in ("one", "two", "three", "four")])
    command = flags(server, file, tmp_path, "--max_failed_share", "0.5", "--batch_size", "1")
    assert generate.main(command) == 0
    whole = tmp_path / "api/00001-of-00001.jsonl"
    before = whole.read_text()
    server.odd = {"four": said(None)}
    assert generate.main([*command, "--retry_failed"]) == 0 and len(server.bodies) == 6
    after = whole.read_text()
    # As a kill within that retry leaves them: the old whole file, and beside it the old answers and the new one.
    whole.write_text(before)
    partial = whole.with_name("00001-of-00001.partial.jsonl")
    partial.write_text(before + after.splitlines(keepends=True)[1])
    server.odd = {}
    assert generate.main([*command, way] if way else command) == 0
    assert len(server.bodies) == 6 + bool(way)
    expected = ["ONE", "TWO", "THREE", "FOUR" if way else ""]
    assert [record["response"] for record in read_generations(tmp_path / "api")] == expected
    assert sorted(path.name for path in whole.parent.iterdir()) == ["00001-of-00001.jsonl", "generate.json"]


def test_a_whole_file_is_not_undone_by_older_answers_beside_it(serve, prompts_file, tmp_path):
    """As a kill between the writing of the whole file and the removal of the other one leaves them."""
    command = flags(serve(), prompts_file, tmp_path)
    assert generate.main(command) == 0
    whole = tmp_path / "api/00001-of-00001.jsonl"
    after = whole.read_text()
    failed = {**json.loads(after.splitlines()[0]), "response": "", "problem": "no_text"}
    whole.with_name("00001-of-00001.partial.jsonl").write_text(json.dumps(failed) + "\n")
    assert generate.main(command) == 0 and whole.read_text() == after
    assert len(list(whole.parent.iterdir())) == 2


def test_a_server_that_answers_nobody_ends_the_run_soon(serve, prompts_file, tmp_path):
    server = serve(odd=dict.fromkeys(("two", "an endless one", "four", "five"), HTML))
    command = flags(server, prompts_file, tmp_path, "--batch_size", "1")
    with pytest.raises(ValueError, match=r"3 requests in a row got no answer.*not JSON"):
        generate.main(command)
    assert len(server.bodies) == 1 + 3 * (SERVER_RETRIES + 1)
    server.odd.clear()
    asked = len(server.bodies)
    assert generate.main(command) == 0
    assert len(server.bodies) - asked == 4


def test_half_a_character_in_a_prompt_is_refused_before_anybody_is_asked(serve, tmp_path):
    server = serve()
    (tmp_path / "half.jsonl").write_text('{"prompt": "two"}\n{"prompt": "a \\ud83d b"}\n')
    with pytest.raises(ValueError, match=r"half\.jsonl:2: field 'prompt': character 2 is one half of a surrogate pair"):
        generate.main(flags(server, str(tmp_path / "half.jsonl"), tmp_path))
    assert not server.bodies


def test_a_key_that_comes_back_is_not_kept(serve, write_rows, tmp_path):
    server = serve(odd={"one": said(f"your key is {KEY}")})
    assert generate.main(flags(server, write_rows("one.jsonl", [{"prompt": "one"}]), tmp_path)) == 0
    assert [record["response"] for record in read_generations(tmp_path / "api")] == ["your key is ***"]


def test_a_batch_in_which_somebody_is_answered_is_given(serve):
    """What a reward function asks for: no reward for the odd one, and an error only when nobody is answered."""
    server = serve(odd={"null": said(None), "html": HTML, "long": ODD["too long"][0]})
    backend = OpenAIBackend(server.url, "served", generate.Decoding())
    items = [Item(Prompt(text, [{"role": "user", "content": text}]), 0) for text in ("one", "null", "html", "long")]
    answers = backend.generate(items)
    assert [answer.response for answer in answers] == ["ONE", "", "", ""]
    assert [answer.problem.partition(":")[0] for answer in answers] == ["", "no_text", "unanswered", "refused"]
    assert backend.generate(items[3:])[0].problem.startswith("refused")
    server.script = ["401"] * 9
    with pytest.raises(ValueError, match="AuthenticationError"):
        backend.generate(items[:1])
    backend.close()


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_text_that_is_refused_ends_no_training(serve, batch_size):
    """Nine texts leave the last one alone in its batch of eight; a long prompt is too long with each of its replies."""
    refused = {f"long {n}": ODD["too long"][0] for n in range(5)}
    server = serve(odd=refused)
    backend = OpenAIBackend(server.url, "served", generate.Decoding())
    ask = asker(lambda: backend, batch_size)
    assert ask([*"abcdefgh", "long 0"]) == [*"ABCDEFGH", ""]
    assert ask(list(refused)) == [""] * 5
    server.odd = dict.fromkeys("abc", HTML)
    assert ask(["a", "b", "d", "c"]) == ["", "", "D", ""]
    with pytest.raises(ValueError, match=r"requests to the judge in a row got no answer; unanswered"):
        ask(["a", "b", "c"])
    server.script = ["401"] * 9
    with pytest.raises(ValueError, match="AuthenticationError"):
        ask(["x"])
    # Nothing has ever been answered: the setting is wrong, not the texts.
    server.script = ["400"] * 9
    with pytest.raises(ValueError, match=r"[35] requests to the judge in a row"):
        asker(lambda: backend, batch_size)(list("vwxyz"))
    backend.close()


class Reasoning(FakeServer):
    """A gateway in front of a model that knows the new name of the limit of tokens only."""

    def oddity(self, body):
        told = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return (400, json.dumps({"error": {"message": told}}).encode()) if "max_tokens" in body else {}


def test_a_reasoning_model_is_asked_with_the_limit_that_it_knows(serve, prompts_file, tmp_path):
    with Reasoning() as server:
        assert generate.main(flags(server, prompts_file, tmp_path, "--batch_size", "1")) == 0
    assert next(record["response"] for record in read_generations(tmp_path / "api")) == "ONE"
    # The first refusal was enough: 5 prompts, 6 requests.
    assert ["max_tokens" in body for body in server.bodies] == [True] + [False] * 5
    assert {body["max_completion_tokens"] for body in server.bodies[1:]} == {7}


def test_a_server_is_asked_at_the_pace_that_was_given(serve, prompts_file, tmp_path):
    server = serve("429")
    assert generate.main(flags(server, prompts_file, tmp_path, "--batch_size", "5", "--rpm_limit", "600")) == 0
    times = sorted(server.times)
    # A tenth of a second apart; the refused request waited for the second that the server asked for.
    assert all(later - sooner > 0.08 for sooner, later in itertools.pairwise(times))
    assert len(times) == 6 and times[-1] - times[0] > 0.95
