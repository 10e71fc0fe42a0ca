"""Every shape of a row, in every kind of file, gives the same prompt and the same pair; what no row may be is refused."""

import gzip
import json
import os

import pytest

from datasets_builders.fields import RowError
from datasets_builders.io import read_located_rows, read_rows
from datasets_builders.pair_rows import read_pair, read_sides
from datasets_builders.pairs import assistant, user
from datasets_builders.prompt_rows import as_messages, read_prompt
from tests.datasets_builders.containers import KINDS, write

LONG = "why " * 40_000  # more than the 131,072 characters at which Python's csv module stops
ASKED, GOOD, BAD = [user("Why?")], [assistant("Because.")], [assistant('No\u2028idea, "sorry".')]
SHAPES = {
    "prompt text": {"prompt": "Why?", "chosen": "Because.", "rejected": BAD[0]["content"]},
    "prompt messages": {"prompt": ASKED, "chosen": GOOD, "rejected": BAD},
    "question": {"question": "Why?", "response_j": "Because.", "response_k": BAD[0]["content"]},
    "conversations": {"chosen": ASKED + GOOD, "rejected": ASKED + BAD},
    "ultrafeedback": {"prompt": "Why?", "chosen": ASKED + GOOD, "rejected": ASKED + BAD, "messages": ASKED + GOOD},
    "transcripts": {"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected": f"\n\nHuman: Why?\n\nAssistant: {BAD[0]['content']}"},
    "rejected_response": {"messages": ASKED + GOOD, "rejected_response": BAD[0]["content"]},
    "rejected_response list": {"messages": ASKED + GOOD, "rejected_response": BAD},
    "rejected_messages": {"messages": ASKED + GOOD, "rejected_messages": ASKED + BAD},
    "null messages": {"messages": None, "prompt": "Why?", "chosen": "Because.", "rejected": BAD[0]["content"]},
}  # fmt: skip
PROMPTS = {
    "messages": {"messages": ASKED},
    "messages with the answer": {"messages": ASKED + GOOD},
    "null messages and prompt": {"messages": None, "prompt": "Why?"},
    "question alone": {"question": "Why?", "score": 1},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [*SHAPES, *PROMPTS])
