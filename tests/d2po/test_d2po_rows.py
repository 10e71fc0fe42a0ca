"""The rows that D2PO's script reads: its own `question` rows, in what `save_to_disk` wrote and in every other file."""

from importlib.util import find_spec

import pytest

from tests.tiny import build_tokenizer, write_rows

pytestmark = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def read(tokenizer):
    """read(dataset_name) -> {split: (rows, number of all rows, those left out)}"""
    from trl import DatasetMixtureConfig, ScriptArguments

    from trl_ext.d2po.script import prepare_rows, read_splits

    def run(name):
        splits = read_splits(ScriptArguments(dataset_name=str(name)), DatasetMixtureConfig(datasets=[]))
        return {split: prepare_rows(rows, tokenizer, 256) for split, rows in splits.items()}

    return run


QUESTIONS = [{"question": f"Why {n}?", "word": f"w{n}"} for n in range(3)]


def test_saved_data_sets_of_questions_are_read(read, tmp_path):
    import datasets

    data = datasets.Dataset.from_list(QUESTIONS)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "test": data.select([0])}).save_to_disk(str(tmp_path / "two"))
    (tmp_path / "p.csv").write_text(
        "question,word\n" + "".join(f"{row['question']},{row['word']}\n" for row in QUESTIONS)
    )
    expected = [{"word": f"w{n}", "prompt": [{"role": "user", "content": f"Why {n}?"}]} for n in range(3)]
    for name in ("one", "p.csv"):
        ((split, (rows, total, dropped)),) = read(tmp_path / name).items()
        assert (split, list(rows), total, not dropped) == ("train", expected, 3, True)
    found = read(tmp_path / "two")
    assert {split: list(rows) for split, (rows, _, _) in found.items()} == {"train": expected, "test": expected[:1]}


def test_null_columns_and_texts_beside_messages_are_read_and_blanks_are_counted(read, tmp_path):
    rows = [{"messages": None, "prompt": "Why?"}, {"prompt": [{"role": "user", "content": "How?"}]}, {"question": " "}]
    ((kept, total, dropped),) = read(write_rows(tmp_path / "p.jsonl", rows)).values()
    assert [row["prompt"][0]["content"] for row in kept] == ["Why?", "How?"]
    assert total == 3 and dropped == {"empty": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"prompt": "a"}, {"prompt": None}],
            r"p\.jsonl:2: .*no field 'messages' or 'prompt' or 'question' with a value",
        ),
        ([{"prompt": "a\ud800"}], r"p\.jsonl:1: field 'prompt': character 1 is one half of a surrogate pair"),
        ([{"prompt": "a", "n": 1}, {"prompt": "b", "n": "x"}], "rows whose columns are of one type are valid"),
    ],
)
def test_what_holds_no_prompt_is_named(read, tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        read(write_rows(tmp_path / "p.jsonl", rows))
