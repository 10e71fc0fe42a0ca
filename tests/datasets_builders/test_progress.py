"""The bar of all long commands: an estimate on a terminal and in a log, nothing for short work."""

import io
import re
import sys

import pytest

from datasets_builders import progress as module
from datasets_builders.progress import about, left, progress
from tests.conftest import REPOSITORY


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(total, done=0, **how):
    with progress(total, "scores", "answers", done, **how) as bar:
        for _ in range(total - done):
            bar.update()


def test_a_log_has_lines_with_what_is_left(monkeypatch, capsys):
    monkeypatch.setattr(module, "BETWEEN_LINES", 0)
    work(5, done=2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" answers, ")[0] for line in lines] == [f"scores: {done} of 5" for done in (2, 3, 4, 5)]
    assert all("\r" not in line and " gone, " in line and line.endswith(" left") for line in lines)
    assert lines[-1].startswith("scores: 5 of 5 answers")


def test_a_terminal_has_one_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setattr(module, "SILENT", 0)
    work(4)
    assert "100%|" in screen.getvalue() and "4 of 4 answers, 00:00 left" in screen.getvalue()
    assert screen.getvalue().count("\n") == 1


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_short_work_and_hidden_bars_say_nothing(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", said := stream())
    work(3)
    monkeypatch.setattr(module, "SILENT", 0)
    monkeypatch.setattr(module, "BETWEEN_LINES", 0)
    work(3, shown=False)
    assert said.getvalue() == ""


def test_steps_that_announce_themselves_say_what_is_left():
    assert left(0, 4, 9.0) == "0 of 4" and left(4, 4, 9.0) == "4 of 4"
    assert left(1, 4, 20.0) == "1 of 4, about 60 s left" and left(2, 12, 600.0) == "2 of 12, about 50 min left"
    assert [about(5 * 3600), about(3 * 86400), about(0.4)] == ["about 5 h", "about 3 d", "about 0 s"]


def test_there_is_one_bar():
    """Another one would say nothing in a log, or overwrite itself there."""
    sources = [
        file
        for room in ("datasets_builders", "trl_ext", "swift_ext", "launch")
        for file in (REPOSITORY / room).rglob("*.py")
    ]
    found = {
        file.relative_to(REPOSITORY).as_posix()
        for file in sources
        if re.search(r"(import|from) tqdm", file.read_text())
    }
    typed = {"datasets_builders/teacher/command.py"}  # names its type
    assert found - typed == {"datasets_builders/progress.py"}