def test_every_shape_in_every_kind_of_file(tmp_path, shape, kind):
    row = (SHAPES | PROMPTS)[shape]
    found = [row for _, row in read_rows(write(tmp_path, kind, [row, row]))]
    assert [as_messages(read_prompt(one)) for one in found] == [ASKED, ASKED]
    if shape in SHAPES:
        for pair in map(read_pair, found):
            assert (pair.prompt, pair.chosen, pair.rejected) == (ASKED, "Because.", BAD[0]["content"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_in_every_kind_of_file(tmp_path, kind):
    ((_, row),) = read_rows(write(tmp_path, kind, [{"prompt": LONG}]))
    assert read_prompt(row) == LONG


UNREADABLE = {
    "latin.jsonl": (b'{"prompt": "a"}\n{"prompt": "\xe4"}\n', r"latin\.jsonl:2: not UTF-8"),
    "latin.csv": (b"prompt\na\n\xe4\n", r"latin\.csv:3: not UTF-8"),
    "quote.csv": (b'prompt\na\n"b\nc\n', r"quote\.csv:4: not a table"),
    "twice.csv": (b"a,a\n1,2\n", r"twice\.csv:1: two columns have the name 'a'"),
    "cells.tsv": (b"a\tb\n1\n", r"cells\.tsv:2: not as many cells as the header has \(2\), found 1"),
    "deep.jsonl": (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", r"deep\.jsonl:1: lists and objects in each other"),
    "zeros.jsonl.gz": (gzip.compress(bytes(2**27 + 2), 1), r"zeros\.jsonl\.gz:1: a line of more than 134,217,728 bytes"),
    "zeros.csv.gz": (gzip.compress(bytes(2**27 + 2), 1), r"zeros\.csv\.gz:1: a line of more than"),
    "cut.jsonl.zst": (b"(\xb5/\xfd\x04", r"cut\.jsonl\.zst:1: damaged zstd"),
    "no.jsonl.zst": (b'{"prompt": "a"}', r"no\.jsonl\.zst:1: damaged zstd"),
    "no.parquet": (b"PAR1 and no more", r"no\.parquet:1: damaged Parquet"),
    "no.arrow": (b"ARROW1 and no more", r"no\.arrow:1: damaged Arrow"),
    "notes.txt": (b"a", r"notes\.txt: the name must end in one of \.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_no_file_may_be_is_refused_with_its_place(tmp_path, name):
    content, message = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_rows(tmp_path / name))


def test_links_to_nothing_pipes_and_impossible_names_are_refused(tmp_path):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "gone.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("link.jsonl", "pipe.jsonl", "x" * 5000, "\0"):
        with pytest.raises(ValueError, match=r"no such file|no regular file|too long"):
            list(read_rows(tmp_path / name))
    with pytest.raises(ValueError, match="a link to nothing"):
        list(read_rows(tmp_path))


def test_folders_of_several_splits_or_of_a_part_of_one_are_refused(tmp_path):
    data = tmp_path / "hub" / "data"
    data.mkdir(parents=True)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write(data, "parquet", [{"prompt": name}]).rename(data / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"several splits; name one: .*data/test-\*, .*data/train-\*"):
        list(read_rows(tmp_path / "hub"))
    assert len(list(read_rows(data / "train-*"))) == 2
    (data / "test-00000-of-00001.parquet").unlink()
    (data / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match="1 of 2 files are here"):
        list(read_rows(tmp_path / "hub"))


def test_maps_times_and_decimals_of_tables_are_json(tmp_path):
    import datetime
    import decimal

    import pyarrow
    import pyarrow.parquet

    when = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
    table = pyarrow.table(
        {
            "map": pyarrow.array([[("a", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
            "when": pyarrow.array([when]),
            "nested": pyarrow.array([[{"day": when.date(), "took": datetime.timedelta(1)}]]),
            "much": pyarrow.array([decimal.Decimal("1.5")]),
            "name": pyarrow.array(["x"]).dictionary_encode(),
            "none": pyarrow.array([None], pyarrow.date32()),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    ((_, row),) = read_rows(tmp_path / "rows.parquet")
    assert json.loads(json.dumps(row)) == {
        "map": {"a": 1},
        "when": "2024-05-01T12:00:00+00:00",
        "nested": [{"day": "2024-05-01", "took": "1 day, 0:00:00"}],
        "much": 1.5,
        "name": "x",
        "none": None,
    }


def swift(*messages, rejected="No."):
    return {"messages": list(messages), "rejected_response": rejected}


WHY, YES = user("Why?"), assistant("Because.")
NO_PAIR = [
    (swift(WHY, YES, rejected=7), "wrong_type", "'rejected_response' must be a text or a list of messages, found a int: 7"),
    (swift(WHY, YES, rejected=["a"]), "wrong_type", "message 1 of 'rejected_response' must be an object .* found a text"),
    (swift(WHY, YES, rejected="   "), "empty_reply", "the answer in 'rejected_response' is empty"),
    (swift(WHY, assistant(" \n")), "empty_reply", "the answer in 'messages' is empty"),
    # What the assistant said before is no answer.
    (swift(WHY, YES, WHY, assistant(" ")), "empty_reply", "the answer in 'messages' is empty"),
    (swift(WHY, YES, rejected=" Because.\n"), "identical_replies", "equal"),
    (swift(WHY, assistant("a b"), rejected="a  b"), "identical_replies", "equal"),
    (swift(WHY), "no_reply", "'messages' must end with what the assistant says, found a message of 'user'"),
    (swift(YES), "no_user_message", r"no message of the role 'user', only \['assistant'\]"),
    (swift(WHY, YES, assistant("More.")), "repeated_speaker", "messages 2 and 3 are both of the assistant"),
    (swift(WHY, YES, rejected=[WHY, assistant("No.")]), "user_in_reply", "holds no message of the user"),
    ({"messages": "text", "rejected_response": "No."}, "wrong_type", "'messages' must be a list of messages, found a text"),
    ({"messages": None, "rejected_response": "No."}, "no_pair", "found rejected_response; valid: messages with"),
    (swift(WHY, assistant(None)), "no_content", r"message 2 of 'messages' \(assistant\) has the content None"),
    (swift(WHY, "text"), "wrong_type", "message 2 of 'messages' must be an object"),
    (swift(WHY, {"content": "a"}), "wrong_type", "must have a text as 'role', found None"),
    (swift(user([{"type": "image"}]), YES), "other_part", "has a part 'image': texts and parts of the type 'text'"),
    (swift(WHY, assistant("\ud800")), "invalid_unicode", "character 0 is one half of a surrogate pair"),
    ({"prompt": [{"role": "\ud800", "content": "x"}, WHY], "chosen": "a", "rejected": "b"}, "invalid_unicode", "outside its content"),
    ({"prompt": "Why?", "chosen": "a", "rejected": [YES]}, "wrong_type", "'chosen' is a text and 'rejected' a list"),
    ({"prompt": 3, "chosen": "a", "rejected": "b"}, "wrong_type", "'prompt' must be a text or a list of messages"),
    ({"chosen": "a", "rejected": "b"}, "missing_prompt", "the row has no field 'prompt'"),
    ({"prompt": "How?", "chosen": [WHY, YES], "rejected": [WHY, assistant("b")]}, "prompt_differs", "'chosen'"),
    ({"prompt": [WHY, YES], "chosen": "a", "rejected": "b"}, "no_user_at_end", "found an answer there"),
    ({"question": "Why?", "response_j": "a"}, "missing_field", "'response_k'"),
    ({"text": "a"}, "no_pair", "found text; valid: "),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason", "message"), NO_PAIR)
def test_what_is_no_pair_is_refused(row, reason, message):
    with pytest.raises(RowError, match=message) as raised:
        read_sides(row)
    assert raised.value.reason == reason


NO_PROMPT = [
    ({"messages": "text"}, "wrong_type", "'messages' must be a list of messages, found a text"),
    ({"prompt": None}, "missing_field", "'messages' or 'prompt' or 'question' with a value; the row has: prompt"),
    ({"prompt": " "}, "empty_prompt", "'prompt' is empty"),
    ({"messages": []}, "empty_prompt", "'messages' is empty"),
    ({"prompt": 3}, "wrong_type", "must be a text or a list of messages, found a int: 3"),
    ({"prompt": {"role": "user"}}, "wrong_type", "found a object"),
    ({"prompt": [3]}, "wrong_type", "message 1 of 'prompt' must be an object"),
    ({"prompt": [user(None)]}, "no_content", r"message 1 of 'prompt' \(user\) has the content None"),
    ({"prompt": [user(" ")]}, "empty_prompt", "the last message of the user is empty"),
    ({"messages": [{"role": "system", "content": "a"}]}, "no_user_message", "only"),
    ({"messages": [WHY, {"role": "tool", "content": "a"}]}, "no_user_at_end", "found one of 'tool' there"),
    ({"question": "\ud800"}, "invalid_unicode", "one half"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason", "message"), NO_PROMPT)
def test_what_is_no_prompt_is_refused(row, reason, message):
    with pytest.raises(RowError, match=message) as raised:
        read_prompt(row)
    assert raised.value.reason == reason


def test_parts_of_text_are_text_and_calls_of_tools_are_answers():
    asked = {"role": "user", "content": [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?", "image": None}]}
    assert read_prompt({"messages": [asked]}) == [WHY]
    assert read_pair(swift(asked, YES)).prompt == [WHY]
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]}
    sides = read_sides(swift(WHY, call))
    assert sides.swift_row()["messages"][1]["tool_calls"] == call["tool_calls"]
    with pytest.raises(RowError, match="an answer calls a tool"):
        sides.pair()


def test_sides_that_part_early_keep_both_conversations():
    row = {
        "messages": [WHY, YES, user("And?"), YES],
        "rejected_messages": [user("How?"), assistant("So.")],
        "tools": "[]",
    }
    sides = read_sides(row)
    assert sides.swift_row() == row
    assert sides.swap().swift_row() == row | {
        "messages": row["rejected_messages"],
        "rejected_messages": row["messages"],
    }
    with pytest.raises(RowError, match="the two sides differ before their last message"):
        sides.pair()


def test_a_swap_takes_the_columns_of_a_side_with_it():
    row = swift(WHY, YES) | {
        "images": ["a.png"],
        "rejected_images": ["b.png"],
        "margin": 2.0,
        "tools": "[]",
        "id": None,
    }
    assert read_sides(row).swap().swift_row() == swift(WHY, assistant("No."), rejected="Because.") | {
        "images": ["b.png"], "rejected_images": ["a.png"], "margin": -2.0, "tools": "[]",
    }  # fmt: skip


def test_rows_are_located_by_file_and_line(tmp_path):
    path = write(tmp_path, "csv", [{"prompt": "a\nb"}, {"prompt": "c"}])
    assert [str(where) for where, _ in read_located_rows(path)] == [f"{path}:3", f"{path}:4"]
