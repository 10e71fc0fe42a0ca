"""A key, however a server repeats it, is in no file, no message and no answer, whichever verb asked."""

import json
from importlib.util import find_spec

import pytest

from datasets_builders.__main__ import main as build
from datasets_builders.secrets import hide_passwords, redact
from datasets_builders.teacher import endpoints
from launch.__main__ import main
from launch.answers import server as server_of_answers
from tests import tiny
from tests.fake_judge import FakeJudge
from tests.fake_server import ECHOES
from tests.launch.generations import generation

needs_api = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("openai", "anthropic", "aiolimiter", "tenacity")),
    reason="the extra `api` is not installed",
)
# Everything that a text format may escape, at both ends and inside.
KEYS = ("sk-plain-key-that-must-not-be-seen-0123456789", '"sk-\'quo"ted\\back/+%&<k>=0123456789\\')
REPLY = "First reply of quality 3."


def hh(folder):
    dialogue = "\n\nHuman: Why {0}?\n\nAssistant: {1}"
    rows = [
        {"chosen": dialogue.format(n, REPLY), "rejected": dialogue.format(n, "Other reply of quality 2.")}
        for n in range(2)
    ]
    return str(tiny.write_rows(folder / "hh.jsonl", rows))


def generate(folder, url):
    prompts = tiny.write_rows(folder / "prompts.jsonl", [{"prompt": "one"}, {"prompt": "two"}])
    flags = ["--backend", "openai", "--base_url", url, "--api_model", "m", "--prompts", str(prompts), "--label", "a"]
    return main(["generate", *flags, "--batch_size", "1", "--out", str(folder / "out")])


def judge(folder, url):
    pairs = tiny.write_rows(folder / "pairs.jsonl", [{"prompt": "q", "chosen": "quality 2", "rejected": "quality 1"}])
    flags = ["--backend", "openai", "--base_url", url, "--api_model", "m", "--pairs", str(pairs)]
    return main(["judge", *flags, "--batch_size", "1", "--out", str(folder / "out")])


def eval_bt(folder, url):
    flags = ["--base_url", url, "--api_model", "m", "--dataset", "anthropic_hh", "--source", hh(folder)]
    return main(["eval-bt", *flags, "--limit", "2", "--batch_size", "1", "--out", str(folder / "out")])


def win_rate(folder, url):
    for side, label in enumerate(("a", "b")):
        (folder / label).mkdir()
        rows = [generation(0, label, response=f"quality {side}")]
        tiny.write_rows(folder / label / "00001-of-00001.jsonl", rows)
    flags = ["--gens", str(folder / "a"), str(folder / "b"), "--base_url", url, "--model", "m", "--concurrency", "1"]
    return main(["win-rate", *flags, "--rpm_limit", "600000", "--max_retries", "1", "--out", str(folder / "out")])


def score(folder, url):
    answers = tiny.write_rows(folder / "answers.jsonl", [{"question": "q", "response": "quality 2"}])
    given = json.dumps({"base_url": url, "model": "m", "rpm_limit": 600000, "concurrency": 1, "max_retries": 1})
    flags = ["--gold", "ultrafeedbackgold", "--gold_arguments", given, "--pay", "--max_failed_share", "1"]
    return main(["score", "--answers", str(answers), *flags, "--out", str(folder / "out")])


def teacher(folder, url, backend="openai"):
    flags = ["--backend", backend, "--model", "m", "--base_url", url, "--source", hh(folder), "--limit", "1"]
    flags += ["--dataset", "anthropic_hh", "--rpm_limit", "600000", "--concurrency", "1", "--max_retries", "1"]
    return build(["teacher", *flags, "--out", str(folder / "out")])


def anthropic(folder, url):
    return teacher(folder, url.removesuffix("/v1"), "anthropic")


ASKED = (generate, judge, eval_bt, win_rate, score, teacher, anthropic)


def told(key: str, folder, capsys) -> str:
    """What is printed and stored; none of the echoes of the key is in it."""
    printed = capsys.readouterr()
    kept = [file.read_text("utf-8") for file in (folder / "out").rglob("*") if file.is_file()]
    everything = "\n".join([printed.out, printed.err, *kept])
    for name, form in ECHOES.items():
        # Within a document that is stored, everything is escaped once more.
        for text in (form(key), json.dumps(form(key))[1:-1], repr(form(key))[1:-1]):
            core = text.strip("\"'\\")[4:-4]  # base64 shares its outermost letters with what stands beside it
            assert core not in everything, (name, text)
    return everything


@needs_api
@pytest.mark.parametrize("asked", ASKED, ids=lambda verb: verb.__name__)
@pytest.mark.parametrize("way", ["echo", "401", "500"])
def test_a_key_that_a_server_repeats_is_not_kept(asked, way, tmp_path, monkeypatch, capsys):
    """In answers, in refusals, and in failures that are tried again; in every form at once, with both keys."""
    monkeypatch.setattr(endpoints, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(server_of_answers, "SERVER_RETRIES", 1)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for number, key in enumerate(KEYS):
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            monkeypatch.setenv(name, key)
        folder = tmp_path / str(number)
        folder.mkdir()
        with FakeJudge(script=[f"{way}:all"] * 24) as server:
            asked(folder, server.url)
            values = {value for headers in server.headers for value in headers.values()}
            assert values & {f"Bearer {key}", key}
        # `score` says of an answer that never came no more than that.
        assert ("***" in told(key, folder, capsys)) != (asked is score and way == "500")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("form", ECHOES)
def test_every_form_of_a_key_is_found_and_nothing_else_is_lost(form, key):
    for deep in (str, json.dumps, repr):
        text = redact(f"before {deep(ECHOES[form](key))} after", key)
        assert text.startswith("before ") and text.endswith(" after") and "***" in text
        assert len(text) <= len("before '***' after") + 16
    assert redact("before sk-plain after", key) == "before sk-plain after"


def test_a_long_run_of_backslashes_costs_no_time_and_an_empty_key_is_none():
    text = "\\" * 100_000
    assert redact(text, KEYS[0]) == text == redact(text, "")


def test_passwords_of_addresses_are_hidden():
    assert hide_passwords("at http://u:S@E@host/v1 or a@b.c") == "at http://***@host/v1 or a@b.c"
