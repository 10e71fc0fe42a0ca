"""Score files are read by one guard: what is no finite number is refused by every verb, with its file and line."""

import json

import pytest

from launch.__main__ import main
from launch.doctor.spread import read_samples
from launch.moodpo.pareto_draw import read_tables
from launch.moodpo.points import Point
from launch.scores.score_files import is_number, prompt_means, read_score_file, read_scores

NOT_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "1" + 400 * "0", "true", '"0.5"', "[1]"]


def write_scores(folder, label, first="0.5", **fields):
    """Two prompts; `first` is the JSON text of the first score."""
    folder.mkdir(parents=True, exist_ok=True)
    common = {"sample": 0, "words": 3, "response_tokens": 6, "capped": False, "prompt_truncated": False}
    lines = [
        json.dumps({"prompt_id": prompt, **common, "scores": {"x": "FIRST", "y": 1.0}, **fields}) for prompt in "ab"
    ]
    lines[1] = lines[1].replace('"FIRST"', "0.25")
    (folder / f"{label}.jsonl").write_text("\n".join(lines).replace('"FIRST"', first) + "\n")


def verbs(good, bad, out):
    """Command lines that read both folders or labels; the bad one is read last."""
    files = [str(bad / f"{label}.jsonl") for label in ("one", "two")]
    return {
        "report": ["report", "--scores", str(bad), "--labels", "one", "two", "--reference", "one", "--x", "x", "--y", "y",
                   "--out", str(out)],
        "compare-runs": ["compare-runs", "--old", str(good), "--new", str(bad), "--out", str(out)],
        "conflicts": ["conflicts", "--scores", *files, "--objectives", "x", "y", "--out", str(out)],
    }  # fmt: skip


@pytest.mark.parametrize("text", NOT_NUMBERS)
@pytest.mark.parametrize("verb", ["report", "compare-runs", "conflicts"])
def test_what_is_no_finite_number_is_refused_by_every_verb(tmp_path, capsys, verb, text):
    good, bad, out = tmp_path / "good", tmp_path / "bad", tmp_path / "out"
    for folder in (good, bad):
        write_scores(folder, "one")
        write_scores(folder, "two", text if folder == bad else "0.5")
    assert main(verbs(good, bad, out)[verb]) == 2
    message = capsys.readouterr().err
    assert f"{bad / 'two.jsonl'}:1: prompt a sample 0: the score 'x' is " in message
    assert "not a finite number" in message and not out.exists()


@pytest.mark.parametrize("verb", ["report", "compare-runs", "conflicts"])
def test_finite_scores_are_taken_and_what_is_written_is_json(tmp_path, verb):
    good, bad, out = tmp_path / "good", tmp_path / "bad", tmp_path / "out"
    for folder in (good, bad):
        for label in ("one", "two"):
            write_scores(folder, label, "7" if label == "two" else "-0.5e-3")
    assert main(verbs(good, bad, out)[verb]) == 0
    for file in out.glob("*.json"):
        json.loads(file.read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("verb", ["report", "compare-runs", "conflicts"])
def test_an_answer_without_the_score_is_named(tmp_path, capsys, verb):
    good, bad, out = tmp_path / "good", tmp_path / "bad", tmp_path / "out"
    for folder in (good, bad):
        write_scores(folder, "one")
        write_scores(folder, "two", "null" if folder == bad else "0.5")
    assert main(verbs(good, bad, out)[verb]) == 2
    message = capsys.readouterr().err
    assert "prompt a" in message and "no score 'x'" in message


def test_sums_that_overflow_are_no_json(tmp_path, capsys):
    """Each score is finite; their difference is not."""
    for folder, label in (("old", "1.7e308"), ("new", "-1.7e308")):
        write_scores(tmp_path / folder, "one", label)
    argv = ["compare-runs", "--old", str(tmp_path / "old"), "--new", str(tmp_path / "new"), "--out"]
    assert main([*argv, str(tmp_path / "out")]) == 2
    assert f"{tmp_path}/out/comparison.json: cannot be written as JSON" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"words": float("nan")}, "the words is nan, not a finite number"),
        ({"response_tokens": "six"}, "the response_tokens is 'six', not a finite number"),
        ({"scores": 1.0}, "scores is 1.0, not names with their numbers"),
        ({"prompt_id": ["a"]}, "prompt_id is a text and sample a whole number"),
        ({"sample": "0"}, "prompt_id is a text and sample a whole number"),
    ],
)
def test_rows_that_are_no_scores(tmp_path, fields, message):
    write_scores(tmp_path, "one", **fields)
    with pytest.raises(ValueError, match=rf"one\.jsonl:1: .*{message}"):
        read_scores(tmp_path, ["one"])


def test_a_field_that_is_missing_is_named(tmp_path):
    write_scores(tmp_path, "one")
    file = tmp_path / "one.jsonl"
    file.write_text(file.read_text().replace('"capped": false, ', ""))
    assert len(read_score_file(file)) == 2
    with pytest.raises(ValueError, match=r"one\.jsonl:1: no field 'capped'"):
        read_scores(tmp_path, ["one"])
    file.write_text("\n")
    with pytest.raises(ValueError, match="no rows"):
        read_score_file(file)


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_the_picture_of_policies_and_the_doctor_read_by_the_same_guard(tmp_path, text):
    points = [Point("untouched", "untouched", "untouched", None, None, ())]
    write_scores(tmp_path / "scores", "untouched", text)
    with pytest.raises(
        ValueError, match=r"untouched\.jsonl:1: prompt a sample 0: the score 'x' is .*not a finite number"
    ):
        read_tables(tmp_path, ["x", "y"], points)
    write_scores(tmp_path / "scores", "untouched", "null")
    assert read_tables(tmp_path, ["x", "y"], points)[1] == 1
    with pytest.raises(ValueError, match="no score 'z'"):
        read_tables(tmp_path, ["x", "z"], points)
    samples = tmp_path / "samples.jsonl"
    samples.write_text(f'{{"rewards": [1.0, null, {text}]}}\n')
    with pytest.raises(ValueError, match=r"samples\.jsonl:1: .* among the samples is neither a finite number nor null"):
        read_samples(samples)


def test_numbers():
    assert all(map(is_number, (0, -1.5, 10**300, 1e308)))
    assert not any(map(is_number, (True, None, "1", float("nan"), float("inf"), 10**400)))
    rows = {("a", 0): {"scores": {"x": 1}}, ("a", 1): {"scores": {"x": 2}}}
    assert prompt_means(rows, "x", ["a"]) == [1.5]
