"""Supervised rows: the prompt's own style whatever the teacher's, one tag, nothing of another split or scale."""

import json
import re
from pathlib import Path

import pytest

from datasets_builders.files.find import report_file
from datasets_builders.scoring.parsers import SCORE5, SCORE100
from datasets_builders.scoring.prompts import PROMPTS, get_prompt
from datasets_builders.teacher_sft import clean_reason, compose_answer
from tests.datasets_builders.helpers import build, dump, load

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "teacher.json").read_text(encoding="utf-8"))
FIRST = {"score100": get_prompt("hh_score100_v1"), "score5": get_prompt("hh_score5_v1")}
TAG = re.compile(r"<s>", re.I)

MENDED_ANSWERS = {
    # Recorded: the decimal tag was not seen, and the answer got a second one.
    "clear <s>3.5</s>": "<s>3.5</s> clear",
    # Recorded: a reason-first text was left as it was under a score-first prompt, without the decimal of the scale.
    "clear <s>4</s>": "<s>4.0</s> clear",
}


@pytest.mark.parametrize("case", VECTORS["build_assistant_response"], ids=lambda case: case["reasoning"])
def test_recorded_answers(case):
    """The recorded answers have a space where the prompts here ask for a new line."""
    answer = compose_answer(FIRST[case["scale"]], case["score"], case["reasoning"])
    assert answer.replace("\n", " ") == MENDED_ANSWERS.get(case["reasoning"], case["out"])
    assert answer.count("\n") == (" " in MENDED_ANSWERS.get(case["reasoning"], case["out"]))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<s>75</s>\nClear.", "Clear."),
        ("Clear.\n<s>75</s>", "Clear."),
        ("Clear. **<s>75</s>**", "Clear."),
        ("=== EVAL 3 ===\nClear.", "Clear."),
        ("**=== RESPONSE B ===**\nClear. <s> 7 </s>", "Clear."),
        ("Score: 75\nClear.", "Clear."),
        ("**Score:** 75/100. Clear.", "Clear."),
        ("Overall rating - 75: Clear.", "Clear."),
        ("Score: <s>75</s>\nClear.", "Clear."),
        ("Clear.\n**Score:** <s>75</s>", "Clear."),
        ("Clear.\nFinal score: 75", "Clear."),
        ("Clear. Score: 75/100.", "Clear."),
        ("75 - Clear.", "Clear."),
        ("75. Clear.", "Clear."),
        ("3.5: Clear.", "Clear."),
        ("75/100, clear.", "clear."),
        ("75\nClear.", "Clear."),
        ("<s>75</s> - Clear.", "Clear."),
        ("<s>75</s>: Score: 75. Clear.", "Clear."),
        ("75", ""),
        ("<s>75</s>", ""),
        ("", ""),
        # What looks like a score and is none.
        ("2 reasons speak for it.", "2 reasons speak for it."),
        ("10-year-olds could read it.", "10-year-olds could read it."),
        ("3.5 stars is what it deserves.", "3.5 stars is what it deserves."),
        ("5-10 words are missing.", "5-10 words are missing."),
        ("2024, the year, is wrong.", "2024, the year, is wrong."),
        ("The score: 75 to 60, is right.", "The score: 75 to 60, is right."),
        ("It names the score: 75 in the reply, rightly.", "It names the score: 75 in the reply, rightly."),
        ("Scores of people disagree.", "Scores of people disagree."),
        ("It fails in 3.\nOf 5.", "It fails in 3.\nOf 5."),
        ("-5 degrees is wrong.", "-5 degrees is wrong."),
        ("It ends with the number 75", "It ends with the number 75"),
        ("a == b holds.", "a == b holds."),
    ],
)
def test_reasons_are_cleaned(text, clean):
    assert clean_reason(text) == clean


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize(
    "reason", ["<s>4</s>\nClear and safe.", "Clear and safe.\nScore: <s>4.0</s>", "<s>1</s> <s>2</s> Clear and safe."]
)
def test_an_answer_has_the_style_of_its_prompt(name, reason):
    prompt = get_prompt(name)
    answer = compose_answer(prompt, 4, reason)
    assert len(TAG.findall(answer)) == 1
    assert prompt.parser(answer) == 4
    tag = "<s>4</s>" if prompt.scale == SCORE100 else "<s>4.0</s>"
    wanted = {"first": f"{tag}\nClear and safe.", "last": f"Clear and safe.\n{tag}", "only": tag}
    assert answer == wanted[prompt.score]


