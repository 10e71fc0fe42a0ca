"""Prompts of a file: what is read, how the policy is asked, what is left out, and which ones are held out."""

import json

import pytest

from tests.tiny import build_tokenizer
from trl_ext.online_dpo.prompt_check import check_prompts, is_empty, prompt_fault
from trl_ext.online_dpo.prompts import (
    count_tokens,
    policy_prompt,
    prepare_prompts,
    prompts_and_columns,
    read_prompts,
    say_left_out,
    split_prompts,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_three_formats_give_the_same_prompts(tmp_path):
    import pyarrow
    import pyarrow.parquet

    prompts = ["NA", 'He said: "no,\nnever".', "\n\nHuman: Hi\n\nAssistant:"]
    lines = "".join('"' + text.replace('"', '""') + '",1\n' for text in prompts)
    (tmp_path / "p.csv").write_text("ask,other\n" + lines, encoding="utf-8")
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"ask": text}) + "\n" for text in prompts), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.table({"ask": prompts}), tmp_path / "p.parquet")
    for name in ("p.csv", "p.jsonl", "p.parquet"):
        assert read_prompts(str(tmp_path / name), "ask") == prompts


def test_rows_of_other_columns_are_read_where_no_column_is_asked_for(tmp_path):
    """D2PO's own rows are of `question`; a null column beside a prompt is none; a blank one is left for the filter."""
    rows = [
        {"question": "Why?"},
        {"messages": None, "prompt": "How?"},
        {"prompt": [user([{"type": "text", "text": "So?"}])]},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": " "}]))
    assert read_prompts(str(tmp_path / "p.jsonl"), "prompt") == ["Why?", "How?", [user("So?")], ""]
    columns = prompts_and_columns([("1", {"question": "Why?", "n": 1}), ("2", {"prompt": "How?"})])[1]
    assert columns == {"n": [1, None]}


def test_conversations_are_read(tmp_path):
    chat = [{"role": "user", "content": "Hi"}]
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": chat}) + "\n")
    assert read_prompts(str(tmp_path / "p.jsonl"), "prompt") == [chat]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "prompt\na\n", r"p\.csv:2: --prompt_column 'ask': no field 'ask' with a value; the row has: prompt"),
        (
            "p.jsonl",
            '{"ask": "a"}\n\n{"ask": 3}\n',
            r"p\.jsonl:3: field 'ask' must be a text or a list of messages, found a int: 3",
        ),
        ("p.jsonl", '{"ask": "a"}\n{"ask"\n', r"p\.jsonl:2: not a JSON object"),
        ("p.jsonl", '{"ask": "a"}\n["ask"]\n', r"p\.jsonl:2: expected one JSON object per line, found a list"),
        ("p.txt", "a", r"p\.txt: the name must end in one of"),
    ],
)
def test_mistakes_in_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_prompts(str(tmp_path / name), "ask")
    with pytest.raises(ValueError, match="no such file"):
        read_prompts(str(tmp_path / "absent.csv"), "ask")


def test_how_the_policy_is_asked():
    assert policy_prompt(" Why? ", "assistant", True) == [{"role": "user", "content": "Why?"}]
    assert policy_prompt(" Why? ", "assistant", False) == "Why?"
    for transcript in ("\n\nHuman: Hi\n\nAssistant:", "Human: Hi\n\nAssistant:"):
        assert policy_prompt(transcript, "assistant", True) == "\n\nHuman: Hi\n\nAssistant:"
    (message,) = policy_prompt("A post\nof two lines", "summary", True)
    assert "### Input: A post of two lines ### Response:" in message["content"]
    marked = "### Instruction: Shorten. ### Input: x ### Response:"
    assert policy_prompt(marked, "summary", False) == marked


def test_filters_count_tokens_not_characters(tokenizer):
    word = "Bread needs flour"
    length = count_tokens(policy_prompt(word, "assistant", True), tokenizer)
    assert length != len(word)
    for shortest, longest, dropped, said in (
        (length, length, {}, "none"),
        (length + 1, 99, {"too_short": 1}, f"1 too_short (--min_prompt_tokens is {length + 1})"),
        (1, length - 1, {"too_long": 1}, f"1 too_long (--max_prompt_tokens is {length - 1})"),
    ):
        kept, counts = prepare_prompts([word], tokenizer, "assistant", shortest, longest)
        assert counts == dropped and len(kept) == (not dropped)
        assert say_left_out(counts, longest, shortest) == said
    kept, counts = prepare_prompts([word, f" {word}", "  "], tokenizer, "assistant", 1, 99)
    assert len(kept) == 1 and counts == {"repeated": 1, "empty": 1}
    assert say_left_out(counts, 99) == "1 repeated, 1 empty"


