"""A tagger without data: word lists first, then the neighbours, then the ending of the word.

It is meant to be the same everywhere and fast, not to be right about every word; tests/d2po/gold says how often it is.
"""

import re
from collections.abc import Sequence

from .word_classes import (
    ADJECTIVES,
    AUXILIARIES,
    DETERMINERS,
    MODALS,
    NOUNS,
    OTHERS,
    PAST_FORMS,
    PREPOSITIONS,
    PRONOUNS,
    VERBS,
)

_NOUN_ENDING = re.compile(
    r"(?:tion|sion|ment|ness|ity|ism|ist|ship|hood|[ae]nce|[ae]ncy|ure|age|logy|dom|eer|ics|graphy|room)s?$"
)
_ADJECTIVE_ENDING = re.compile(r"(?:ous|ful|ive|able|ible|less|ish|ic|ical|al|ary|ent|ant|some|like)$")
_CLOSED = DETERMINERS | PRONOUNS | MODALS | PREPOSITIONS | OTHERS


def tag_tokens(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Each token with "noun", "adjective", "verb" or "other"."""
    tags: list[str] = []
    for place, token in enumerate(tokens):
        following = tokens[place + 1].lower() if place + 1 < len(tokens) else ""
        previous = tokens[place - 1] if place else "."
        tags.append(_tag(token, previous, tags[-1] if tags else "other", following))
    return list(zip(tokens, tags, strict=True))


def _tag(token: str, previous: str, previous_tag: str, following: str) -> str:
    word, before = token.lower(), previous.lower()
    if word in AUXILIARIES:
        # The 's of an owner stands behind a noun.
        return "other" if word in ("'s", "’s") and previous_tag == "noun" else "verb"
    if not any(letter.isalpha() for letter in word) or word in _CLOSED:
        return "other"
    starts = before in (".", "!", "?", ":", '"', "“", "-", "*")
    if token[0].isupper() and not starts and word != "i":
        return "noun"
    wants_noun = before in DETERMINERS or previous_tag == "adjective"
    wants_verb = before in MODALS or before in PRONOUNS or before == "to" or before in ("n't", "n’t", "not", "please")
    if word in NOUNS:
        return "noun"
    if is_compared(word) or (word in ADJECTIVES and not (wants_verb and word in VERBS)):
        return _adjective_or_noun(before, following)
    form = verb_form(word)
    if form == "past":
        return _participle(before, following)
    if form and not wants_noun:
        if wants_verb or starts or following in DETERMINERS:
            return "verb"
        if form == "s":  # behind a noun what somebody does: "the man cooks"
            return "verb" if previous_tag == "noun" else "noun"
        return "noun" if before in PREPOSITIONS or previous_tag in ("noun", "verb") else "verb"
    if form:
        return "noun"
    if not word.endswith("ly") and (before in MODALS or (wants_verb and following in DETERMINERS)):
        return "verb"
    return _by_ending(word, wants_noun, before, following)


def _by_ending(word: str, wants_noun: bool, before: str, following: str) -> str:
    if word.endswith("ly") and len(word) > 4:
        return "other"
    if word.endswith("ing") and len(word) > 4:
        ends = following in ("", ".", ",", "and")
        return "noun" if wants_noun or (before in ("of", "for", "in") and ends) else "verb"
    if word.endswith("ed") and len(word) > 4:
        return _participle(before, following)
    if _NOUN_ENDING.search(word) and len(word) > 6:
        return "noun"
    if _ADJECTIVE_ENDING.search(word) and len(word) > 5:
        return _adjective_or_noun(before, following)
    return "noun"


def is_compared(word: str) -> bool:
    """Whether it is the -er or -est form of a listed adjective: bigger, happiest, larger."""
    for ending in ("er", "est"):
        if word.endswith(ending) and ADJECTIVES.intersection(_stems(word.removesuffix(ending), ending)):
            return True
    return False


def verb_form(word: str) -> str:
    """`base`, `s` or `past` for such a form of a listed verb, else an empty text."""
    if word in PAST_FORMS:
        return "past"
    if word in VERBS:
        return "base"
    for ending, name in (("s", "s"), ("ed", "past")):
        if word.endswith(ending) and VERBS.intersection(_stems(word.removesuffix(ending), name)):
            return name
    return ""


def _stems(stem: str, ending: str) -> set[str]:
    """What `stem` may have been before the ending: plann -> plan, carri -> carry, bak -> bake, watche -> watch."""
    stems = {stem, f"{stem}e"}
    if ending == "s":
        stems = {stem} | ({stem[:-1], f"{stem[:-2]}y"} if stem.endswith("e") else set())
    elif stem.endswith("i"):
        stems.add(f"{stem[:-1]}y")
    elif stem[-2:-1] == stem[-1:]:
        stems.add(stem[:-1])
    return stems


def _may_be_noun(word: str) -> bool:
    return word[:1].isalpha() and word not in _CLOSED and word not in AUXILIARIES


def _participle(before: str, following: str) -> str:
    return "adjective" if before in DETERMINERS and _may_be_noun(following) else "verb"


def _adjective_or_noun(before: str, following: str) -> str:
    """An adjective with its determiner and without a noun behind it stands for one: "the young", "an individual"."""
    alone = not (_may_be_noun(following) or following in ("and", "or", ",", "one"))
    return "noun" if before in ("a", "an", "the", "my", "your", "his", "our", "their") and alone else "adjective"
