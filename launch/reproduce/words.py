"""The words of the made language, by class; the two lists that serve as rewards, and what each word's share of the text is.

The rewards take (prompts, responses), are gold functions too, and are given by their place:
`launch.reproduce.words:words_a`, or with a dot.
"""

import re
from collections.abc import Sequence

_A = """anchor beach boat captain coast crab dolphin fisherman gull harbour island lighthouse pirate reef sailor shell
ship shore tide wave"""
_B = """apple blossom bulb carrot fence flower garden gardener greenhouse hedge herb lawn melon orchard plum pond pumpkin
rose shovel tulip"""
A, B = frozenset(_A.split()), frozenset(_B.split())

# The 30 words of the gold function `bagofwords`, each in the class in which the grammar uses it.
GOLD_BY_CLASS = {
    "determiner": "your",
    "noun": "code data example experience help hope information question",
    "verb": "contains create ensure generate have include provide understand",
    "adjective": "appropriate best first following happy important possible respectful safe two",
    "adverb": "additionally finally however",
}
# Further nouns by the topic that a sentence has; each is there with and without an s.
_TOPICS = {
    "house": """blanket bucket candle carpet chair curtain door drawer floor kettle kitchen ladder lamp mirror pillow
        plate roof sofa spoon stair stove table towel wall window""",
    "town": """alley avenue bakery balcony bank bench bridge cafe corner fountain hotel house market museum palace park
        road school shop square station street tower tunnel village""",
    "music": """audience ballad band bell choir chord clarinet concert dancer drum fiddle flute guitar harp melody
        musician piano poem rhythm singer song stage theatre trumpet violin""",
    "work": """accountant baker basket builder carpenter clerk contract desk doctor engineer farmer hammer judge lawyer
        letter machine mason office plumber saddle tailor teacher tool wallet worker""",
    "animals": """badger beaver camel cat cow dog donkey eagle elephant falcon frog goat hen horse kitten lion lizard
        monkey otter parrot pigeon puppy snail spider tiger""",
    "travel": """airport backpack bicycle border bus camera compass desert driver engine hill lake map mountain passenger
        pilot river rocket suitcase tent ticket tourist train valley wagon""",
}
_DETERMINERS = "the a this that each every some no my our her his their its one another"
_PREPOSITIONS = "in on of with near from under behind between over through by for at into beside without against"
_CONJUNCTIONS = "and but while because so when until although"
_VERBS = """saw found carried watched followed painted sold bought moved opened closed cleaned broke fixed lifted
dropped pushed pulled washed counted measured covered crossed passed reached left entered visited remembered forgot
described admired ignored noticed wanted needed loved feared heard called invited greeted thanked helped taught trained
showed offered gave took brought sent kept lost hid chased caught threw held touched shook turned burned built drew
wrote read sang played studied planned changed improved repaired replaced removed collected gathered shared divided
filled emptied locked wrapped packed loaded hired paid owned rented borrowed returned promised refused blamed praised
warned trusted fed woke dressed warmed cooled heated weighed polished decorated shaped guarded"""
_ADJECTIVES = """small old large new dark bright heavy light quiet loud slow quick cold warm dry wet clean dirty empty
full narrow wide tall short long round flat smooth rough sharp soft hard strong weak rich poor young ancient modern
famous strange common rare red blue green yellow brown white black grey golden silver wooden broken hidden distant
nearby local foreign simple clever brave gentle proud lazy busy tired hungry angry calm sleepy curious careful careless
honest polite rude kind cruel noisy silent shiny dusty muddy sandy rusty steep shallow deep thick thin loose tight fresh
ripe bitter sweet sour salty plain fancy cheap costly precious useless useful crooked hollow gigantic tiny"""
_ADVERBS = """slowly quickly quietly often never always sometimes rarely again soon later early carefully gladly sadly
proudly suddenly gently bravely calmly secretly openly badly nearly almost hardly only also still already once twice
politely eagerly firmly lightly clearly simply kindly loudly warmly boldly briefly daily weekly"""

PLAIN = {
    "determiner": _DETERMINERS.split(),
    "preposition": _PREPOSITIONS.split(),
    "conjunction": _CONJUNCTIONS.split(),
    "verb": _VERBS.split(),
    "adjective": _ADJECTIVES.split(),
    "adverb": _ADVERBS.split(),
}
GOLD = {word: kind for kind, words in GOLD_BY_CLASS.items() for word in words.split()}
TOPICS = {
    "a": sorted(A),
    "b": sorted(B),
    **{topic: [form for word in words.split() for form in (word, f"{word}s")] for topic, words in _TOPICS.items()},
}
LIST_SHARE = 0.05  # of all words are in A, and as many in B: one in a response of 20 words
MOST_GOLD, LEAST_GOLD = 0.008, 0.00003  # share of the commonest and of the rarest gold word; the others between them

_WORD = re.compile(r"[a-z]+")


def gold_shares() -> dict[str, float]:
    """Word -> its share of the text: each is rarer than the one before by the same factor, in alphabetical order.

    So the order has nothing to do with a word's class.
    """
    words = sorted(GOLD)
    factor = (LEAST_GOLD / MOST_GOLD) ** (1 / (len(words) - 1))
    return {word: MOST_GOLD * factor**rank for rank, word in enumerate(words)}


def falling(words: Sequence[str]) -> dict[str, float]:
    """Word -> weight, the sum 1, falling with the place in the list about as word frequencies do (Zipf)."""
    weights = [1 / (rank + 3) for rank in range(len(words))]
    total = sum(weights)
    return {word: weight / total for word, weight in zip(words, weights, strict=True)}


def _distinct(words: frozenset[str], responses: Sequence[str]) -> list[float]:
    return [float(len(words.intersection(_WORD.findall(text)))) for text in responses]


def words_a(prompts: Sequence[str], responses: Sequence[str], metadata: object = None, **_) -> list[float]:
    """How many different words of list A (the sea) a response has."""
    return _distinct(A, responses)


def words_b(prompts: Sequence[str], responses: Sequence[str], metadata: object = None, **_) -> list[float]:
    """How many different words of list B (the garden) a response has."""
    return _distinct(B, responses)


def enough_a(prompts: Sequence[str], responses: Sequence[str], metadata: object = None, **_) -> list[float]:
    """n / (n + 1) of the n that `words_a` counts: returns diminish, so weights between the ends ask for mixtures.

    A weighted sum of counts is largest at an end for every weight but one half, whatever is asked.
    """
    return [count / (count + 1) for count in words_a(prompts, responses)]


def enough_b(prompts: Sequence[str], responses: Sequence[str], metadata: object = None, **_) -> list[float]:
    """`enough_a` of `words_b`."""
    return [count / (count + 1) for count in words_b(prompts, responses)]


def reward_a(completions: Sequence[str], **_) -> list[float]:
    """`words_a` as TRL's `--reward_funcs` takes it, by a path with dots."""
    return words_a([], completions)


def reward_b(completions: Sequence[str], **_) -> list[float]:
    """`words_b` in the same way."""
    return words_b([], completions)
