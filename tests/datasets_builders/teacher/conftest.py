"""A fake teacher, a key that must not be seen, and a small file of pairs."""

import pytest

from datasets_builders.teacher import endpoints
from tests.datasets_builders.helpers import build, dialogue, dump, load
from tests.fake_teacher import FakeTeacher

# The extra "api", which one of the two environments does without.
PACKAGES = ("openai", "anthropic", "aiolimiter", "tenacity")
KEY = "sk-key-that-must-not-be-seen-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEY)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(endpoints, "FIRST_WAIT", 0.01)


@pytest.fixture
def teacher():
    """teacher(*script, **options): a server that runs until the test ends."""
    for package in PACKAGES:
        pytest.importorskip(package)
    servers = []

    def start(*script, **options):
        servers.append(FakeTeacher(script, **options).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def hh_rows(n):
    return [
        {
            "chosen": dialogue(f"Question {index}?", f"Good answer {index}, sorry."),
            "rejected": dialogue(f"Question {index}?", f"Bad answer {index}, idiot."),
        }
        for index in range(n)
    ]


@pytest.fixture
def source(tmp_path):
    return dump(tmp_path / "hh.jsonl", hh_rows(12))


@pytest.fixture
def collect(tmp_path, source, capsys):
    """collect(server, *flags) -> (exit code, standard output, standard error); the folder is ``collect.out``."""

    def run(server, *flags, backend="openai", n_pairs=4):
        address = server.address + ("/v1" if backend != "anthropic" else "")
        return build(
            capsys, "teacher", "--backend", backend, "--api_model", "judge-1", "--base_url", address, "--source", source,
            "--out", run.out, "--limit", n_pairs, "--rpm_limit", 600000, *flags,
        )  # fmt: skip

    run.out = tmp_path / "collected"
    run.rows = lambda: load(run.out / "results.jsonl")
    run.answers = lambda: load(run.out / "answers.jsonl")
    return run
