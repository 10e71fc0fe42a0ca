"""Two objectives that compete for words, for trying out steering: how much an answer is about the sea, or about the forest.

Each takes (prompts, completions) and returns the number of its words in a hundred. Answers of fewer than twenty words count
as twenty, so that a single word does not win. Given as `--reward_models sea=launch.moodpo.topics:sea ...`.
"""

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W\d_]+")
_SHORTEST = 20
_SEA = """anchor beach beaches boat boats captain coast coastal coral crab dive diving dolphin dolphins fish fisherman
fishermen fishes fishing gull gulls harbor harbour island islands lighthouse marine ocean oceans pirate pirates port
reef sail sailed sailing sailor sailors sails salt salty sand sandy sea seagull seagulls seas seashell seashells shark
shell shells ship ships shore shores surf swam swim swimming tide tides underwater water waters wave waves whale
whales"""
_FOREST = """bark bear bears berries berry birch bird birds branch branches bush bushes cabin canopy deer fern ferns forest
forests fox foxes grove hunter hunters jungle leaf leaves log logs moss mossy mushroom mushrooms oak oaks owl owls
path paths pine pines rabbit rabbits root roots shade squirrel squirrels thicket trail trails tree trees wild
wilderness wolf wolves wood wooden woodland woods"""
SEA, FOREST = frozenset(_SEA.split()), frozenset(_FOREST.split())


def _per_hundred(topic: frozenset[str], completions: Sequence[str]) -> list[float]:
    words = [_WORD.findall(text.lower()) for text in completions]
    return [100 * sum(word in topic for word in found) / max(len(found), _SHORTEST) for found in words]


def sea(prompts: Sequence[str], completions: Sequence[str], **_) -> list[float]:
    """Words about the sea in a hundred."""
    return _per_hundred(SEA, completions)


def forest(prompts: Sequence[str], completions: Sequence[str], **_) -> list[float]:
    """Words about the forest in a hundred."""
    return _per_hundred(FOREST, completions)
