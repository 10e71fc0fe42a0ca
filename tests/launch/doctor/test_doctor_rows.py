"""Rows are read as the run's upstream reads them, and pairs without a scored token are judged by the run's own rule."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
from jinja2 import TemplateError

from launch.doctor.lengths import check_lengths, count_tokens, sides_of
from launch.doctor.methods import METHODS
from launch.doctor.rows import FAULTS, check_rows
from launch.doctor.run_file import Run
from launch.doctor.setup import Setup
from tests.launch.doctor.conftest import HAS_SWIFT
from tests.tiny import write_rows
from trl_ext.objectives.unscored import MOST

swift_only = pytest.mark.skipif(not HAS_SWIFT, reason="ms-swift is not installed in this environment")
USER, SAID, OTHER = (
    {"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "yes"), ("assistant", "no"))
)
PARTS = {"role": "assistant", "content": [{"type": "text", "text": "yes"}]}
TOOLS = [{"role": "assistant", "content": "I look."}, {"role": "tool", "content": "42"}, SAID]


@swift_only
@pytest.mark.parametrize(
    ("row", "sides"),
    [
        ({"messages": [USER, SAID], "rejected_response": "no"}, [["q", "yes"], ["q", "no"]]),
        ({"messages": [USER, SAID], "rejected_response": [OTHER]}, [["q", "yes"], ["q", "no"]]),
        ({"messages": [USER, SAID], "rejected_messages": [USER, OTHER]}, [["q", "yes"], ["q", "no"]]),
        ({"messages": [USER, PARTS], "rejected_response": "no"}, [["q", "yes"], ["q", "no"]]),
        ({"messages": [USER, *TOOLS], "rejected_response": "no"}, [["q", "I look.", "42", "yes"], ["q", "no"]]),
        (
            {"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "yes"}], "rejected_response": "no"},
            [["q", "yes"], ["q", "no"]],
        ),
        ({"query": "q", "response": "yes", "rejected_response": "no"}, [["q", "yes"], ["q", "no"]]),
    ],
    ids=["response", "list", "messages", "parts", "tools", "conversations", "query"],
)  # fmt: skip
def test_every_form_of_pair_that_ms_swift_reads(row, sides):
    assert FAULTS["pairs"](row, "here") is None
    found = list(sides_of(row, "pairs"))
    assert [[message["content"] for message in whole] for _, whole in found] == sides
    assert all([message["content"] for message in prompt] == ["q"] for prompt, _ in found)


@swift_only
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [USER, SAID]}, "no rejected_response"),
        ({"messages": [USER, SAID], "rejected_response": None}, "no rejected_response"),
        ({"messages": [USER, SAID], "rejected_response": ""}, "no rejected_response"),
        ({"messages": [USER, SAID], "rejected_messages": [USER]}, "no rejected_response"),
        ({"messages": [USER], "rejected_response": "no"}, "messages end with user"),
        ({"messages": [USER, {**SAID, "content": " "}], "rejected_response": "no"}, "the chosen answer is empty"),
        ({"messages": [USER, SAID], "rejected_response": "yes"}, "equals the rejected"),
        ({"messages": [USER, SAID], "rejected_response": [SAID]}, "equals the rejected"),
        ({"messages": [USER, PARTS], "rejected_messages": [USER, SAID]}, "equals the rejected"),
    ],
)
def test_what_is_no_pair_to_ms_swift(row, reason):
    assert reason in FAULTS["pairs"](row, "here")


@swift_only
@pytest.mark.parametrize("messages", ["q", [], ["q"], [{"role": "nobody", "content": "q"}], [{"role": "user"}]])
def test_messages_that_ms_swift_cannot_read(messages):
    for rows in ("pairs", "scored pairs"):
        with pytest.raises(ValueError):
            FAULTS[rows]({"messages": messages, "rejected_response": "no"}, "here")


@swift_only
def test_a_prompt_in_parts_is_read():
    row = {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}
    assert FAULTS["scored pairs"](row, "here") is None
    (sides,) = sides_of(row, "judged pairs")
    assert sides == ([USER], [USER])


def test_a_role_that_the_chat_template_does_not_know_is_counted_by_its_text():
    def refuse(*args, **kwargs):
        raise TemplateError("unknown role")

    class Words(SimpleNamespace):
        def __call__(self, text, **options):
            return {"input_ids": text.split()}

    tokenizer = Words(chat_template="one", apply_chat_template=refuse)
    assert count_tokens([{"role": "tool", "content": "four and two"}], tokenizer) == 3
    assert count_tokens("a text", tokenizer) == 2


def setup_of(method: str, **values) -> Setup:
    return Setup(Run(None, METHODS[method], values), Namespace(**values))


@pytest.mark.parametrize(("bad", "level"), [(0, None), (1, "warning"), (2, "error")])
@pytest.mark.parametrize("method", ["modpo-trl", pytest.param("modpo", marks=swift_only)])
def test_pairs_without_a_scored_token_are_judged_as_the_run_does(method, bad, level, world, tmp_path):
    """2 of 24 pairs are 8%: more than a run lets pass, and less than the tenth that the doctor once had of its own."""
    prompts = ["long " * 60 if place < bad else "short" for place in range(24)]
    if method == "modpo":
        rows = [{"messages": [{**USER, "content": text}, SAID], "rejected_response": "no"} for text in prompts]
        values = {"model": str(world / "model"), "truncation_strategy": "right"}
    else:
        rows = [{"prompt": text, "chosen": "yes", "rejected": "no"} for text in prompts]
        values = {"model_name_or_path": str(world / "model")}
    path = str(write_rows(tmp_path / "pairs.jsonl", rows))
    setup = setup_of(method, max_length=40, dataset=[path], dataset_name=path, **values)
    found = [(one.level, one.found) for one in check_lengths(setup) if "scored token" in one.found]
    assert [one for one, _ in found] == [level] * bool(bad)
    assert all(f"{bad} of 24 pairs" in text for _, text in found)
    assert 1 / 24 < MOST < 2 / 24


@pytest.mark.skipif(HAS_SWIFT, reason="ms-swift is installed in this environment")
def test_rows_of_ms_swift_are_skipped_where_it_is_not_installed(world):
    setup = setup_of("modpo", model=str(world / "model"), dataset=[str(world / "pairs.jsonl")], max_length=40)
    assert [one.level for one in check_rows(setup, None) + check_lengths(setup)] == ["skipped", "skipped"]
