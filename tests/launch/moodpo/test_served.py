"""A steered policy behind a server: the weights are written here, and what the server decides is refused."""

import json

import pytest

from launch.__main__ import main
from launch.answers.backends import Decoding
from launch.moodpo.page import Desk
from launch.moodpo.served import ServedPolicy
from launch.moodpo.steered import load_form
from tests.fake_server import FakeServer
from tests.launch.moodpo.conftest import NAMES
from trl_ext.moodpo.instruction import annotate

TEXT = "Tell me how to plant a tree."


@pytest.fixture
def server(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-a-test")
    with FakeServer() as one:
        yield one


def steer(base, *more):
    return main(["steer", "--model", str(base), "--objectives", *NAMES, "--weights", f"{NAMES[0]}=1", *more, TEXT])


def test_the_server_is_asked_the_prompt_that_training_wrote(base, server, capsys):
    assert steer(base, "--base_url", server.url, "--api_model", "tuned", "--temperature", "0.7", "--seed", "3") == 0
    asked = annotate([{"role": "user", "content": TEXT}], NAMES, (1.0, 0.0), system_role=True)
    assert [body["messages"] for body in server.bodies] == [asked] and len(asked) == 2
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tuned", 0.7, 128) and "seed" in body
    assert capsys.readouterr().out == TEXT.upper() + "\n"


def test_the_page_shows_what_the_server_answers(base, server):
    desk = Desk(ServedPolicy(load_form(str(base)), server.url, "tuned"), NAMES, Decoding(max_new_tokens=4))
    (card,) = desk.generate([], "why", (70, 30))
    assert card.answer == "WHY" and "70%" in json.dumps(server.bodies[0]["messages"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--torch_dtype", "float32"], "--torch_dtype: the server decides this"),
        (["--backend", "vllm"], "belong to --backend openai"),
        (["--backend", "transformers"], "belong to --backend openai"),
    ],
)
def test_what_a_server_decides_is_refused(base, server, capsys, more, message):
    assert steer(base, "--base_url", server.url, "--api_model", "tuned", *more) == 2
    assert message in capsys.readouterr().err and not server.bodies


def test_a_policy_that_reads_texts_is_refused(base, server):
    form = load_form(str(base))
    form.has_template = False
    with pytest.raises(ValueError, match=r"reads plain texts.*--print_prompt"):
        ServedPolicy(form, server.url, "tuned")


def test_a_server_that_refuses_is_an_error(base, monkeypatch, capsys):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-a-test")
    with FakeServer(["400"] * 9) as refusing:
        assert steer(base, "--base_url", refusing.url, "--api_model", "tuned") == 2
    assert "BadRequest" in capsys.readouterr().err
