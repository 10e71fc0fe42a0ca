"""Golds that compare with the prompt or with metadata: omission, einstein, paraphrase."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.tiny import build_tokenizer
from trl_ext.d2po.gold import get_gold
from trl_ext.d2po.gold.answers import grid_share
from trl_ext.d2po.gold.paraphrase import lexical_term

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "d2po_gold.json").read_text())
SOLUTION = [["House", "1", "2"], ["Color", "red", "blue"]]


@pytest.mark.parametrize("case", VECTORS["gold_einstein"], ids=lambda case: case["text"][:40])
def test_einstein_vectors(case):
    question, answer = case["text"].removeprefix("Question: ").split("\n\nAnswer: ")
    assert get_gold("einstein")([question], [answer], [{"sol_rows": case["solution"]}]) == [case["score"]]


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("", 0),
        ("House, 1 , 2 \nColor, the red one,blue", 1),  # contained is enough
        ("x,1,2\ny,red,blue", 1),  # the first column names the row and does not count
        ("House,2,1\nColor,blue,red", 0),
        ("Color,red,blue\nHouse,1,2", 0),
        ("House,1,2\nColor,Red,blue", 0.75),
        ("House,1,2,3,4\nColor,red,blue,green\nPet,cat,dog", 1),  # what is too much does not matter
        ("House\nColor", 0),
        ("\nHouse,1,2\nColor,red,blue\n\n", 1),
    ],
)
def test_the_share_of_a_grid(answer, share):
    assert grid_share(SOLUTION, answer) == share


@pytest.mark.parametrize("rows", [[], [[]], [["a"]], [["a", "b"], ["a"]]])
def test_grids_without_cells_are_refused(rows):
    with pytest.raises(ValueError, match="sol_rows"):
        grid_share(rows, "a,b")


def test_missing_metadata_is_named():
    with pytest.raises(ValueError, match=r"'einstein' needs metadata\['sol_rows'\]; this row has \['rows'\]"):
        get_gold("einstein")(["q"], ["a"], [{"rows": SOLUTION}])
    with pytest.raises(ValueError, match=r"'omission' needs metadata\['disallowed'\]; this row has \[\]"):
        get_gold("omission")(["q"], ["a"])


def test_omission_counts_the_last_nine_words():
    gold = get_gold("omission")
    nine = "b c d e f g h i j"
    score = lambda response, disallowed: gold([""], [response], [{"disallowed": disallowed}])[0]  # noqa: E731
    assert score("a " + nine, "z " + nine) == 0  # what stands before the last nine does not count
    assert score("", "") == 0
    assert score("", nine) == score(nine, "") == 9
    assert score(nine, "b c d e f g h i k") == 1
    assert score("x y z " * 5, nine) == 9
    assert score("j i", "i j") == 2
    assert score("cat", "dog") == 1  # words, not letters


@pytest.mark.skipif(find_spec("tokenizers") is None, reason="tokenizers is not installed")
def test_omission_with_a_tokenizer(tmp_path):
    from tokenizers import Tokenizer, processors

    build_tokenizer(tmp_path)
    path = str(tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <|im_end|>", special_tokens=[("<|im_end|>", 2)])
    tokenizer.save(path)
    gold = get_gold("omission", tokenizer=str(tmp_path))
    score = lambda response, disallowed: gold([""], [response], [{"disallowed": disallowed}])[0]  # noqa: E731
    assert score("A short answer", "A short answer") == 0
    assert 0 < score("qqqqqqqqqq", "zzzzzzzzzz") <= 9
    assert score("qzqzqzqzq", "") == 9  # no special token takes a place
    assert score("q", "zx") == 2


@pytest.mark.parametrize("case", VECTORS["gold_paraphrase_lexical_term"], ids=lambda case: case["q"])
def test_paraphrase_vectors(case):
    assert lexical_term(case["q"], case["a"]) == case["value"]
    assert get_gold("paraphrase", lexical_only=True)([case["q"]], [case["a"]]) == [2 * case["value"]]


@pytest.mark.parametrize(
    ("question", "answer", "value"),
    [
        ("a b", "c d", 1),
        ("a b", "a c", 0.75),
        ("a", "", 0.5),
        ("a b c d", "a", 0.5),
        ("a a a", "b", 1),
        ("A", "a", 0.5),
    ],
)
def test_the_lexical_term(question, answer, value):
    assert lexical_term(question, answer) == lexical_term(answer, question) == value


class Encoder:
    """Stands for sentence-transformers: two numbers a text, made of its length."""

    def __init__(self, name, device=None):
        self.name, self.device = name, device

    def encode(self, texts, normalize_embeddings=False, convert_to_numpy=True):
        assert normalize_embeddings and convert_to_numpy
        angles = np.array([len(text) * np.pi / 12 for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], -1)


def test_paraphrase_adds_the_cosine(monkeypatch):
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    gold = get_gold("paraphrase", model="some/model")
    # Angles 0, 60 and 180 degrees apart.
    assert gold(["ab"] * 3, ["cd", "cdcdcd", "c" * 14]) == pytest.approx([1 + 2, 0.5 + 2, -1 + 2])
    assert gold(["ab"], ["ab"]) == pytest.approx([1 + 2 * 0.5])


def test_paraphrase_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match="pip install sentence-transformers; with lexical_only=True"):
        get_gold("paraphrase")
