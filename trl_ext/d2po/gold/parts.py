"""Gold functions that count parts of speech."""

import re
from collections.abc import Callable, Sequence

from .base import BatchScore, Metadata
from .tagging import SPACY_MODEL, PartOfSpeech, Tagged, get_tagger

NOUN_WEIGHT, TOKEN_ALLOWANCE = 3, 50
_ASKED: dict[str, PartOfSpeech] = {"noun": "noun", "adj": "adjective", "verb": "verb"}
_ASKED_WORD = re.compile(r"\b(noun|adj|verb)(?:s|ectives?)?\b", re.IGNORECASE)
_SIGN_WORD = re.compile(r"\b(min|max)(?:imi[sz]e)?\b", re.IGNORECASE)


def words_of(tagged: Tagged, part: PartOfSpeech) -> list[str]:
    """The words of one part of speech, as they stand in the text."""
    return [word for word, found in tagged if found == part]


def _scored(score: Callable[[Tagged], float], tagger: str, model: str) -> BatchScore:
    tag = get_tagger(tagger, model)

    def scores(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        return [score(tagged) for tagged in tag(responses)]

    return scores


def nouns(tagger: str = "rules", model: str = SPACY_MODEL) -> BatchScore:
    """Number of nouns. Arguments: see `get_tagger`."""
    return _scored(lambda tagged: float(len(words_of(tagged, "noun"))), tagger, model)


def unique_nouns(tagger: str = "rules", model: str = SPACY_MODEL) -> BatchScore:
    """Number of different nouns; "Cat" and "cat" are two, as in the reference. Arguments: see `get_tagger`."""
    return _scored(lambda tagged: float(len(set(words_of(tagged, "noun")))), tagger, model)


def nouns_against_tokens(tagger: str = "rules", model: str = SPACY_MODEL) -> BatchScore:
    """3 times the nouns, plus 50 minus the tokens. Arguments: see `get_tagger`."""
    return _scored(
        lambda tagged: float(NOUN_WEIGHT * len(words_of(tagged, "noun")) + TOKEN_ALLOWANCE - len(tagged)), tagger, model
    )


def asked_for(prompt: str) -> tuple[PartOfSpeech, int]:
    """The part of speech that a prompt names (noun, adj or verb), and -1 where it says `min`, else 1.

    Raises:
        ValueError: it names none or several, or both min and max.
    """
    parts = {found.lower() for found in _ASKED_WORD.findall(prompt)}
    signs = {found.lower() for found in _SIGN_WORD.findall(prompt)}
    if len(parts) != 1 or len(signs) > 1:
        raise ValueError(
            f"contpos reads from the prompt which part of speech counts: one of noun, adj and verb, and min or max; "
            f"found {sorted(parts | signs)} in {prompt[:80]!r}"
        )
    return _ASKED[parts.pop()], -1 if "min" in signs else 1


def asked_part_of_speech(tagger: str = "rules", model: str = SPACY_MODEL) -> BatchScore:
    """Number of words of the part of speech that the prompt names, see `asked_for`; negative where it says `min`.

    Arguments: see `get_tagger`.
    """
    tag = get_tagger(tagger, model)

    def scores(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        asked = [asked_for(prompt) for prompt in prompts]
        return [
            float(sign * len(words_of(tagged, part)))
            for (part, sign), tagged in zip(asked, tag(responses), strict=True)
        ]

    return scores
