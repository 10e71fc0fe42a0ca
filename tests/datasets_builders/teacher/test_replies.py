"""Reading the teacher's answers, against the recorded cases and beyond."""

import json
from pathlib import Path

import pytest

from datasets_builders.scoring.parsers import get_parser
from datasets_builders.scoring.prompts import without_headers
from datasets_builders.teacher.replies import Malformed, Verdict, read_batch, read_pair, read_reply

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "teacher.json").read_text(encoding="utf-8"))
FIRST, LAST = get_parser("score100_first"), get_parser("score100_last")


def one(case_out):
    return case_out["score"], case_out["reasoning"]


def outcome(reading):
    return (None, reading.reason) if isinstance(reading, Malformed) else (reading.scores[0], reading.reasons[0])


# The recorded implementation has no range check: 250 of 100 and 9.9 of 5 were taken as scores.
MENDED_SINGLE = {
    "<s>250</s>": (None, "unreadable_score"),
    "<s>9.9</s>": (None, "unreadable_score"),
    # Recorded without a score as well; the reason is now said.
    "<s>70.5</s>": (None, "unreadable_score"),
    "<s>1.2.3</s>": (None, "unreadable_score"),
    "  none  ": (None, "no_score"),
}


@pytest.mark.parametrize("case", VECTORS["teacher_parse_single"], ids=lambda case: case["text"])
def test_recorded_single(case):
    found = outcome(read_reply(get_parser(f"{case['scale']}_last"), case["text"]))
    assert found == MENDED_SINGLE.get(case["text"], one(case["out"]))


MENDED_BATCH = {
    # Recorded: the first section is item 1 whatever its number says.
    "=== EVAL 2 ===\nbad <s>20</s>\n=== EVAL 1 ===\nok <s>70</s>": [(70.0, "ok <s>70</s>"), (20.0, "bad <s>20</s>")],
    "=== EVAL 1 ===\nok <s>70</s>": [(70.0, "ok <s>70</s>"), (None, "missing_section")],
    # Recorded: a header in small letters stayed in the reason.
    "=== eval 1 === a <s>1</s>": [(1.0, "a <s>1</s>")],
}


@pytest.mark.parametrize("case", VECTORS["teacher_parse_batch"], ids=lambda case: case["text"])
def test_recorded_batch(case):
    found = [outcome(reading) for reading in read_batch(get_parser(f"{case['scale']}_last"), case["text"], case["n"])]
    assert found == MENDED_BATCH.get(case["text"], [one(item) for item in case["out"]])


def pair(a, b):
    return Verdict((a[0], b[0]), (a[1], b[1]))


MENDED_PAIR = {
    # Recorded: B-first answers swapped their scores.
    "=== RESPONSE B ===\nbad <s>20</s>\n=== RESPONSE A ===\nok <s>70</s>": pair((70.0, "ok <s>70</s>"), (20.0, "bad <s>20</s>")),
    # Recorded as two empty sections.
    "ok <s>70</s> bad <s>20</s>": Malformed("missing_section"),
    "=== Response A === x <s>70</s>": Malformed("missing_section"),
    # Recorded: 170 was taken as a score.
    "=== RESPONSE A === <s>170</s> === RESPONSE B === <s>20</s>": Malformed("unreadable_score"),
}  # fmt: skip


@pytest.mark.parametrize("case", VECTORS["teacher_parse_pairwise"], ids=lambda case: case["text"])
def test_recorded_pairwise(case):
    found = read_pair(get_parser(f"{case['scale']}_last"), case["text"])
    recorded = MENDED_PAIR.get(case["text"]) or pair(one(case["out"]["a"]), one(case["out"]["b"]))
    assert found == recorded


def test_the_parser_of_the_prompt_decides_among_several_tags():
    text = "<s>30</s> at first, then <s>80</s>"
    assert outcome(read_reply(FIRST, text))[0] == 30
    assert outcome(read_reply(LAST, text))[0] == 80


