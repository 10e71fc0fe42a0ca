"""The page's tables are what the tests recorded."""

import pytest

from datasets_builders.io import read_object
from tests.engines.record import BACKENDS, ENGINES, METHODS, OUTCOMES, VERBS, record
from tests.engines.table import CELLS, PAGE, page


def test_the_page_shows_what_was_recorded():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, read_object(CELLS)), "run: python -m tests.engines.table"


def test_every_cell_is_whole():
    for method, cells in read_object(CELLS).items():
        assert method in METHODS + VERBS
        for engine, cell in cells.items():
            assert engine in (BACKENDS if method in VERBS else ENGINES) and cell["outcome"] in OUTCOMES
            assert cell["seen"] and cell["versions"] and cell["date"] and "|" not in cell["seen"]


def test_a_record_replaces_its_cell_only(tmp_path, monkeypatch):
    file = tmp_path / "engines.json"
    monkeypatch.delenv("ENGINES_RECORD", raising=False)
    record("D2PO", "DDP", "ran", "nowhere")  # without the variable: nothing
    monkeypatch.setenv("ENGINES_RECORD", str(file))
    record("D2PO", "DDP", "ran", "first", ("torch", "no-such-package"))
    record("MOODPO", "DDP", "refused", "a reason", ("torch",))
    record("D2PO", "DDP", "ran", "second", ("torch",))
    cells = read_object(file)
    assert cells["D2PO"]["DDP"]["seen"] == "second" and cells["MOODPO"]["DDP"]["outcome"] == "refused"
    assert list(cells["D2PO"]["DDP"]["versions"]) == ["torch"] and list(tmp_path.iterdir()) == [file]


def test_a_verb_goes_with_back_ends_and_a_method_with_engines():
    with pytest.raises(ValueError, match="'vLLM in process'"):
        record("judge", "DDP", "ran", "seen")
    with pytest.raises(ValueError, match="'ZeRO-2'"):
        record("D2PO", "vLLM in process", "ran", "seen")
