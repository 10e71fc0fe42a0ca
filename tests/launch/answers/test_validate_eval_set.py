import json

import pytest

from launch.answers import validate_eval_set
from launch.answers.records import read_generations


@pytest.fixture
def gens(write_rows, record, tmp_path):
    def make(label, texts, name="00001-of-00001.jsonl"):
        write_rows(f"{label}/{name}", [record(text, label=label) for text in texts])
        return str(tmp_path / label)

    return make


def test_the_same_prompts_pass_however_they_are_sharded(gens, capsys):
    whole = gens("a", ["x", "y", "z"])
    gens("b", ["x", "y"], "00001-of-00002.jsonl")
    parts = gens("b", ["z"], "00002-of-00002.jsonl")
    assert validate_eval_set.main([whole, parts]) == 0
    assert "same prompts" in capsys.readouterr().out


def test_order_and_length_count_and_five_mismatches_are_listed(gens, tmp_path, capsys):
    texts = [str(number) for number in range(9)]
    places = [gens("a", texts), gens("b", texts), gens("c", texts[::-1]), gens("d", texts[:-1])]
    report = tmp_path / "report.json"
    assert validate_eval_set.main([*places, "--report", str(report)]) == 1
    outcome = json.loads(report.read_text())
    assert outcome["match"] is False
    assert outcome["counts"] == dict(zip(places, (9, 9, 9, 8), strict=True))
    assert [item["position"] for item in outcome["mismatches"]] == [0, 1, 2, 3, 5]
    assert {item["directory"] for item in outcome["mismatches"]} == {places[2]}
    assert capsys.readouterr().out.count("expected") == 5


def test_a_missing_last_record_is_a_mismatch(gens):
    places = [gens("a", ["x", "y"]), gens("b", ["x"])]
    (item,) = validate_eval_set.compare_eval_sets(places)["mismatches"]
    assert item["found"] is None
    assert item["expected"][1] == 0
    assert validate_eval_set.main(places) == 1
    assert validate_eval_set.main(places[::-1]) == 1


def test_one_directory_cannot_be_compared(gens):
    with pytest.raises(ValueError, match="two or more"):
        validate_eval_set.main([gens("a", ["x"])])


def test_reading_refuses_unfinished_mixed_and_repeated_records(gens, write_rows, record, tmp_path):
    with pytest.raises(ValueError, match="no generations"):
        read_generations(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"missing 00001-of-00002\.jsonl"):
        read_generations(gens("half", ["x"], "00002-of-00002.jsonl"))
    gens("mixed", ["x"])
    with pytest.raises(ValueError, match="different runs"):
        read_generations(gens("mixed", ["x"], "00002-of-00002.jsonl"))
    with pytest.raises(ValueError, match=r"00001-of-00001\.jsonl:2: prompt \w+ sample 0 appears twice"):
        read_generations(gens("twice", ["x", "x"]))
    bare = record("x")
    del bare["capped"]
    write_rows("bare/00001-of-00001.jsonl", [bare])
    with pytest.raises(ValueError, match=":1: no field capped"):
        read_generations(tmp_path / "bare")
