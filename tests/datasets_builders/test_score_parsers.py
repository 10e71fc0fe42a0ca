"""The score parsers: recorded answers, and what holds for every text."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_builders import get_parser
from datasets_builders.scoring.parsers import PARSERS, SCALES, SCORE5, SCORE100, UnknownNameError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pointwise.json").read_text(encoding="utf-8"))
NAMES = ("score100_first", "score100_last", "score5_first", "score5_last")

no_tags = st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]), max_size=12)
space = st.sampled_from(["", " ", "\n", "\t  "])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", VECTORS["parsers"], ids=lambda case: case["text"])
def test_recorded_answers(name, case):
    assert get_parser(name)(case["text"]) == case[name]


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("<s>90</s> then <s>20</s>", (90, 20, None, None)),
        ("<s>150</s> then <s>40</s>", (None, 40, None, None)),
        ("<s>40</s> then <s>150</s>", (40, None, None, None)),
        ("<s>NN</s> <s>55</s>", (55, 55, None, None)),
        ("<s>\n075\n</s>", (75, 75, None, None)),
        ("<s><s>60</s></s>", (60, 60, None, None)),
        ("<s>5.9</s> <s>2.0</s>", (None, None, None, 2.0)),
        ("<s>0</s> <s>100</s>", (0, 100, None, None)),
        ("<s>-3</s> <s>+3</s> <s>3/5</s> <s>3 </ s>", (None,) * 4),
        ("<s>.5</s>", (None,) * 4),
        ("", (None,) * 4),
        (None, (None,) * 4),
    ],
)
def test_worked_answers(text, scores):
    assert tuple(get_parser(name)(text) for name in NAMES) == scores


@given(st.data(), st.sampled_from(sorted(PARSERS)))
def test_the_first_or_the_last_tag_is_read_whatever_stands_around_it(data, name):
    parser = PARSERS[name]
    step = 10**-parser.scale.decimals
    steps = st.integers(0, round((parser.scale.high - parser.scale.low) / step))
    scores = data.draw(st.lists(steps.map(lambda count: round(parser.scale.low + count * step, 1)), max_size=4))
    text = data.draw(no_tags)
    for score in scores:
        opening, closing = data.draw(st.sampled_from([("<s>", "</s>"), ("<S>", "</S>")]))
        inside = data.draw(space) + parser.scale.write(score) + data.draw(space)
        text += opening + inside + closing + data.draw(no_tags)
    expected = None if not scores else scores[0] if name.endswith("first") else scores[-1]
    assert parser(text) == expected


@given(st.text(), st.sampled_from(sorted(PARSERS)))
def test_a_score_lies_on_the_scale(text, name):
    score = PARSERS[name](text.replace("a", "<s>").replace("b", "</s>"))
    assert score is None or PARSERS[name].scale.low <= score <= PARSERS[name].scale.high


@given(st.integers(101, 9999))
def test_a_chosen_tag_off_the_scale_is_not_replaced_by_another(number):
    text = f"<s>{number}</s> <s>50</s>"
    assert PARSERS["score100_first"](text) == (None if number < 1000 else 50)  # four digits are no tag at all


def test_scales_write_what_their_parsers_read_and_refuse_the_rest():
    assert [SCORE100.write(0), SCORE100.write(74.6), SCORE5.write(1), SCORE5.write(4.5)] == ["0", "75", "1.0", "4.5"]
    for scale, scores in ((SCORE100, (-1, 101)), (SCORE5, (0.9, 5.1))):
        for score in scores:
            with pytest.raises(ValueError, match=f"{score} is off the scale {scale.name}"):
                scale.write(score)
    assert SCALES == {"score100": SCORE100, "score5": SCORE5}
    assert {name: parser.scale for name, parser in PARSERS.items()} == {
        name: SCALES[name.split("_")[0]] for name in NAMES
    }


def test_an_unknown_parser_is_named_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'score5_last'") as raised:
        get_parser("score5_lats")
    assert isinstance(raised.value, ValueError) and isinstance(raised.value, KeyError)
