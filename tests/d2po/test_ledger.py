"""The book of labels: on disk before use, never over budget, nothing bought twice, whole after a crash."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from trl_ext.d2po.ledger import LEDGER_FILE, Label, Ledger, price


def label(number: int, gold=(1.0, 0.0)) -> Label:
    return Label(f"prompt {number}", (f"a{number}", f"b{number}"), gold)


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / LEDGER_FILE).read_text().splitlines()]


def test_what_is_written_and_found(tmp_path):
    book = Ledger(tmp_path)
    book.add(label(1, (3.0, 2.5)), window=4, step=9)
    (row,) = rows(tmp_path)
    assert row == {
        "label": 1,
        "labels": 1,
        "window": 4,
        "step": 9,
        "prompt": "prompt 1",
        "responses": ["a1", "b1"],
        "gold": [3.0, 2.5],
    }
    assert book.find("prompt 1", ["a1", "b1"]) == label(1, (3.0, 2.5))
    assert book.find("prompt 1", ["b1", "a1"]).gold == (2.5, 3.0)  # in the order that is asked for
    assert book.find("prompt 1", ["a1", "b2"]) is None and book.find("prompt 2", ["a1", "b1"]) is None


def test_the_budget_counts_over_restarts(tmp_path):
    book = Ledger(tmp_path, max_labels=3)
    book.add(label(1))
    book.add(label(2))
    book.close()
    book = Ledger(tmp_path, max_labels=3)
    assert (book.spent, book.left) == (2, 1)
    book.add(label(3))
    with pytest.raises(ValueError, match="3 labels are spent of --max_labels 3"):
        book.add(label(4))
    assert [row["label"] for row in rows(tmp_path)] == [1, 2, 3]


def test_more_answers_cost_more():
    assert [price(answers) for answers in (2, 3, 4, 8)] == [1, 2, 2, 4]


def test_without_a_limit_nothing_ends(tmp_path):
    assert Ledger(tmp_path).left == float("inf")


def test_a_cut_line_is_dropped_and_named_and_a_damaged_one_is_refused(tmp_path):
    book = Ledger(tmp_path)
    book.add(label(1))
    book.add(label(2))
    book.close()
    path = tmp_path / LEDGER_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    book = Ledger(tmp_path)
    assert book.spent == 1 and '"prompt 2"' in book.repaired
    book.add(label(2))
    book.close()
    assert path.read_bytes() == whole
    path.write_bytes(b"{broken\n" + whole)
    with pytest.raises(ValueError, match=r"d2po_ledger\.jsonl:1: not a gold label"):
        Ledger(tmp_path)


def test_a_whole_last_line_without_its_end_is_not_paid_again(tmp_path):
    book = Ledger(tmp_path)
    book.add(label(1))
    book.add(label(2))
    book.close()
    path = tmp_path / LEDGER_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    book = Ledger(tmp_path)
    assert book.spent == 2 and book.find("prompt 2", ["a2", "b2"]) and not book.repaired
    assert path.read_bytes() == whole


@pytest.mark.parametrize("change", [
    {"labels": -50}, {"labels": 0}, {"labels": True}, {"gold": [float("nan"), 1.0]}, {"gold": [1.0]},
    {"gold": ["1", 2.0]}, {"gold": [1e999, 0.0]}, {"prompt": None}, {"responses": ["a1"]}, {"responses": "ab"},
])  # fmt: skip
def test_a_line_that_nobody_wrote_is_refused(tmp_path, change):
    book = Ledger(tmp_path)
    book.add(label(1))
    book.close()
    path = tmp_path / LEDGER_FILE
    path.write_text(json.dumps(rows(tmp_path)[0] | change) + "\n" + path.read_text())
    with pytest.raises(ValueError, match=r"d2po_ledger\.jsonl:1: not a gold label"):
        Ledger(tmp_path)


def test_gold_that_is_no_number_is_not_written(tmp_path):
    book = Ledger(tmp_path)
    with pytest.raises(ValueError):
        book.add(label(1, (float("nan"), 0.0)))
    assert rows(tmp_path) == [] and book.spent == 0
    book.add(label(1))
    assert Label(**{key: tuple(value) if isinstance(value, list) else value for key, value in rows(tmp_path)[0].items()
                    if key in Label._fields}) == label(1)  # fmt: skip


def test_a_full_disk_leaves_whole_lines(tmp_path):
    """The system's limit on a file's size stands for the disk: the write that hits it is taken back, the next one fits."""
    source = f"""
import resource, signal
from trl_ext.d2po.ledger import Label, Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
book = Ledger({str(tmp_path)!r})
book.add(Label("first", ("a", "b"), (1.0, 0.0)))
size = book.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
try:
    book.add(Label("second", ("a", "b"), (1.0, 0.0)))
except OSError as error:
    print("full", book.spent, book.path.stat().st_size == size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
book.add(Label("third", ("a", "b"), (1.0, 0.0)))
"""
    done = subprocess.run([sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.split() == ["full", "1", "True"], done.stderr
    assert [row["prompt"] for row in rows(tmp_path)] == ["first", "third"]
    assert Ledger(tmp_path).spent == 2


def test_two_runs_do_not_share_a_book(tmp_path):
    held = Ledger(tmp_path)
    source = f"from trl_ext.d2po.ledger import Ledger; Ledger({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1 and "another run is writing there" in done.stderr
    held.close()
    assert subprocess.run([sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True).returncode == 0


def test_a_killed_buyer_leaves_every_label_that_it_was_given(tmp_path):
    source = f"""
import sys
from trl_ext.d2po.ledger import Label, Ledger
book = Ledger({str(tmp_path)!r})
for number in range(10**6):
    book.add(Label(f"prompt {{number}}", ("a", "b"), (1.0, 0.0)))
    print(number, flush=True)
"""
    buyer = subprocess.Popen([sys.executable, "-c", source], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    used = [int(buyer.stdout.readline()) for _ in range(20)]
    os.kill(buyer.pid, signal.SIGKILL)
    used += [int(line) for line in buyer.stdout.read().splitlines() if line.strip()]
    buyer.wait()
    assert Ledger(tmp_path).spent >= len(used)
