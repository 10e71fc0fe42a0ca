"""The sentence that carries the weights: its inverse, and its way into a prompt and out again."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_ext.moodpo.instruction import annotate, has_system_role, parse, render, strip

PAIR = ["helpful", "harmless"]
SENTENCE = "Balance your answer as follows: 70% helpful, 30% harmless."
BLOCK = f"[Begin System Instruction]\n{SENTENCE}\n[End System Instruction]\n"

names = st.lists(st.from_regex(r"[^\W_]([\w -]{0,8}\w)?", fullmatch=True), min_size=1, max_size=6, unique=True)


@st.composite
def named_percents(draw):
    """Names with whole percentages that sum to 100."""
    chosen = draw(names)
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(chosen) - 1, max_size=len(chosen) - 1)))
    return chosen, np.diff([0, *cuts, 100]).tolist()


messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text()}), max_size=3
)
system = st.one_of(st.just([]), st.text().map(lambda text: [{"role": "system", "content": text}]))
conversations = st.tuples(system, messages).map(
    lambda parts: [*parts[0], {"role": "user", "content": "Why?"}, *parts[1]]
)


# --- the sentence -----------------------------------------------------------------------------------------------------


def test_the_sentence():
    assert render(PAIR, [0.7, 0.3]) == SENTENCE
    assert render(["a"], [1.0]) == "Balance your answer as follows: 100% a."
    assert render(["c", "a", "b"], [0.0, 0.05, 0.95]) == "Balance your answer as follows: 0% c, 5% a, 95% b."


@given(named_percents(), st.text(), st.text())
def test_what_is_written_is_read_back_exactly_also_from_inside_a_text(given_shares, before, after):
    chosen, percents = given_shares
    weights = [percent / 100 for percent in percents]
    expected = dict(zip(chosen, weights, strict=True))
    assert parse(render(chosen, weights)) == expected
    assert list(parse(f"{before}\n{render(chosen, weights)}\n{after}").items()) == list(expected.items())
    assert parse(render(chosen, np.float32(weights).tolist())) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda values: sum(values) > 1e-3))
def test_any_weights_are_shown_as_percentages_that_sum_to_100(values):
    weights = np.array(values) / sum(values)
    chosen = [f"objective{k}" for k in range(len(values))]
    found = parse(render(chosen, weights.tolist()))
    assert round(sum(found.values()) * 100) == 100 and list(found) == chosen
    assert np.abs(np.array(list(found.values())) - weights).max() < 0.01 + 1e-9


@pytest.mark.parametrize("percent", range(101))
def test_no_percent_is_lost_to_a_float(percent):
    assert render(PAIR, [percent / 100, 1 - percent / 100]).endswith(
        f": {percent}% helpful, {100 - percent}% harmless."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Be kind.", "0 weight instructions"),
        ("", "0 weight instructions"),
        (f"{SENTENCE} {SENTENCE}", "2 weight instructions"),
        (SENTENCE.replace("70", "60"), "sum to 90, expected 100"),
        (SENTENCE.replace("harmless", "helpful"), "named twice"),
        (SENTENCE.replace("%", ""), "0 weight instructions"),
        (SENTENCE.replace("70%", "70.0%"), "0 weight instructions"),
        (SENTENCE.removesuffix("."), "0 weight instructions"),
    ],
)
def test_what_is_no_instruction_is_not_read_as_one(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("chosen", "weights", "message"),
    [
        ([], [], "at least one objective"),
        (["a", "a"], [0.5, 0.5], "'a' is named twice"),
        (["a, 5% b", "c"], [0.5, 0.5], "use letters, digits"),
        (["a.", "c"], [0.5, 0.5], "use letters, digits"),
        (["", "c"], [0.5, 0.5], "use letters, digits"),
        (["a\nb", "c"], [0.5, 0.5], "use letters, digits"),
        (["a\n", "c"], [0.5, 0.5], "use letters, digits"),
        (PAIR, [1.0], "1 weights for the 2 objectives"),
        (PAIR, [0.5, 0.6], "sum to 1.1"),
        (PAIR, [-0.5, 1.5], "at least 0"),
    ],
)
def test_what_could_not_be_read_back_is_refused(chosen, weights, message):
    with pytest.raises(ValueError, match=message):
        render(chosen, weights)


# --- its place in a prompt --------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "Why is the sky blue?"}
GUIDE = {"role": "system", "content": "Be kind.", "weight": 3}


@pytest.mark.parametrize(
    ("prompt", "system_role", "expected"),
    [
        ("Why?", True, BLOCK + "Why?"),
        ("Why?", False, BLOCK + "Why?"),
        ("", False, BLOCK),
        ([USER], True, [{"role": "system", "content": SENTENCE}, USER]),
        ([GUIDE, USER], True, [{**GUIDE, "content": f"Be kind.\n\n{SENTENCE}"}, USER]),
        ([USER], False, [{**USER, "content": BLOCK + USER["content"]}]),
        ([GUIDE, USER, USER], False, [GUIDE, {**USER, "content": BLOCK + USER["content"]}, USER]),
    ],
)
def test_where_the_instruction_goes(prompt, system_role, expected):
    before = copy.deepcopy(prompt)
    assert annotate(prompt, PAIR, [0.7, 0.3], system_role=system_role) == expected
    assert prompt == before, "the data set's row stays as it is"


@given(st.one_of(st.text(), conversations), st.booleans(), named_percents())
def test_the_original_prompt_and_the_weights_come_back(prompt, system_role, given_shares):
    chosen, percents = given_shares
    annotated = annotate(prompt, chosen, [percent / 100 for percent in percents], system_role=system_role)
    before = copy.deepcopy(annotated)
    assert annotated != prompt and type(annotated) is type(prompt)
    assert strip(annotated) == prompt and annotated == before
    assert strip(prompt) == prompt
    text = annotated if isinstance(annotated, str) else "\n".join(message["content"] for message in annotated)
    assert list(parse(text).values()) == [percent / 100 for percent in percents]


@pytest.mark.parametrize("text", ["", "A\n", "A\n\n", f"Note: {SENTENCE} More.", f"Say: {SENTENCE}"])
def test_a_system_message_comes_back_to_the_letter(text):
    prompt = [{"role": "system", "content": text}, USER]
    assert strip(prompt) == prompt, "a sentence inside a text of the user's own is not taken for an annotation"
    for system_role in (True, False):
        assert strip(annotate(prompt, PAIR, [0.7, 0.3], system_role=system_role)) == prompt


@pytest.mark.parametrize("text", [BLOCK[:-1], f" {BLOCK}", BLOCK.replace("70%", "70"), f"{SENTENCE}\nWhy?"])
def test_a_text_that_only_resembles_a_block_is_left_alone(text):
    assert strip(text) == text and strip([{"role": "user", "content": text}]) == [{"role": "user", "content": text}]


@pytest.mark.parametrize("prompt", ["Why?", [USER], [GUIDE, USER]])
@pytest.mark.parametrize("system_role", [True, False])
def test_a_prompt_is_annotated_once(prompt, system_role):
    once = annotate(prompt, PAIR, [0.7, 0.3], system_role=system_role)
    with pytest.raises(ValueError, match="carries a weight instruction already"):
        annotate(once, PAIR, [0.2, 0.8], system_role=system_role)


@pytest.mark.parametrize("prompt", [[], [GUIDE], [{"role": "assistant", "content": "Hello."}]])
def test_without_a_system_role_a_user_message_is_needed(prompt):
    with pytest.raises(ValueError, match="no user message"):
        annotate(prompt, PAIR, [0.7, 0.3], system_role=False)


@pytest.mark.parametrize("role", ["system", "user"])
def test_a_content_that_is_no_text_is_named(role):
    prompt = [{"role": role, "content": [{"type": "image"}]}, {"role": "user", "content": "What is this?"}]
    with pytest.raises(ValueError, match=rf"message 0 \({role}\): content must be a text"):
        annotate(prompt, PAIR, [0.7, 0.3], system_role=role == "system")


# --- chat templates ---------------------------------------------------------------------------------------------------

RAISES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
TURNS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}\n{% endfor %}"
DROPS = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}\n{% endfor %}"
MERGES = (
    "{% set guide = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{% for m in messages if m['role'] != 'system' %}[{{ guide if loop.first else '' }}] {{ m['content'] }}{% endfor %}"
)
NEEDS_PARTS = "{% for m in messages %}{{ [] + m['content'] }}{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    from tests.tiny import build_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("chatml", True),
        (TURNS, True),
        (MERGES, True),
        (RAISES + TURNS, False),
        (DROPS, False),
        (None, False),
        (NEEDS_PARTS, False),
    ],
)
def test_templates_with_and_without_a_system_role(tokenizer, template, expected):
    other = copy.deepcopy(tokenizer)
    if template != "chatml":
        other.chat_template = template
    assert has_system_role(other) is expected
    if template is not None and template != NEEDS_PARTS:  # and the annotated prompt shows the policy the weights
        annotated = annotate([USER], PAIR, [0.7, 0.3], system_role=expected)
        text = other.apply_chat_template(annotated, tokenize=False, add_generation_prompt=True)
        assert text.count(SENTENCE) == 1 and USER["content"] in text
