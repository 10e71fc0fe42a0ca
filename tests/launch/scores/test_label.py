"""Labelling by a function: higher is chosen, ties make no pair, held-out prompts do not leak."""

import json

import pytest

from launch.__main__ import main as launch
from launch.scores.label import label_pairs, text_scorer
from tests.d2po.gold.test_annotation import needs_api
from tests.launch.scores.test_score_gold import Refusing
from tests.tiny import write_rows


def record(prompt: str, response: str) -> dict:
    messages = [{"role": "user", "content": prompt}]
    return {
        "prompt_id": prompt,
        "messages": messages,
        "prompt": prompt,
        "response": response,
        "response_tokens": len(response.split()),
    }


def test_best_against_worst_within_a_prompt():
    """brevity = -words: (1 word, 4 words) and (2, 3) are the two pairs; the tied group makes none."""
    texts = ["one two", "one", "one two three four", "one two three"]
    records = [record("p", text) for text in texts] + [record("q", "a b"), record("q", "c d")]
    pairs = list(label_pairs(records, text_scorer("brevity"), pairs_per_prompt=2))
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [
        ("one", "one two three four"), ("one two", "one two three"),
    ]  # fmt: skip
    assert pairs[0].meta == {"score_chosen": -1.0, "score_rejected": -4.0}


def pair_row(chosen, rejected, **beside):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": chosen}]
    return {"messages": messages, "rejected_response": rejected, **beside}


def test_relabelling_swaps_where_the_function_disagrees_and_keeps_what_a_row_holds_beside(tmp_path, capsys):
    """A blank answer has the fewest words: brevity made it the chosen one. Ties and blanks are counted."""
    beside = {"tools": "[]", "images": ["a.png"]}
    rows = [pair_row("a b c", "a", **beside), pair_row("a", "a b"), pair_row("a b", "c d"), pair_row("a b", "  ")]
    pairs, out = write_rows(tmp_path / "pairs.jsonl", rows), tmp_path / "out.jsonl"
    assert launch(["label", "--pairs", str(pairs), "--function", "brevity", "--out", str(out)]) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert found == [pair_row("a", "a b c", **beside), pair_row("a", "a b")]
    said = capsys.readouterr().out
    assert f"1 row left out: tie (first: {pairs}:3" in said and f"1 row left out: empty_reply (first: {pairs}:4" in said


def test_pairs_are_rescored_by_a_gold_function(tmp_path, capsys):
    """Also published pairs as they are: `prompt` a text, both sides whole conversations, in Parquet, of one split of a folder."""
    import pyarrow
    import pyarrow.parquet

    def sides(chosen, rejected, **beside):
        both = {"chosen": chosen, "rejected": rejected}
        turns = {
            name: [{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]
            for name, text in both.items()
        }
        return {"prompt": "q", "score_chosen": 8.0, **turns, **beside}

    rows = [sides("a cat", "a cat, a dog and a house"), sides("a house", "it is"), sides("a cat", "the dog")]
    table = pyarrow.Table.from_pylist(rows)
    for split in ("train_prefs", "test_prefs"):
        pyarrow.parquet.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    out = tmp_path / "out.jsonl"
    command = ["label", "--pairs", str(tmp_path / "train_prefs-*"), "--out", str(out)]
    assert launch([*command, "--gold", "unique_nns"]) == 0
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        pair_row("a cat, a dog and a house", "a cat", score_chosen=8.0), pair_row("a house", "it is", score_chosen=8.0),
    ]  # fmt: skip
    assert "2 pairs by unique_nns" in (said := capsys.readouterr().out) and "1 row left out: tie" in said
    assert launch([*command, "--gold", "tests.launch.scores.gold_functions:words"]) == 0
    assert "1 pairs by tests.launch" in (said := capsys.readouterr().out) and "2 rows left out: tie" in said


