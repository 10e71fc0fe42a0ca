"""The file of answers: appended, synced, mended after a crash, and never mixed with answers of another kind."""

import json
import os

import pytest

from datasets_builders.teacher.ledger import Ledger, Record, check_settings, read_answers

SETTINGS = {"model": "judge-1", "seed": 42}


def record(name, text="fine <s>70</s>"):
    return Record((name,), text, False, "fake-1", 3, 4, 1, {})


def filled(folder, *names):
    with Ledger(folder, SETTINGS, resume=False) as ledger:
        for name in names:
            ledger.append(record(name))
    return folder / "answers.jsonl"


def names(folder):
    return [key for one in read_answers(folder)[0] for key in one.keys]


def test_answers_come_back(tmp_path):
    text = "half a pair \ud83d is mended before; a line end \u2028 is not one, and é stays"
    with Ledger(tmp_path / "new" / "folder", SETTINGS, resume=False) as ledger:
        ledger.append(record("a", text))
        ledger.append(Record(("b", "c"), "", True, "", None, None, 4, {"b": "cut_off", "c": "cut_off"}))
        written = ledger.records
    assert read_answers(tmp_path / "new" / "folder") == (written, b"")
    assert len((tmp_path / "new" / "folder" / "answers.jsonl").read_text().splitlines()) == 2


def test_each_answer_is_synced_before_append_returns(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    with Ledger(tmp_path, SETTINGS, resume=False) as ledger:
        monkeypatch.setattr(os, "fsync", lambda fd: (real(fd), synced.append(os.fstat(fd).st_size)))
        for number in range(3):
            ledger.append(record(f"key{number}"))
            assert synced[-1] == (tmp_path / "answers.jsonl").stat().st_size
    assert len(synced) == 3 and synced == sorted(set(synced))


def test_a_half_written_last_line_is_kept_aside(tmp_path):
    answers = filled(tmp_path, "a", "b")
    whole = answers.read_bytes()
    answers.write_bytes(whole[:-20])
    assert names(tmp_path) == ["a"]
    assert answers.read_bytes() == whole[:-20]  # looking changes nothing
    with Ledger(tmp_path, SETTINGS, resume=True) as ledger:
        ledger.append(record("c"))
    assert names(tmp_path) == ["a", "c"]
    assert (tmp_path / "answers.cut_off.txt").read_bytes() == whole[:-20].splitlines()[1] + b"\n"


def test_a_last_line_that_lacks_its_end_only_is_an_answer(tmp_path):
    answers = filled(tmp_path, "a", "b")
    answers.write_bytes(answers.read_bytes()[:-1])
    with Ledger(tmp_path, SETTINGS, resume=True) as ledger:
        assert [one.keys for one in ledger.records] == [("a",), ("b",)]
        ledger.append(record("c"))
    assert names(tmp_path) == ["a", "b", "c"]
    assert not (tmp_path / "answers.cut_off.txt").exists()


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"keys": 3}', ""])
def test_a_damaged_line_before_the_last_is_named(tmp_path, line):
    answers = filled(tmp_path, "a", "b")
    first, second = answers.read_text().splitlines()
    answers.write_text(f"{first}\n{line}\n{second}\n")
    with pytest.raises(ValueError, match=r"answers\.jsonl:2: not an answer"):
        read_answers(tmp_path)


def test_a_field_of_another_type_is_no_answer(tmp_path):
    answers = filled(tmp_path, "a")
    row = json.loads(answers.read_text())
    for change in ({"text": None}, {"tries": "1"}, {"keys": [1]}, {"extra": 1}):
        answers.write_text(json.dumps(row | change) + "\n")
        with pytest.raises(ValueError, match=r"answers\.jsonl:1"):
            read_answers(tmp_path)


def test_answers_are_not_gone_on_with_unasked(tmp_path):
    answers = filled(tmp_path, "a")
    before = answers.read_bytes()
    # `caught` keeps the refused ledger alive: its lock must be free because it was released, not because it is gone.
    with pytest.raises(ValueError, match="--resume") as caught:
        Ledger(tmp_path, SETTINGS, resume=False)
    assert answers.read_bytes() == before
    with Ledger(tmp_path, SETTINGS, resume=True) as first:
        pass
    with Ledger(tmp_path, SETTINGS, resume=True) as second:
        assert second.records == first.records and caught


def test_every_other_setting_is_named(tmp_path):
    filled(tmp_path, "a")
    with pytest.raises(ValueError, match=r"model was 'judge-1' and is now 'judge-2'; votes was None and is now 3"):
        check_settings(tmp_path, SETTINGS | {"model": "judge-2", "votes": 3}, resume=True)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match=r"settings\.json is missing"):
        check_settings(tmp_path, SETTINGS, resume=True)


def test_a_folder_without_answers_takes_any_settings(tmp_path):
    filled(tmp_path)
    with Ledger(tmp_path, {"model": "another"}, resume=False):
        assert json.loads((tmp_path / "settings.json").read_text()) == {"model": "another"}


def test_a_folder_has_one_writer(tmp_path):
    with Ledger(tmp_path, SETTINGS, resume=False), pytest.raises(ValueError, match="another run"):
        Ledger(tmp_path, SETTINGS, resume=True)


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    answers = filled(tmp_path, "a")
    before = answers.read_bytes()
    real = os.write

    def short(descriptor, data):
        if len(data) < 40:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:-30])

    with Ledger(tmp_path, SETTINGS, resume=True) as ledger:
        monkeypatch.setattr(os, "write", short)
        with pytest.raises(OSError, match="No space"):
            ledger.append(record("b"))
        monkeypatch.setattr(os, "write", real)
        assert answers.read_bytes() == before
        ledger.append(record("c"))
    assert names(tmp_path) == ["a", "c"]


def test_out_is_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="not a folder"):
        Ledger(tmp_path / "file", SETTINGS, resume=False)