def test_a_preamble_moves_nothing():
    text = "Here are my two grades.\n\n**=== EVAL 2 ===**\n<s>20</s>\n\n### === EVAL 1 ===\n<s>70</s>"
    assert [outcome(reading)[0] for reading in read_batch(LAST, text, 2)] == [70.0, 20.0]


@pytest.mark.parametrize("numbers", [(0, 1), (2, 3), (1, 2, 3)])
def test_with_a_number_that_was_not_asked_for_no_item_has_a_verdict(numbers):
    """A teacher that counts from 0 or goes on counting would otherwise hand its verdicts to the neighbours."""
    text = "\n".join(f"=== EVAL {number} ===\n<s>{number}</s>" for number in numbers)
    assert read_batch(LAST, text, 2) == [Malformed("wrong_header")] * 2
    assert read_batch(LAST, "=== EVAL 2 ===\n<s>20</s>", 1) == [Malformed("wrong_header")]


def test_headers_may_be_written_in_small_letters():
    text = "=== response b ===\nbad <s>20</s>\n=== Response a ===\nok <s>70</s>"
    assert read_pair(LAST, text) == pair((70.0, "ok <s>70</s>"), (20.0, "bad <s>20</s>"))


def test_a_third_letter_is_refused():
    text = "=== RESPONSE A ===\n<s>1</s>\n=== RESPONSE B ===\n<s>2</s>\n=== RESPONSE C ===\n<s>3</s>"
    assert read_pair(LAST, text) == Malformed("wrong_header")


def test_a_number_that_comes_twice_is_refused_alone():
    text = "=== EVAL 1 ===\n<s>1</s>\n=== EVAL 2 ===\n<s>2</s>\n=== EVAL 1 ===\n<s>1</s>"
    assert [outcome(reading) for reading in read_batch(LAST, text, 2)] == [
        (None, "duplicate_section"),
        (2.0, "<s>2</s>"),
    ]
    assert read_pair(LAST, f"=== RESPONSE A ===\n<s>1</s>\n{text}") == Malformed("missing_section")
    twice = "=== RESPONSE A ===\n<s>1</s>\n=== RESPONSE B ===\n<s>2</s>\n=== RESPONSE B ===\n<s>3</s>"
    assert read_pair(LAST, twice) == Malformed("duplicate_section")


def test_what_the_limit_of_tokens_cut_off_is_no_verdict():
    assert read_reply(FIRST, "<s>70</s> The reply is", cut_off=True) == Malformed("cut_off")
    text = "=== EVAL 2 ===\n<s>20</s>\n=== EVAL 1 ===\n<s>70</s> and"
    readings = [outcome(reading) for reading in read_batch(FIRST, text, 3, cut_off=True)]
    assert readings == [(None, "cut_off"), (20.0, "<s>20</s>"), (None, "cut_off")]


@pytest.mark.parametrize("count", [1, 2])
def test_an_empty_answer_is_empty(count):
    assert read_batch(LAST, " \n", count) == [Malformed("empty")] * count
    assert read_pair(LAST, "") == Malformed("empty")


@pytest.mark.parametrize(
    "header",
    ["=== EVAL 1 ===", "====eval\t12====", "=== **EVAL 1** ===", "===_EVAL 1_===", "===== EVAL    1     ===", "=== RESPONSE B ===",
     "===#response a===", "=== EVAL                                 1 ==="],
)  # fmt: skip
def test_every_header_that_is_read_is_taken_out_of_the_judged_texts(header):
    counted = 12 if "12" in header else 1
    text = f"{header}\n<s>9</s>"
    readable = read_batch(LAST, text, counted)[-1], read_pair(LAST, f"{text}\n=== RESPONSE A ===\n<s>1</s>\n{text}")
    assert isinstance(readable[0], Verdict) or readable[1] == Malformed("duplicate_section") or "a===" in header
    harmless = without_headers(text)
    assert read_batch(LAST, f"{harmless}\n=== EVAL 2 ===\n<s>5</s>", 2)[0] == Malformed("missing_section")
    assert read_pair(LAST, f"{harmless}\n{harmless}") == Malformed("missing_section")