@needs_api
def test_a_paid_label_is_paid_once_and_what_was_not_rated_is_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    rows = [pair_row("follow1 help3", "follow5 help3"), pair_row("follow4 help3", "follow2 help3 REFUSED")]
    pairs, out = write_rows(tmp_path / "pairs.jsonl", rows), tmp_path / "out.jsonl"
    with Refusing() as server:
        arguments = {"base_url": f"{server.address}/v1", "model": "m", "rpm_limit": 60_000, "max_retries": 0}
        gold = ["--gold", "ultrafeedbackgold", "--gold_arguments", json.dumps(arguments), "--pay"]
        command = ["label", "--pairs", str(pairs), "--out", str(out), *gold]
        assert launch(command) == 0
        assert [json.loads(line) for line in out.read_text().splitlines()] == [
            pair_row("follow5 help3", "follow1 help3")
        ]
        assert f"1 row left out: not_rated (first: {pairs}:2" in capsys.readouterr().out
        assert (tmp_path / "__gold_answers__" / "out.jsonl" / "answers.jsonl").is_file()
        asked = len(server.bodies)
        assert launch(command) == 0 and len(server.bodies) == asked + 2  # what was refused was not paid for
        server.script = ["500"] * 9
        assert launch([*command[:4], str(tmp_path / "other.jsonl"), *gold]) == 1
        assert "the same command goes on" in capsys.readouterr().err and not (tmp_path / "other.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gold", "bagofword"], "did you mean 'bagofwords'"),
        (["--gold", "bagofwords", "--function", "brevity"], "not allowed with argument"),
        ([], "one of the arguments --function --gold is required"),
        (["--gold", "bagofwords", "--gold_arguments", "[]"], "a JSON object is valid"),
        (["--gold", "ultrafeedbackgold", "--gold_arguments", '{"base_url": "http://127.0.0.1:9/v1", "model": "m"}'], "costs money: add --pay"),
        (["--gold", "tests.launch.scores.gold_functions:undefined"], "the score of 'a bad one' is nan"),
        (["--gold", "omission"], "disallowed"),
        (["--gold", "tests.launch.scores.gold_functions:reads_a_missing_file"], "reads_a_missing_file: FileNotFoundError"),
    ],
)  # fmt: skip
def test_a_gold_function_that_cannot_label_is_refused(tmp_path, capsys, flags, message):
    pairs = write_rows(tmp_path / "pairs.jsonl", [pair_row("a bad one", "c")])
    try:
        code = launch(["label", "--pairs", str(pairs), "--out", str(tmp_path / "o.jsonl"), *flags])
    except SystemExit as end:
        code = end.code
    assert (
        code == 2
        and message in capsys.readouterr().err
        and [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (pair_row("a", 7), "'rejected_response' must be a text or a list of messages, found a int: 7"),
        ({"messages": "text", "rejected_response": "a"}, "'messages' must be a list of messages, found a text"),
        (pair_row(None, "a"), "has the content None"),
    ],
)
def test_rows_that_are_no_pair_are_named(tmp_path, capsys, row, message):
    pairs = write_rows(tmp_path / "pairs.jsonl", [pair_row("a b", "c"), row])
    assert launch(["label", "--pairs", str(pairs), "--function", "brevity", "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert f"{pairs}:2: " in error and message in error and not (tmp_path / "o").exists()


def test_held_out_pairs_have_a_file_of_their_own(tmp_path, capsys):
    """One file for both would keep the held-out pairs only; held out without a file, they would be gone."""
    pairs = write_rows(tmp_path / "pairs.jsonl", [pair_row("a b", "c")])
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "o.jsonl")
    command = ["label", "--pairs", str(pairs), "--function", "brevity", "--out", str(tmp_path / "o.jsonl")]
    for place in ("o.jsonl", "link.jsonl", "./sub/../o.jsonl"):
        assert launch([*command, "--val_out", str(tmp_path / place), "--val_prompts", "1"]) == 2
        assert "is the file of --out" in capsys.readouterr().err
    assert launch([*command, "--val_prompts", "1"]) == 2 and "needs --val_out" in capsys.readouterr().err
    assert not (tmp_path / "o.jsonl").exists()


def test_a_file_of_samples_that_are_no_records_is_refused(tmp_path, capsys):
    samples = write_rows(tmp_path / "samples.jsonl", [record("p", "a"), {"prompt_id": "p", "response": "b"}])
    assert launch(["label", "--samples", str(samples), "--function", "brevity", "--out", str(tmp_path / "o")]) == 2
    assert f"{samples}:2: no field messages, prompt, response_tokens" in capsys.readouterr().err


def test_held_out_prompts_do_not_leak(tmp_path):
    rows = [record(f"p{i}", text) for i in range(10) for text in ("a", "a b", "a b c", "a b c d")]
    samples = tmp_path / "samples.jsonl"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["label", "--samples", str(samples), "--function", "brevity", "--out", str(tmp_path / "train.jsonl")]
    assert launch([*argv, "--val_out", str(tmp_path / "val.jsonl"), "--val_prompts", "3"]) == 0

    def prompts(name):
        lines = (tmp_path / name).read_text().splitlines()
        return {json.loads(line)["messages"][0]["content"] for line in lines}

    assert len(prompts("train.jsonl")) == 7 and len(prompts("val.jsonl")) == 3
    assert not prompts("train.jsonl") & prompts("val.jsonl")


def test_unknown_function_offers_the_nearest(tmp_path, capsys):
    samples = tmp_path / "samples.jsonl"
    samples.write_text(json.dumps(record("p", "a")) + "\n" + json.dumps(record("p", "b c")) + "\n")
    assert launch(["label", "--samples", str(samples), "--function", "brevty", "--out", str(tmp_path / "o")]) == 2
    assert "did you mean 'brevity'" in capsys.readouterr().err


def test_what_lies_beside_the_whole_files_of_a_folder_is_no_answer(tmp_path, capsys):
    """A run that asks again for failed answers keeps its own in `*.partial.jsonl`, the old ones among them."""
    more = {"prompt_tokens": 1, "prompt_truncated": False, "capped": False, "label": "base"}
    rows = [{**record("p", text), **more, "sample": number} for number, text in enumerate(("a", "a b"))]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    folder, out = tmp_path / "samples", tmp_path / "out.jsonl"
    folder.mkdir()
    (folder / "00001-of-00001.jsonl").write_text(text)
    (folder / "00001-of-00001.partial.jsonl").write_text(text)
    command = ["label", "--function", "brevity", "--out", str(out), "--samples"]
    assert launch([*command, str(folder)]) == 0 and len(out.read_text().splitlines()) == 1
    (tmp_path / "twice.jsonl").write_text(text + text)
    assert launch([*command, str(tmp_path / "twice.jsonl")]) == 2
    assert "twice.jsonl:3: prompt p sample 0 appears twice" in capsys.readouterr().err
    (folder / "00001-of-00001.jsonl").rename(folder / "00001-of-00002.jsonl")
    assert launch([*command, str(folder)]) == 2 and "generation has not finished" in capsys.readouterr().err
