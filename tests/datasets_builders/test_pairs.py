"""The pair and the shapes of the rows that the two trainers read."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_builders.pairs import (
    PREFERENCE_WRITERS,
    PreferencePair,
    to_swift,
    to_swift_sft,
    to_trl,
    to_trl_sft,
    user,
)

PROMPT = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
PAIR = PreferencePair(PROMPT, "good", "bad", {"margin": 2})

texts = st.text(string.printable, min_size=1)
pairs = st.builds(
    PreferencePair,
    prompt=texts.map(lambda text: [user(text)]),
    chosen=texts,
    rejected=texts,
    meta=st.one_of(st.just({}), st.floats(-4, 4).map(lambda margin: {"margin": margin, "source": "x"})),
)


@given(pairs)
def test_swapping_twice_is_the_identity_and_once_negates(pair):
    swapped = pair.swap()
    assert (swapped.chosen, swapped.rejected) == (pair.rejected, pair.chosen)
    assert swapped.meta.get("margin", 0) == -pair.meta.get("margin", 0)
    assert swapped.swap() == pair


@given(pairs, st.sampled_from(sorted(PREFERENCE_WRITERS)))
def test_rows_survive_json(pair, name):
    row = PREFERENCE_WRITERS[name](pair)
    assert json.loads(json.dumps(row, ensure_ascii=False)) == row


def test_shapes():
    good, bad = {"role": "assistant", "content": "good"}, {"role": "assistant", "content": "bad"}
    assert to_swift(PAIR) == {"messages": [*PROMPT, good], "rejected_response": "bad"}
    assert to_trl(PAIR) == {"prompt": PROMPT, "chosen": [good], "rejected": [bad]}
    assert to_swift_sft(PAIR) == to_trl_sft(PAIR) == {"messages": [*PROMPT, good]}
    assert len(PAIR.prompt) == 2, "writers must not append to the prompt they were given"


@pytest.mark.parametrize("prompt", [[], [{"role": "assistant", "content": "a"}]])
def test_a_prompt_ends_with_a_user_message(prompt):
    with pytest.raises(ValueError, match="end with a user message"):
        PreferencePair(prompt, "a", "b")
