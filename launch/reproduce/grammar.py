"""Text that is made: sentences of a small grammar whose words have known shares, the same bytes for the same seed.

A sentence is one to three clauses of 10 to 40 words with the full stop. Half of its nouns keep to one topic. Nothing but
`random()` of `random.Random` is drawn, which gives the same numbers in every version of Python.
"""

import random
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from .words import GOLD, LIST_SHARE, PLAIN, TOPICS, falling, gold_shares

STOP = "."
SHORTEST, LONGEST = 10, 40  # words of a sentence, the full stop too
KEEP_TOPIC = 0.5  # of the nouns that belong to a topic
_SKELETONS = 5000  # drawn to count how often a class comes


class Table(NamedTuple):
    """Words and the running sums of their weights."""

    words: tuple[str, ...]
    sums: tuple[float, ...]

    def draw(self, generator: random.Random) -> str:
        place = bisect(self.sums, generator.random() * self.sums[-1])
        return self.words[min(place, len(self.words) - 1)]


def table(weights: dict[str, float]) -> Table:
    return Table(tuple(weights), tuple(accumulate(weights.values())))


class Language(NamedTuple):
    """Tables of words by class, those of nouns by topic, the topic of a noun, and how often a topic comes."""

    classes: dict[str, Table]
    topics: dict[str, Table]
    topic_of: dict[str, str]
    choice: Table


def noun_phrase(generator: random.Random, depth: int = 0) -> list[str]:
    """Classes of the words of a noun phrase."""
    found = ["determiner"]
    if generator.random() < 0.5:
        found.append("adjective")
    found.append("noun")
    if not depth and generator.random() < 0.25:
        found += ["preposition", *noun_phrase(generator, 1)]
    return found


def clause(generator: random.Random) -> list[str]:
    """Classes of the words of a clause."""
    found = noun_phrase(generator)
    if generator.random() < 0.4:
        found.append("adverb")
    found += ["verb", *noun_phrase(generator)]
    if generator.random() < 0.5:
        found += ["preposition", *noun_phrase(generator)]
    return found


def skeleton(generator: random.Random) -> list[str]:
    """Classes of the words of a sentence without its full stop."""
    while True:
        found = clause(generator)
        while generator.random() < 0.45:
            found += ["conjunction", *clause(generator)]
        if SHORTEST <= len(found) + 1 <= LONGEST:
            return found


@cache
def language() -> Language:
    """The words with the weights that give every word its share of the text."""
    generator = random.Random(0)
    counts = Counter(kind for _ in range(_SKELETONS) for kind in [*skeleton(generator), STOP])
    total = sum(counts.values())
    room = {kind: count / total for kind, count in counts.items() if kind != STOP}
    shares: dict[str, dict[str, float]] = {kind: {} for kind in room}
    for word, share in gold_shares().items():
        shares[GOLD[word]][word] = share
    for topic in ("a", "b"):
        shares["noun"] |= {word: LIST_SHARE * weight for word, weight in falling(TOPICS[topic]).items()}
    others = {kind: falling(words) for kind, words in PLAIN.items()}
    by_topic = [falling(words) for topic, words in TOPICS.items() if topic not in ("a", "b")]
    others["noun"] = {word: weight / len(by_topic) for weights in by_topic for word, weight in weights.items()}
    for kind, words in others.items():
        left = room[kind] - sum(shares[kind].values())
        assert left > 0, kind
        shares[kind] |= {word: left * weight for word, weight in words.items()}
    topic_of = {word: topic for topic, words in TOPICS.items() for word in words}
    in_topic = {topic: {word: shares["noun"][word] for word in words} for topic, words in TOPICS.items()}
    return Language(
        classes={kind: table(weights) for kind, weights in shares.items()},
        topics={topic: table(weights) for topic, weights in in_topic.items()},
        topic_of=topic_of,
        choice=table({topic: sum(weights.values()) for topic, weights in in_topic.items()}),
    )


def fill(generator: random.Random, kinds: Sequence[str], topic: str, keep: float = KEEP_TOPIC) -> list[str]:
    """A word for each class; a noun that belongs to a topic is drawn from this one with the probability `keep`."""
    known, found = language(), []
    for kind in kinds:
        word = known.classes[kind].draw(generator)
        if word in known.topic_of and generator.random() < keep:
            word = known.topics[topic].draw(generator)
        found.append(word)
    return found


def sentence(generator: random.Random) -> list[str]:
    """The words of one sentence, the last one is the full stop."""
    # A topic comes as often as its nouns do, so keeping to it leaves every noun its share.
    topic = language().choice.draw(generator)
    return [*fill(generator, skeleton(generator), topic), STOP]


def sentences(seed: int | str) -> Iterator[list[str]]:
    """Sentences without end."""
    generator = random.Random(f"{seed}")
    while True:
        yield sentence(generator)


def vocabulary() -> list[str]:
    """Every word that a sentence may have, each once."""
    return sorted({STOP, *(word for one in language().classes.values() for word in one.words)})