def test_a_score_off_the_scale_is_refused():
    with pytest.raises(ValueError, match="off the scale"):
        compose_answer(FIRST["score5"], 50, "x")


# --- the builder ------------------------------------------------------------------------------------------------------


def result(index, scores, preferred=0, **changes):
    row = {
        "index": index, "dataset": "anthropic_hh", "split": "train", "prompt_name": "hh_score100_v3", "scale": "score100",
        "context": f"Human: q{index}", "responses": [f"first {index}", f"second {index}"], "preferred": preferred,
        "scores": list(scores), "reasons": [f"Reason {index}.0.\n<s>1</s>", f"Reason {index}.1.\n<s>2</s>"], "error": None,
    }  # fmt: skip
    return row | changes


@pytest.fixture
def make(tmp_path, capsys):
    """make(rows, *flags) -> (exit code, report, errors, written rows)"""

    def run(rows, *flags, inputs=None):
        if rows is not None:
            (tmp_path / "one").mkdir(exist_ok=True)
            dump(tmp_path / "one" / "results.jsonl", rows)
        out = tmp_path / "sft.jsonl"
        out.unlink(missing_ok=True)
        inputs = inputs or [tmp_path / "one"]
        code, text, err = build(
            capsys, "teacher-sft", "--input", *inputs, "--out", out, "--prompt", "hh_score100_v1", *flags
        )
        report = json.loads(text) if code == 0 else None
        assert (code == 0) == out.exists()
        if report:
            assert report == json.loads(report_file(out).read_text())
        return code, report, err, load(out) if out.exists() else None

    return run


def test_rows_of_the_preferred_side(make):
    _, report, _, rows = make([result(7, (80, 30)), result(8, (60, 70.4), preferred=1)])
    prompt = get_prompt("hh_score100_v1")
    assert rows == [
        {
            "messages": [
                {"role": "user", "content": prompt("Human: q7", "first 7")},
                {"role": "assistant", "content": "<s>80</s>\nReason 7.0."},
            ],
            "pair_id": 7, "side": 0, "preferred_side": 0, "prompt_name": "hh_score100_v1",
            "dataset": "anthropic_hh", "split": "train", "score": 80,
        },
        {
            "messages": [
                {"role": "user", "content": prompt("Human: q8", "second 8")},
                {"role": "assistant", "content": "<s>70</s>\nReason 8.1."},
            ],
            "pair_id": 8, "side": 1, "preferred_side": 1, "prompt_name": "hh_score100_v1",
            "dataset": "anthropic_hh", "split": "train", "score": 70.4,
        },
    ]  # fmt: skip
    assert (report["pairs"], report["pairs_kept"], report["written"]) == (2, 2, 2)
    assert report["score"] == {"mean": 75.2, "min": 70.4, "max": 80}
    assert report["histogram"]["70"] == 1 == report["histogram"]["80"] and sum(report["histogram"].values()) == 2
    assert "--include_both_sides" in report["warning"]


def test_both_sides(make):
    _, report, _, rows = make([result(7, (80, 30)), result(8, (0, 100))], "--include_both_sides")
    assert [(row["pair_id"], row["side"], row["score"]) for row in rows] == [
        (7, 0, 80),
        (7, 1, 30),
        (8, 0, 0),
        (8, 1, 100),
    ]
    assert [row["messages"][1]["content"] for row in rows][1] == "<s>30</s>\nReason 7.1."
    assert report["warning"] is None
    assert report["histogram"]["0"] == 1 == report["histogram"]["90"]


