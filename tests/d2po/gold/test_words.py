"""Bag of words, reverse bag of words, density, reading grade and tokens against worked numbers."""

import json
from pathlib import Path

import pytest

from trl_ext.d2po.gold import get_gold
from trl_ext.d2po.gold.reading import flesch_kincaid, syllables
from trl_ext.d2po.gold.words import BAG, REVERSE_BAG, word_tokens

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "d2po_gold.json").read_text())


def parts(text: str) -> tuple[str, str]:
    """Question and answer of a vector, which holds both in one text."""
    question, answer = text.split("\n\nAnswer: ")
    return question.removeprefix("Question: "), answer


@pytest.mark.parametrize("name", ["bagofwords", "reversebow", "tokdense"])
def test_vectors(name):
    for case in VECTORS[f"gold_{name}"]:
        question, answer = parts(case["text"])
        assert get_gold(name)([question], [answer]) == [case["score"]], case


def test_the_lists():
    assert len(BAG) == 30 and len(REVERSE_BAG) == 9
    assert set(VECTORS["bow_words"]) <= BAG and set(VECTORS["revbow_words"]) <= REVERSE_BAG


def test_a_bag_is_filled_once_and_by_whole_words_of_the_same_case():
    bag = get_gold("bagofwords")
    assert bag(["q"], [" ".join(sorted(BAG))]) == [30.0]
    assert bag(["data"], [""]) == [0.0]  # the question does not count
    assert bag([""] * 5, ["Data", "database", "data-base", "data, data", "(data)"]) == [0, 0, 0, 1, 1]


def test_a_reverse_bag_starts_at_three():
    assert get_gold("reversebow")([""] * 3, ["", "the the cat", " ".join(REVERSE_BAG)]) == [3.0, 2.0, -6.0]


def test_density_of_repeated_tokens():
    score = lambda text: get_gold("tokdense")([""], [text])[0]  # noqa: E731
    assert score("a " * 20) == -5.0
    assert score("a " * 21) == pytest.approx(10 / 21)
    assert score("a b " * 20) == pytest.approx(10 * 2 / 40)
    assert score("A a " * 20) == pytest.approx(10 * 2 / 40)  # as they stand there
    assert score("") == -5.0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \n\t", []),
        ("Don't stop, it's 3.14!", ["Do", "n't", "stop", ",", "it", "'s", "3.14", "!"]),
        ("well-known (e-mail)...", ["well-known", "(", "e-mail", ")", "..."]),
        ("we'll can't I'm they've", ["we", "'ll", "ca", "n't", "I", "'m", "they", "'ve"]),
        ("1,000 people at 12:30.", ["1,000", "people", "at", "12:30", "."]),
        ("Straße über w0 don’t", ["Straße", "über", "w0", "do", "n’t"]),
        ("end.Start a--b", ["end", ".", "Start", "a", "--", "b"]),
    ],
)
def test_tokens(text, tokens):
    assert word_tokens(text) == tokens


def test_tokens_are_those_of_treebank_tokenisation():
    """What NLTK's TreebankWordTokenizer 3.10.4 says of the same sentences."""
    tokens = {
        "I can't say that she's wrong, but we'll see: isn't it 3.14 or 1,000?":
            "I ca n't say that she 's wrong , but we 'll see : is n't it 3.14 or 1,000 ?",
        "Well-known cities (such as Paris) don't sleep; they're awake!":
            "Well-known cities ( such as Paris ) do n't sleep ; they 're awake !",
    }  # fmt: skip
    for text, wanted in tokens.items():
        assert word_tokens(text) == wanted.split()


def test_tokens_of_a_hostile_text_take_linear_time():
    assert len(word_tokens("a" * 100_000)) == 1
    assert len(word_tokens("'" * 50_000)) == 50_000
    assert len(word_tokens("1." * 50_000)) <= 50_000


SYLLABLES = {
    1: "a the cat make makes baked walked strength called you're school through eyes",
    2: "table tables water wanted boxes basement client values handled happy seven people going o'clock",
    3: "require beautiful computer important example piano banana well-mannered radio",
    4: "information education mathematics original",
    5: "university opportunity",
}


def test_syllables():
    wrong = [
        (word, syllables(word), n) for n, words in SYLLABLES.items() for word in words.split() if syllables(word) != n
    ]
    assert not wrong


def test_a_grade_by_hand():
    """Ten words, two sentences, 12 syllables: 0.39 * 5 + 11.8 * 1.2 - 15.59."""
    text = "The cat sat on the table. It was a basement."
    assert flesch_kincaid(text) == pytest.approx(0.39 * 5 + 11.8 * 1.2 - 15.59)
    assert flesch_kincaid("") == 0.0
    assert flesch_kincaid("cat") == pytest.approx(0.39 + 11.8 - 15.59)
    assert flesch_kincaid("3.14 is pi.") == pytest.approx(0.39 * 2 + 11.8 - 15.59)  # a number is no word, no sentence


def test_the_grade_of_short_and_long_answers():
    grade = lambda text: get_gold("readinggrade")([""], [text])[0]  # noqa: E731
    plain = "The cat sat on the mat and the dog sat on the log and the hen sat on the hay too"
    assert grade("cat " * 20) == -10.0
    assert grade("cat " * 21) == pytest.approx(0.39 * 21 + 11.8 - 15.59)
    assert grade(plain + ".") == grade(plain)
    assert grade(plain.replace("cat", "university") + ".") > grade(plain + ".")  # longer words
    assert grade(plain.replace(" and", ".") + ".") < grade(plain + ".")  # shorter sentences
