"""Parts of speech by rules, measured on sentences tagged by hand; the golds that count them; dependency depth."""

import sys
from collections import Counter
from types import ModuleType, SimpleNamespace

import pytest

from trl_ext.d2po.gold import get_gold
from trl_ext.d2po.gold.parts import asked_for
from trl_ext.d2po.gold.tagging import claws_part, get_tagger, penn_part
from trl_ext.d2po.gold.trees import depth

# n noun, a adjective, v verb, the rest nothing. The rules were not made after them.
SENTENCES = """
The/ old/a river/n carries/v cold/a water/n from/ the/ mountains/n to/ the/ sea/n ./
She/ walked/v to/ the/ library/n and/ read/v about/ astronomy/n until/ evening/n ./
Good/a tools/n make/v light/a work/n of/ a/ heavy/a task/n ./
My/ sister/n does/v not/ want/v to/ sell/v her/ small/a red/a car/n ./
You/ should/ open/v the/ window/n before/ you/ go/v to/ sleep/v ./
The/ government/n announced/v a/ new/a policy/n on/ public/a transport/n ./
I/ have/v never/ seen/v such/ a/ beautiful/a painting/n in/ my/ life/n ./
Children/n usually/ play/v football/n in/ the/ park/n after/ school/n ./
The/ doctor/n 's/ answer/n was/v short/a but/ helpful/a ./
If/ it/ rains/v tomorrow/ ,/ we/ will/ stay/v at/ home/n and/ watch/v a/ movie/n ./
An/ education/n gives/v young/a people/n freedom/n and/ confidence/n ./
They/ are/v building/v a/ bridge/n between/ the/ two/ islands/n ./
Regular/a exercise/n improves/v both/ your/ health/n and/ your/ mood/n ./
Paris/n is/v the/ capital/n of/ France/n ./
The/ cat/n slept/v quietly/ under/ the/ wooden/a table/n ./
He/ could/ n't/ remember/v the/ name/n of/ the/ street/n ./
Mix/v the/ flour/n with/ two/ eggs/n and/ bake/v it/ for/ thirty/ minutes/n ./
The/ biggest/a problem/n is/v that/ nobody/ listens/v ./
Scientists/n discovered/v a/ dangerous/a virus/n in/ the/ jungle/n ./
Please/ send/v me/ a/ list/n of/ your/ favourite/a books/n ./
"""
LETTERS = {"n": "noun", "a": "adjective", "v": "verb", "": "other"}
BY_HAND = [
    [(word, LETTERS[tag]) for word, tag in (pair.rsplit("/", 1) for pair in line.split())]
    for line in SENTENCES.strip().splitlines()
]
TEXTS = [" ".join(word for word, _ in sentence).replace(" n't", "n't").replace(" 's", "'s") for sentence in BY_HAND]


def precision_and_recall(tagged):
    pairs = Counter()
    for found, right in zip(tagged, BY_HAND, strict=True):
        assert [word for word, _ in found] == [word for word, _ in right]
        pairs.update((one, other) for (_, one), (_, other) in zip(found, right, strict=True))
    result = {}
    for part in ("noun", "adjective", "verb"):
        hits = pairs[part, part]
        result[part] = (
            hits / sum(n for (found, _), n in pairs.items() if found == part),
            hits / sum(n for (_, right), n in pairs.items() if right == part),
        )
    return result


def test_how_often_the_rules_are_right():
    result = precision_and_recall(get_tagger("rules")(TEXTS))
    print(result)
    assert min(result["noun"]) >= 0.9, result
    assert min(result["verb"]) >= 0.9, result
    assert min(result["adjective"]) >= 0.85, result


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ""),
        ("12 , ( ?!", "ooooo"),
        ("I walk", "ov"),
        ("a walk", "on"),
        ("the walks", "on"),
        ("the man walks", "onv"),
        ("to walk the dog", "ovon"),
        ("they planned it", "ovo"),
        ("the planned trip", "oan"),
        ("she carries water", "ovn"),
        ("the dog's bone", "onon"),
        ("it's cold", "ova"),
        ("can shorten", "ov"),
        ("the young are happy", "onva"),
        ("happiness quickly happier", "noa"),
        ("We met Quick Bear", "ovnn"),
        ("Go home", "vn"),
        ("a courageous famous blorb", "oaan"),
        ("the blorbation blorbed", "onv"),
        ("Blorb", "n"),
    ],
)
def test_rules(text, tags):
    letters = {"noun": "n", "adjective": "a", "verb": "v", "other": "o"}
    assert "".join(letters[tag] for _, tag in get_tagger()([text])[0]) == tags


def test_nouns_are_counted():
    text = "The cat saw the Cat and the cat drank the water."
    assert get_gold("nouns")([""], [text]) == [4.0]
    assert get_gold("unique_nns")([""], [text]) == [3.0]  # cat, Cat, water
    assert get_gold("nounvstoks")([""], [text]) == [3 * 4 + 50 - 12]
    assert get_gold("nounvstoks")(["", ""], ["", "and the"]) == [50, 48]
    assert get_gold("nouns")(["cat"], [""]) == [0.0]