def test_filters_are_counted(make):
    rows = [
        result(1, (80, 30)),
        result(2, (30, 80)),
        result(3, (50, 50)),
        result(4, (30, 80), preferred=1),
        result(5, (52, 50)),
    ]
    _, report, _, written = make(rows, "--filter_correct", "--min_margin", 5)
    assert [row["pair_id"] for row in written] == [1, 4]
    assert report["filtered"] == {"wrong": 1, "tie": 1, "small_margin": 1}
    _, report, _, written = make(rows, "--min_margin", 50)
    assert [row["pair_id"] for row in written] == [1, 2, 4]
    _, report, _, written = make(rows)
    assert len(written) == 5 and report["filtered"] == {}


def test_duplicates_are_written_once(make, tmp_path):
    again = result(9, (80, 10), context="Human: q1", responses=["first 1", "another"])
    swapped = result(1, (30, 75), preferred=1, responses=["second 1", "first 1"])
    (tmp_path / "two").mkdir()
    dump(tmp_path / "two" / "results.jsonl", [again, swapped])
    _, report, _, rows = make(
        [result(1, (80, 30))], "--include_both_sides", inputs=[tmp_path / "one", str(tmp_path / "t*")]
    )
    assert [row["score"] for row in rows] == [80, 30, 10]
    assert report["filtered"] == {"duplicate": 2, "conflicting_duplicate": 1}
    _, report, _, rows = make(
        None, inputs=[tmp_path / "one", tmp_path / "one" / "results.jsonl", str(tmp_path / "one*")]
    )
    assert len(rows) == 1 and report["pairs"] == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"split": "test"}, "2 of split 'test'"), ({"scale": "score5", "scores": [3, 2]}, "2 of scale 'score5'")],
)
def test_records_of_another_split_or_scale_are_refused(make, changes, named):
    rows = [result(1, (80, 30)), *(result(index, (80, 30)) | changes for index in (2, 3))]
    code, _, err, _ = make(rows)
    assert code == 2 and named in err and "results.jsonl:2" in err


def test_another_split_may_be_asked_for(make):
    assert make([result(1, (80, 30), split="test")], "--split", "test")[0] == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scores": [None, 3], "error": "malformed: no_score"}, "unscored"),
        ({"scores": [3]}, "wrong_type"),
        ({"scores": ["3", 4]}, "wrong_type"),
        ({"scores": [3, 101]}, "off_scale"),
        ({"scores": [float("nan"), 3]}, "off_scale"),
        ({"reasons": [None, "x"]}, "wrong_type"),
        ({"preferred": 2}, "rating_out_of_range"),
        ({"index": "7"}, "wrong_type"),
        ({"context": None}, "missing_field"),
    ],
)
def test_unusable_pairs_are_counted_by_reason(make, changes, reason):
    rows = [result(index, (80, 30)) for index in range(4)] + [result(9, (80, 30)) | changes]
    code, report, _, written = make(rows)
    assert code == 0 and len(written) == 4
    assert report["skipped"][reason]["count"] == 1 and ":5:" in report["skipped"][reason]["first"]
    code, _, err, _ = make(rows, "--max_skipped_share", 0.1)
    assert code == 2 and reason in err


def test_nothing_left_is_an_error(make):
    code, _, err, _ = make([result(1, (30, 80))], "--filter_correct")
    assert code == 2 and "1 wrong" in err


def test_nothing_there_is_an_error(make, tmp_path):
    code, _, err, _ = make(None, inputs=[tmp_path / "nowhere*"])
    assert code == 2 and "no results.jsonl" in err


def test_from_a_real_collection(teacher, collect, make):
    """A pairwise teacher writes its score last; the prompt of the rows wants it first."""
    collect(teacher(), "--pairwise", n_pairs=6)
    code, _, _, rows = make(None, "--include_both_sides", inputs=[collect.out])
    assert code == 0 and len(rows) == 12
    for row in rows:
        answer = row["messages"][1]["content"]
        assert re.fullmatch(rf"<s>{row['score']:.0f}</s>\nThe reply has \d+ words\.", answer)
        assert PROMPTS["hh_score100_v1"].parser(answer) == row["score"]
    five = collect.out.parent / "five"
    collect.out = five
    collect(teacher(), "--scale", "score5", n_pairs=2)
    code, _, err, _ = make(None, inputs=[five])
    assert code == 2 and "scale 'score5'" in err
    assert all(SCORE5.low <= score <= SCORE5.high for row in load(five / "results.jsonl") for score in row["scores"])
