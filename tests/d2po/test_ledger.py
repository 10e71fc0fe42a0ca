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
    assert row == {"label": 1, "labels": 1, "window": 4, "step": 9, "prompt": "prompt 1", "responses": ["a1", "b1"], "gold": [3.0, 2.5]}
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
    with pytest.raises(ValueError, match="line 1 is damaged"):
        Ledger(tmp_path)


def test_two_runs_do_not_share_a_book(tmp_path):
    held = Ledger(tmp_path)
    source = f"from trl_ext.d2po.ledger import Ledger; Ledger({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1 and "is held by another run" in done.stderr
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
