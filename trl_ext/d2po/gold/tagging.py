"""Parts of speech: which words of a text are nouns, adjectives and verbs."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

from datasets_builders.choices import check_choice

from .tag_rules import tag_tokens
from .words import word_tokens

PartOfSpeech = Literal["noun", "adjective", "verb", "other"]
Tagged = list[tuple[str, PartOfSpeech]]
Tagger = Callable[[Sequence[str]], list[Tagged]]

TAGGERS = ("rules", "hanta", "spacy")
SPACY_MODEL = "en_core_web_sm"


def get_tagger(tagger: str = "rules", model: str = SPACY_MODEL) -> Tagger:
    """Texts -> their tokens with parts of speech.

    | `tagger` | what | needs |
    |---|---|---|
    | `rules` | word lists, endings and neighbours: coarse, the same everywhere | nothing |
    | `hanta` | the Hannover Tagger's English model | `pip install hanta` |
    | `spacy` | the spaCy pipeline `model`, a package name or folder | `pip install spacy` and the pipeline |

    Raises:
        ValueError: no such tagger, or what it needs is not installed.
    """
    check_choice("tagger", tagger, TAGGERS)
    if tagger == "rules":
        return lambda texts: [tag_tokens(word_tokens(text)) for text in texts]
    if tagger == "hanta":
        return _hanta()
    pipeline = load_spacy(model)
    return lambda texts: [[(t.text, penn_part(t.tag_)) for t in document] for document in pipeline.pipe(texts)]


def penn_part(tag: str) -> PartOfSpeech:
    """Part of speech of a Penn Treebank tag; modals (MD) are none of the three."""
    return {"NN": "noun", "JJ": "adjective", "VB": "verb"}.get(tag[:2], "other")


def claws_part(tag: str) -> PartOfSpeech:
    """Part of speech of a tag of the British National Corpus (CLAWS 5); modals (VM0) are none of the three."""
    if tag == "VM0":
        return "other"
    starts = {"NN": "noun", "NP": "noun", "AJ": "adjective", "VB": "verb", "VD": "verb", "VH": "verb", "VV": "verb"}
    return starts.get(tag[:2], "other")


def _hanta() -> Tagger:
    try:
        from HanTa.HanoverTagger import HanoverTagger
    except ImportError:
        raise ValueError("tagger 'hanta' needs the package HanTa: pip install hanta") from None
    model = HanoverTagger("morphmodel_en.pgz")

    def tag(text: str) -> Tagged:
        tokens = word_tokens(text)
        return [(word, claws_part(tag)) for word, _, tag in model.tag_sent(tokens)] if tokens else []

    return lambda texts: [tag(text) for text in texts]


@lru_cache(maxsize=2)
def load_spacy(model: str) -> Any:
    """A spaCy pipeline by package name or folder, loaded once.

    Raises:
        ValueError: spaCy or the pipeline is not installed.
    """
    try:
        import spacy
    except ImportError:
        raise ValueError(
            f"this gold function needs spaCy and the pipeline {model!r}: pip install spacy, then "
            f"python -m spacy download {model}"
        ) from None
    try:
        return spacy.load(model)
    except OSError as error:
        raise ValueError(
            f"spaCy cannot load the pipeline {model!r} ({error}); install it with python -m spacy download {model}, "
            "or give a folder as model="
        ) from None
