"""The registry: exact names, checked arguments, one score a row that depends on that row alone."""

import random
import subprocess
import sys

import pytest

from trl_ext.d2po.gold import GOLD_NAMES, GoldFunction, get_gold
from trl_ext.d2po.gold.base import with_noise

OFFLINE = (
    "bagofwords",
    "reversebow",
    "nouns",
    "unique_nns",
    "nounvstoks",
    "tokdense",
    "readinggrade",
    "math",
    "omission",
    "einstein",
    "contpos",
    "paraphrase",
)
ROWS = [
    ("Count each noun in (3+4)*2", "The cat sat on the mat. " * 4, {"disallowed": "a dog", "sol_rows": [["a", "cat"]]}),
    ("max verb 1+1", "2", {"disallowed": "2", "sol_rows": [["a", "b"]]}),
    ("min adj (2-5)", "a big,red car", {"disallowed": "", "sol_rows": [["a", "red"]]}),
    ("noun 9*9", "=81, the Data and data have help; a well-known city, it's safe, isn't it? Yes, a very safe city.", {"disallowed": "city", "sol_rows": [["x", "1"]]}),
]  # fmt: skip


def make(name: str, **arguments):
    return get_gold(name, **({"lexical_only": True} if name == "paraphrase" else {}), **arguments)


def call(gold, rows):
    prompts, responses, metadata = zip(*rows, strict=True)
    return gold(prompts, responses, metadata)


def test_the_names_are_those_of_the_table():
    assert GOLD_NAMES == (
        "bagofwords", "reversebow", "nouns", "unique_nns", "treedep", "contpos", "nounvstoks", "tokdense", "readinggrade",
        "allobjs", "omission", "einstein", "paraphrase", "math", "contrastivedistill", "eurusrm", "ultrafeedbackgold",
    )  # fmt: skip


@pytest.mark.parametrize("name", OFFLINE)
def test_a_row_does_not_depend_on_its_neighbours(name):
    gold = make(name)
    together = call(gold, ROWS)
    alone = [call(gold, [row])[0] for row in ROWS]
    order = random.Random(0).sample(range(len(ROWS)), len(ROWS))
    assert together == alone
    assert call(gold, [ROWS[place] for place in order]) == [together[place] for place in order]
    assert all(type(value) is float for value in together)
    assert len(set(together)) > 1
    assert (gold.name, gold.costs_money) == (name, False)
    assert call(gold, ROWS[:1] * 2) == together[:1] * 2
    assert gold([], []) == []


@pytest.mark.parametrize(
    ("name", "near"),
    [("bagofword", "bagofwords"), ("Math", "math"), ("function:nouns", "nouns"), ("bagofwords2", "bagofwords")],
)
def test_an_unknown_name_is_refused(name, near):
    if ":" in name:
        with pytest.raises(ValueError, match="cannot be imported"):
            get_gold(name)
        return
    with pytest.raises(ValueError, match=rf"unknown gold function '{name}'; did you mean '{near}'\? Valid: bagofwords"):
        get_gold(name)


def test_a_name_inside_another_is_not_enough():
    """The reference matches substrings: `cont_nounsnoise` was a valid name there."""
    for name in ("", "xnouns", "nouns_noise", "nouns ", "treedepnouns"):
        with pytest.raises(ValueError, match="unknown gold function"):
            get_gold(name)


def test_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match="'nouns' takes no argument 'taggers'; did you mean 'tagger'"):
        get_gold("nouns", taggers="rules")
    with pytest.raises(ValueError, match=r"'math' takes no argument 'depth'; Valid: noise, noise_seed"):
        get_gold("math", depth=1)
    with pytest.raises(ValueError, match="'ultrafeedbackgold' takes no argument 'noise'"):
        get_gold("ultrafeedbackgold", noise=1.0)
    with pytest.raises(ValueError, match=r"tagger is 'spcy'.*did you mean 'spacy'"):
        get_gold("nouns", tagger="spcy")


def test_lists_of_different_length_are_refused():
    gold = get_gold("bagofwords")
    for rows in ((["a"], ["b", "c"]), (["a", "b"], ["c"]), (["a"], ["b"], [{}, {}])):
        with pytest.raises(ValueError, match="prompts"):
            gold(*rows)


def half_length(prompts, responses, metadata):
    return [len(response) / 2 + row.get("bonus", 0) for response, row in zip(responses, metadata, strict=True)]


def one_short(prompts, responses, metadata):
    return half_length(prompts, responses, metadata)[1:]


NOT_A_FUNCTION = 3


def test_a_python_function_by_its_path():
    gold = get_gold(f"{__name__}:half_length")
    assert isinstance(gold, GoldFunction)
    assert gold.name == f"{__name__}:half_length"
    assert not gold.costs_money
    assert gold(["", ""], ["abc", "a"]) == [1.5, 0.5]
    assert gold(["", ""], ["abc", "a"], [{"bonus": 1}, {}]) == [2.5, 0.5]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no_such_module:f", "cannot be imported"),
        (f"{__name__}:missing", "cannot be imported"),
        (f"{__name__}:NOT_A_FUNCTION", "is a int, not a function"),
    ],
)
def test_a_path_that_leads_nowhere(path, problem):
    with pytest.raises(ValueError, match=problem):
        get_gold(path)


def test_a_python_function_of_too_few_scores_is_refused():
    with pytest.raises(ValueError, match="gave 1 scores for 2 responses"):
        get_gold(f"{__name__}:one_short")(["", ""], ["a", "b"])
    with pytest.raises(ValueError, match="takes no argument 'x'"):
        get_gold(f"{__name__}:one_short", x=1)


def test_noise_belongs_to_the_row():
    quiet, loud = get_gold("bagofwords"), get_gold("bagofwords", noise=2.0, noise_seed=1)
    prompts, responses = [f"question {place}" for place in range(400)], ["data code"] * 400
    shifts = [value - 2 for value in loud(prompts, responses)]
    assert quiet(prompts, responses) == [2.0] * 400
    assert loud(prompts[::-1], responses) == [2 + shift for shift in shifts[::-1]]
    assert all(abs(shift) <= 2 for shift in shifts)
    assert max(shifts) > 1.9 and min(shifts) < -1.9 and abs(sum(shifts)) / 400 < 0.2
    assert loud(prompts[:1], ["data"])[0] - 1 != shifts[0]
    assert get_gold("bagofwords", noise=2.0, noise_seed=2)(prompts[:1], responses[:1])[0] - 2 != shifts[0]
    one, other = loud(["a|b", "a"], ["data", "b|data"])  # the same text when only a sign stands between
    assert one != other


def test_noise_must_not_be_negative():
    with pytest.raises(ValueError, match=r"noise is -1.0"):
        get_gold("math", noise=-1.0)
    with pytest.raises(ValueError, match="noise is nan"):
        with_noise(lambda *rows: [], float("nan"), 0)


def test_only_what_is_used_is_imported():
    code = (
        "import sys; from trl_ext.d2po.gold import get_gold;"
        "get_gold('nouns')(['a'], ['b']); get_gold('math')(['1+1'], ['2']);"
        "print([n for n in ('torch', 'transformers', 'spacy', 'nltk', 'HanTa', 'datasets_builders.teacher') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