def user(content, role="user"):
    return {"role": role, "content": content}


FAULTS = [
    (None, "None is neither a text nor a list of messages"),
    (3, "3 is neither a text nor"),
    ([], r"\[\] is neither a text nor"),
    (["a"], ".*message 1 has no role"),
    ([{"content": "a"}], ".*message 1 has no role"),
    ([user(None)], r"message 1 \(user\) has the content None: a text is valid"),
    ([{"role": "user"}], r"message 1 \(user\) has the content None"),
    ([user([{"type": "text", "text": "a"}])], r"message 1 \(user\) has the content \[\{'type': 'text'"),
    ([user("a"), user(None, "assistant"), user("b")], r"message 2 \(assistant\) has the content None"),
    ([user("a", "system")], r"no message of the role 'user', only \['system'\]"),
    ("a\ud83d", "character 1 is one half of a surrogate pair"),
    ([user("\ud83d")], r"message 1 \(user\): character 0 is one half"),
]


@pytest.mark.parametrize(("prompt", "message"), FAULTS)
def test_a_row_without_a_prompt_is_refused_by_every_way_in(tokenizer, tmp_path, prompt, message):
    with pytest.raises(ValueError, match=f"prompts, row 2: {message}"):
        prepare_prompts(["Why?", prompt], tokenizer, "assistant", 1, 99)
    with pytest.raises(ValueError, match=f"train_dataset row 2.*{message}"):
        check_prompts([[user("Why?")], prompt], "train_dataset")
    (tmp_path / "p.jsonl").write_text(json.dumps({"ask": "Why?"}) + "\n" + json.dumps({"ask": prompt}) + "\n")
    # A file's parts of text are joined, and its empty lists are left out as empty prompts.
    if prompt not in ([], [user([{"type": "text", "text": "a"}])]):
        with pytest.raises(ValueError, match=r"p\.jsonl:2: "):
            read_prompts(str(tmp_path / "p.jsonl"), "ask")


def test_what_says_nothing_is_left_out_and_counted(tokenizer):
    asked, blank = [user("Be kind.", "system"), user("Why?")], [user("Why?"), user("So.", "assistant"), user(" \n")]
    assert prompt_fault(asked) is prompt_fault(blank) is prompt_fault("") is None
    assert [is_empty(prompt) for prompt in (asked, blank, "a", " ")] == [False, True, False, True]
    kept, dropped = prepare_prompts([blank, "", asked], tokenizer, "assistant", 1, 99)
    assert kept == [asked] and dropped == {"empty": 2}
    with pytest.raises(ValueError, match="train_dataset row 1: the prompt is empty"):
        check_prompts([blank], "train_dataset")


def test_prompts_of_two_kinds_are_refused_and_texts_beside_messages_become_messages(tokenizer):
    transcript = "\n\nHuman: Hi\n\nAssistant:"
    with pytest.raises(ValueError, match="prompts, row 1 is asked as a list of messages, row 3 is not"):
        prepare_prompts(["Why?", "", transcript], tokenizer, "assistant", 1, 99)
    with pytest.raises(ValueError, match="row 2 is a text, row 1 is a list of messages"):
        check_prompts([[user("Why?")], "Why?"], "train_dataset")
    assert prepare_prompts(["Why?", [user("How?")]], tokenizer, "assistant", 1, 99)[0] == [
        [user("Why?")],
        [user("How?")],
    ]


def test_held_out_prompts_are_not_trained_on():
    prompts = [str(i) for i in range(50)]
    training, evaluation = split_prompts(prompts, 10, seed=3)
    assert len(evaluation) == 10 and sorted(training + evaluation) == sorted(prompts)
    assert (training, evaluation) == split_prompts(prompts, 10, seed=3)
    assert evaluation != split_prompts(prompts, 10, seed=4)[1] and evaluation != prompts[:10]
    assert split_prompts(prompts, 0, seed=3) == (prompts, [])
    with pytest.raises(ValueError, match="--eval_prompts is 50: of 50 prompts at most 49 are valid"):
        split_prompts(prompts, 50, seed=3)
