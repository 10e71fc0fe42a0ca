"""The texts of a margin are those of the row that is encoded, whatever the row's form and whichever row takes its place."""

import pytest

pytest.importorskip("swift")

from swift_ext.modpo.texts import TEXTS, pair_texts, with_texts
from tests.tiny import preference_rows

USER, SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}],
}
TOOLS = [
    {"role": "assistant", "content": "I look."},
    {"role": "tool", "content": "42"},
    {"role": "assistant", "content": "It is 42."},
]


@pytest.mark.parametrize(
    ("row", "chosen", "rejected"),
    [
        ({"messages": [USER, SAID], "rejected_response": "no"}, ([USER], "yes"), ([USER], "no")),
        (
            {"messages": [USER, SAID], "rejected_messages": [USER, {"role": "assistant", "content": "no"}]},
            ([USER], "yes"), ([USER], "no"),
        ),
        (  # the sides part in the first turn: each has its own prompt
            {
                "messages": [USER, SAID, USER, SAID],
                "rejected_messages": [USER, {"role": "assistant", "content": "no"}, USER, {"role": "assistant", "content": "never"}],
            },
            ([USER, SAID, USER], "yes"), ([USER, {"role": "assistant", "content": "no"}, USER], "never"),
        ),
        ({"messages": [USER, *TOOLS], "rejected_response": "no"}, ([USER], "I look.\nIt is 42."), ([USER], "no")),
        ({"messages": [USER, SAID], "rejected_response": TOOLS}, ([USER], "yes"), ([USER], "I look.\nIt is 42.")),
        (
            {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "yes"}]}], "rejected_response": "no"},
            ([USER], "yes"), ([USER], "no"),
        ),
        (
            {"messages": [{"role": "system", "content": "s"}, USER, SAID], "rejected_response": "no"},
            ([{"role": "system", "content": "s"}, USER], "yes"), ([{"role": "system", "content": "s"}, USER], "no"),
        ),
        ({"messages": [USER, CALL], "rejected_response": "no"}, ([USER], ""), ([USER], "no")),
        ({"messages": [USER, SAID], "rejected_messages": [USER, CALL]}, ([USER], "yes"), ([USER], "")),
    ],
    ids=["response", "messages", "part early", "tools", "list", "parts", "system", "chosen call", "rejected call"],
)  # fmt: skip
def test_both_sides_of_every_form_of_row_that_ms_swift_documents(row, chosen, rejected):
    found = [([{k: m[k] for k in ("role", "content")} for m in prompt], answer) for prompt, answer in pair_texts(row)]
    assert found == [chosen, rejected]


@pytest.fixture(scope="module")
def template(tiny):
    from swift.model import get_processor
    from swift.template import get_template

    processor = get_processor(str(tiny), model_type="llama")
    template = get_template(processor, template_type="chatml", max_length=56, truncation_strategy="raise")
    template.set_mode("rlhf")
    template.remove_unused_columns = False
    return template


def test_a_row_that_takes_the_place_of_one_that_is_too_long_brings_its_own_texts(template):
    """ms-swift's lazy tokenisation encodes another row then; 27 of 48 responses had another row's text."""
    from datasets import Dataset
    from swift.dataset import LazyLLMDataset

    rows = preference_rows(48)
    inner = LazyLLMDataset(Dataset.from_list(rows), template.encode, random_state=0)
    dataset = with_texts(inner, "train")
    others = 0
    for index in range(len(dataset)):
        encoded = dataset[index]
        sides = encoded["_extra_kwargs"][TEXTS]
        for side, (_, answer) in zip(("chosen", "rejected"), sides, strict=True):
            ids = [token for token in encoded[f"{side}_labels"] if token != -100]
            assert template.tokenizer.decode(ids, skip_special_tokens=True).strip() == answer.strip()
        others += sides[1][1] != rows[index]["rejected_response"]
    assert others > 5  # it did happen
    assert inner.encode_func == template.encode  # upstream's own data set is left as it was


def test_a_row_that_only_calls_a_tool_trains_itself(template):
    """An error of the texts made ms-swift's lazy tokenisation take another row in silence."""
    from swift.dataset import LazyLLMDataset
    from swift.template import get_template

    tools = get_template(template.processor, template_type="chatml", agent_template="hermes")
    tools.set_mode("rlhf")
    rows = [{"messages": [USER, CALL], "rejected_response": "no"}, *preference_rows(4)]
    dataset = with_texts(LazyLLMDataset(rows, tools.encode, random_state=0), "train")
    encoded = dataset[0]
    (_, said), (_, other) = encoded["_extra_kwargs"][TEXTS]
    assert (said, other) == ("", "no") and any(token != -100 for token in encoded["chosen_labels"])


def test_a_stream_is_refused():
    from datasets import Dataset

    stream = Dataset.from_list(preference_rows(2)).to_iterable_dataset()
    with pytest.raises(ValueError, match=r"the train rows come from a IterableDataset.*--streaming false"):
        with_texts(stream, "train")
