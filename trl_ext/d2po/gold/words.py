"""Word tokens, and the gold functions that look at single words."""

import re

from .base import BatchScore, by_response

# Case-sensitive, as whole tokens. Source of the lists and formulas: the reference system of D2PO (arXiv 2405.01511).
_BAG = (
    "data hope information provide example your however first have help additionally important include finally "
    "following happy code two create question possible understand generate contains appropriate best respectful "
    "ensure experience safe"
)
BAG = frozenset(_BAG.split())
REVERSE_BAG = frozenset({"the", "to", "and", "of", "in", "is", "that", "this", "with"})
REVERSE_START = 3
SHORT = 20  # tokens; a response of no more cannot be dense or hard to read, it is only short
SHORT_DENSITY = -5.0

_TOKEN = re.compile(
    r"""
    \d+(?:[.,:]\d+)+                    # 3.14  1,000  12:30
    | \w+?(?=n['’]t\b) | n['’]t\b       # do + n't
    | ['’](?:s|m|d|re|ve|ll)\b          # it + 's
    | \w+(?:-\w+)*                      # well-known
    | \.\.\. | --+ | \S                 # any other sign stands alone
    """,
    re.VERBOSE | re.IGNORECASE,
)


def word_tokens(text: str) -> list[str]:
    """Words, numbers and signs of a text, in order, as they stand there.

    The rules are those of Treebank tokenisation as far as they need no data: contractions are split ("do", "n't"),
    hyphens are not, and every other sign is a token.
    """
    return _TOKEN.findall(text)


def bag_of_words() -> BatchScore:
    """Number of the listed words that are there, each counted once. From 0 to 30."""
    return by_response(lambda response: float(len(BAG.intersection(word_tokens(response)))))


def reverse_bag_of_words() -> BatchScore:
    """3 minus the number of the nine commonest words that are there, each counted once. From -6 to 3."""
    return by_response(lambda response: float(REVERSE_START - len(REVERSE_BAG.intersection(word_tokens(response)))))


def token_density() -> BatchScore:
    """10 times the share of distinct tokens; -5 for a response of at most 20 tokens. From -5 to 10."""

    def score(response: str) -> float:
        tokens = word_tokens(response)
        if len(tokens) <= SHORT:
            return SHORT_DENSITY
        return 10 * len(set(tokens)) / len(tokens)

    return by_response(score)
