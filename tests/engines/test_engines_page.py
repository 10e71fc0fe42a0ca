"""The page's tables are what the tests recorded."""

from datasets_builders.io import read_object
from tests.engines.record import ENGINES, METHODS, OUTCOMES, record
from tests.engines.table import CELLS, PAGE, page


def test_the_page_shows_what_was_recorded():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, read_object(CELLS)), "run: python -m tests.engines.table"


def test_every_cell_is_whole():
    for method, cells in read_object(CELLS).items():
        assert method in METHODS
        for engine, cell in cells.items():
            assert engine in ENGINES and cell["outcome"] in OUTCOMES
            assert cell["seen"] and cell["versions"] and cell["date"] and "|" not in cell["seen"]


def test_a_record_replaces_its_cell_only(tmp_path, monkeypatch):
    file = tmp_path / "engines.json"
    record("D2PO", "DDP", "ran", "nowhere")  # without the variable: nothing
    monkeypatch.setenv("ENGINES_RECORD", str(file))
    record("D2PO", "DDP", "ran", "first", ("torch", "no-such-package"))
    record("MOODPO", "DDP", "refused", "a reason", ("torch",))
    record("D2PO", "DDP", "ran", "second", ("torch",))
    cells = read_object(file)
    assert cells["D2PO"]["DDP"]["seen"] == "second" and cells["MOODPO"]["DDP"]["outcome"] == "refused"
    assert list(cells["D2PO"]["DDP"]["versions"]) == ["torch"] and list(tmp_path.iterdir()) == [file]