def test_contpos_counts_what_the_prompt_names():
    text = "The old cat sees the big dog and the small red bird."
    gold = get_gold("contpos")
    prompts = ["max noun", "min noun", "Use many adj", "min adj", "max verb", "minimize verbs", "Maximise adjectives!"]
    assert gold(prompts, [text] * 7) == [3, -3, 4, -4, 1, -1, 4]


@pytest.mark.parametrize("prompt", ["", "write a text", "noun verb", "max min noun", "adjacent", "pronoun", "max"])
def test_contpos_refuses_prompts_that_name_nothing_or_too_much(prompt):
    with pytest.raises(ValueError, match="contpos reads from the prompt"):
        asked_for(prompt)


def test_tags_of_other_taggers():
    assert [penn_part(tag) for tag in ("NN", "NNPS", "JJR", "VBZ", "MD", "RB", "PRP", "")] == [
        "noun", "noun", "adjective", "verb", "other", "other", "other", "other"
    ]  # fmt: skip
    assert [claws_part(tag) for tag in ("NN1", "NP0", "AJ0", "VVZ", "VBD", "VM0", "AV0", "PNP")] == [
        "noun", "noun", "adjective", "verb", "verb", "other", "other", "other"
    ]  # fmt: skip


def test_the_hannover_tagger_where_it_is_installed():
    pytest.importorskip("HanTa")
    result = precision_and_recall(get_tagger("hanta")(TEXTS))
    assert min(result["noun"]) >= 0.9 and min(result["verb"]) >= 0.9, result
    assert get_gold("nouns", tagger="hanta")(["", ""], ["The cat drank water.", ""]) == [2.0, 0.0]


def test_missing_packages_are_named(monkeypatch):
    for package in ("spacy", "HanTa", "HanTa.HanoverTagger"):
        monkeypatch.setitem(sys.modules, package, None)
    for name in ("treedep", "allobjs"):
        with pytest.raises(ValueError, match="pip install spacy, then python -m spacy download en_core_web_sm"):
            get_gold(name)
    with pytest.raises(ValueError, match="python -m spacy download my_model"):
        get_gold("nouns", tagger="spacy", model="my_model")
    with pytest.raises(ValueError, match="pip install hanta"):
        get_gold("nouns", tagger="hanta")


class Pipeline:
    """Stands for a spaCy pipeline: words hang on the word before them, longer ones on the first."""

    def __init__(self, pipe_names):
        self.pipe_names = pipe_names

    def pipe(self, texts):
        for text in texts:
            words = [SimpleNamespace(text=word, i=place, tag_="NN") for place, word in enumerate(text.split())]
            for word in words:
                word.head = words[0 if len(word.text) > 3 else max(word.i - 1, 0)]
            yield words


@pytest.fixture
def spacy(monkeypatch):
    from trl_ext.d2po.gold import tagging

    tagging.load_spacy.cache_clear()
    module = ModuleType("spacy")
    loaded = []

    def load(name):
        if name == "absent":
            raise OSError("[E050] Can't find model 'absent'.")
        loaded.append(name)
        return Pipeline(["tagger"] if name == "no_parser" else ["tagger", "parser"])

    module.load, module.loaded = load, loaded
    monkeypatch.setitem(sys.modules, "spacy", module)
    yield module
    tagging.load_spacy.cache_clear()


def test_the_depth_of_a_tree(spacy):
    texts = ["", "a", "a b c", "a long more", "a b c d long e f"]
    assert get_gold("treedep")([""] * 5, texts) == [0, 0, 2, 1, 3]
    assert get_gold("nouns", tagger="spacy")([""] * 2, ["a b", "c"]) == [2.0, 1.0]
    assert spacy.loaded == ["en_core_web_sm"]  # once


def test_all_objectives_are_a_weighted_sum(spacy):
    text = "data a b cat"
    assert get_gold("allobjs")([""], [text]) == [9 * 1 + 3 + get_gold("nouns")([""], [text])[0]]
    assert get_gold("allobjs", tagger="spacy", model="other")([""], [text]) == [9 * 1 + 3 + 4]


def test_pipelines_that_cannot_serve_are_refused(spacy):
    with pytest.raises(ValueError, match="'no_parser' has no parser"):
        get_gold("treedep", model="no_parser")
    with pytest.raises(ValueError, match=r"cannot load the pipeline 'absent'.*spacy download absent"):
        get_gold("treedep", model="absent")


@pytest.mark.parametrize(
    ("heads", "steps"),
    [([], 0), ([0], 0), ([0, 1], 0), ([0, 0], 1), ([1, 2, 2], 2), ([1, 1, 1, 2, 3, 5, 5], 3), ([1, 2, 3, 3, 2], 3)],
)
def test_depth(heads, steps):
    assert depth(heads) == steps


def test_a_long_chain_and_a_circle():
    assert depth([0, *range(20_000)]) == 20_000
    with pytest.raises(ValueError, match="circle"):
        depth([1, 0])
