"""Gold functions that need a dependency parse: `treedep` and `allobjs`. The parser is spaCy, imported when used."""

from collections.abc import Sequence

from .base import BatchScore, Metadata
from .parts import nouns
from .tagging import SPACY_MODEL, load_spacy
from .words import bag_of_words

BAG_WEIGHT = 9


def depth(heads: Sequence[int]) -> int:
    """Most steps from a token up to its root. 0 for an empty text and for roots alone.

    Args:
        heads: index of each token's head; a root is its own.

    Raises:
        ValueError: the heads go round in a circle.
    """
    depths: dict[int, int] = {}
    for token in range(len(heads)):
        path = []
        while token not in depths and heads[token] != token:
            path.append(token)
            token = heads[token]
            if len(path) > len(heads):
                raise ValueError(f"the heads {list(heads)} go round in a circle")
        base = depths.setdefault(token, 0)
        for steps, passed in enumerate(reversed(path), start=1):
            depths[passed] = base + steps
    return max(depths.values(), default=0)


def tree_depth(model: str = SPACY_MODEL) -> BatchScore:
    """Depth of the deepest dependency tree of the response. Unit: steps from the root.

    Args:
        model: package name or folder of a spaCy pipeline with a parser.

    Raises:
        ValueError: spaCy or the pipeline is missing, or it has no parser.
    """
    pipeline = load_spacy(model)
    if "parser" not in pipeline.pipe_names:
        raise ValueError(f"the spaCy pipeline {model!r} has no parser, only {pipeline.pipe_names}")

    def scores(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        return [float(depth([token.head.i for token in document])) for document in pipeline.pipe(responses)]

    return scores


def all_objectives(tagger: str = "rules", model: str = SPACY_MODEL) -> BatchScore:
    """9 times `bagofwords` + `treedep` + `nouns`. Arguments: see `get_tagger`; `model` parses, and tags for spacy."""
    bag, tree, noun = bag_of_words(), tree_depth(model), nouns(tagger, model)

    def scores(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        rows = prompts, responses, metadata
        return [BAG_WEIGHT * b + t + n for b, t, n in zip(bag(*rows), tree(*rows), noun(*rows), strict=True)]

    return scores
