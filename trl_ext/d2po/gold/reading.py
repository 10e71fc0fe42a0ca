"""Gold function `readinggrade`: the Flesch-Kincaid grade."""

import re

from .base import BatchScore, by_response
from .words import SHORT, word_tokens

SHORT_GRADE = -10.0
_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=[\s\"'”’)]|$)")
_VOWELS = re.compile(r"[aeiouy]+")
# An e that is not heard: make, makes, baked, basement; but table, boxes, wanted.
_SILENT_E = re.compile(
    r"[^aeiouyl]e$|[aeiouy]le$|[^aeiouycghlsxz]es$|[aeiouy]les$|[^aeiouydlt]ed$|(?:[aeiouy]|l)led$"
    r"|[^aeiouyl]e(?:ments?|ly|ful|less|ness)$"
)
# Two vowels that are heard apart.
_APART = re.compile(r"i(?:a(?!l$|n$|ge)|o(?!u|n)|u)|[aeo]ing|eo(?!p)|[^aeiouyqg]ua|eate|iet|(?<![ct])ie(?:n|r$)|uire")


def syllables(word: str) -> int:
    """Syllables of an English word by its spelling, at least 1: groups of vowels, less silent ones. A rule, no list."""
    total = 0
    for part in re.split(r"[^a-z]+", re.sub(r"['’]", "", word.lower())):
        if part:
            count = len(_VOWELS.findall(part)) + len(_APART.findall(part))
            total += max(count - bool(_SILENT_E.search(part)), 1)
    return max(total, 1)


def flesch_kincaid(text: str) -> float:
    """0.39 words/sentences + 11.8 syllables/words - 15.59 (Kincaid et al. 1975). Unit: US school grades.

    0 for a text without words; a text without a full stop is one sentence.
    """
    words = _WORD.findall(text)
    if not words:
        return 0.0
    sentences = max(len(_SENTENCE_END.findall(text.strip())), 1)
    return 0.39 * len(words) / sentences + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


def reading_grade() -> BatchScore:
    """See `flesch_kincaid`; -10 for a response of at most 20 tokens."""
    return by_response(
        lambda response: SHORT_GRADE if len(word_tokens(response)) <= SHORT else flesch_kincaid(response)
    )
