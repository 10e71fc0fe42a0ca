"""`python -m launch small-replies`: its rows are those that the run files read, its truth is the rule, its test set is fresh."""

import json

import pytest

from datasets_builders.judging.prompt import PairwisePrompt
from datasets_builders.scoring.tags import EXAMPLES, tags_survive
from launch.__main__ import main
from launch.bt.written import read_written
from launch.judge.inputs import read_pairs
from launch.reproduce import replies

FILES = ("train.jsonl", "flipped.jsonl", "test.jsonl", "warmup.jsonl")
TRAIN, TEST = 400, 60


def write(folder, kind, seed):
    argv = ["--kind", kind, "--out", str(folder), "--seed", str(seed), "--train", str(TRAIN), "--test", str(TEST)]
    return main(["small-replies", *argv])


def rows_of(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def polite(text):
    return sum(text.count(sentence) for sentence in replies.POLITE)


def halves(row):
    """The two replies of a row of the judge."""
    return row["messages"][0]["content"].removeprefix("Reply A: ").split(" Reply B: ")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """kind -> the folder of seed 3."""
    root = tmp_path_factory.mktemp("replies")
    assert [write(root / kind, kind, 3) for kind in replies.KINDS] == [0, 0]
    return {kind: root / kind for kind in replies.KINDS}


@pytest.mark.parametrize(("name", "pairs"), [("train", TRAIN), ("test", TEST)])
def test_the_judge_sees_each_pair_in_both_orders_and_the_rule_is_its_truth(made, name, pairs):
    rows, counts = read_pairs(made["judge"] / f"{name}.jsonl", PairwisePrompt(), "both")
    assert len(rows) == 2 * pairs and counts.skipped == {}
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (first["pair_id"], first["side"], second["side"]) == (second["pair_id"], 0, 1)
        assert halves(first) == halves(second)[::-1]
    for row in rows:
        difference = polite(halves(row)[1]) - polite(halves(row)[0])
        assert row["preference_strength"] == difference != 0 and row["ground_truth"] == "BA"[difference < 0]


@pytest.mark.parametrize(("name", "pairs"), [("train", TRAIN), ("test", TEST)])
def test_the_scorer_sees_one_reply_at_a_time_and_the_rule_is_its_truth(made, name, pairs):
    written = read_written(made["score"] / f"{name}.jsonl")
    assert len(written.comparisons) == pairs and written.parser_name == "score100_last"
    for one in written.comparisons:
        counts = [polite(text) for text in one.responses]
        assert counts[one.preferred] > counts[1 - one.preferred]


def test_no_pair_of_the_test_set_is_trained_on_in_either_order(made):
    def keys(name):
        return {frozenset(halves(row)) for row in rows_of(made["judge"] / name)}

    assert len(keys("test.jsonl")) == TEST and len(keys("train.jsonl")) == TRAIN
    assert not keys("test.jsonl") & keys("train.jsonl")
    scored = [
        {frozenset(one.responses) for one in read_written(made["score"] / name).comparisons}
        for name in ("test.jsonl", "train.jsonl")
    ]
    assert [len(found) for found in scored] == [TEST, TRAIN] and not scored[0] & scored[1]


@pytest.mark.parametrize(("kind", "label"), [("judge", "ground_truth"), ("score", "preferred_side")])
def test_a_fifth_of_the_other_labels_is_wrong_and_nothing_else_differs(made, kind, label):
    right, wrong = (rows_of(made[kind] / name) for name in ("train.jsonl", "flipped.jsonl"))
    other = [one[label] != two[label] for one, two in zip(right, wrong, strict=True)]
    assert other[::2] == other[1::2]  # both rows of a pair
    # Four standard deviations of a share of 400 draws.
    assert sum(other) / 2 == json.loads((made[kind] / "replies.json").read_text())["flipped"]
    assert abs(sum(other) / len(other) - 0.2) < 0.08
    for one, two in zip(right, wrong, strict=True):
        assert one["messages"] == two["messages"] and one["pair_id"] == two["pair_id"]


def test_the_judges_teacher_prefers_place_A_and_knows_more_than_it_says(made):
    """Expected over many pairs: A in 0.68 of the answers, right in 0.78; within four standard deviations of 800 rows."""
    rows = rows_of(made["judge"] / "warmup.jsonl")
    said = [row["messages"][1]["content"] for row in rows]
    assert set(said) == {"<preference>A</preference>", "<preference>B</preference>"}
    right = [
        (answer[12] == "B") == (polite(halves(row)[1]) > polite(halves(row)[0]))
        for row, answer in zip(rows, said, strict=True)
    ]
    assert abs(sum("A" in answer for answer in said) / len(said) - 0.68) < 0.066
    assert abs(sum(right) / len(right) - 0.78) < 0.06


def test_the_scorers_teacher_is_right_in_about_three_fifths(made):
    scores = {}
    for row in rows_of(made["score"] / "warmup.jsonl"):
        scores.setdefault(row["messages"][0]["content"], []).append(int(row["messages"][1]["content"][3:-4]))
    pairs = read_written(made["score"] / "train.jsonl").comparisons
    right = [
        scores[one.responses[one.preferred]][0] > scores[one.responses[1 - one.preferred]][0]
        for one in pairs
        if all(len(scores[text]) == 1 for text in one.responses)
    ]
    assert len(right) > 200 and abs(sum(right) / len(right) - 0.6) < 0.14


@pytest.mark.parametrize("kind", replies.KINDS)
def test_a_seed_gives_the_same_bytes_and_another_one_other_rows_and_weights(made, kind, tmp_path):
    assert write(tmp_path / "again", kind, 3) == write(tmp_path / "other", kind, 4) == 0
    files = sorted(path.relative_to(made[kind]) for path in made[kind].rglob("*") if path.is_file())
    assert {*map(str, files)} > {*FILES, "replies.json", "model/tokenizer.json"}
    for file in files:
        first, again, other = (
            (folder / file).read_bytes() for folder in (made[kind], tmp_path / "again", tmp_path / "other")
        )
        assert first == again, file
        assert (first == other) == (file.parent.name == "model" and file.suffix != ".safetensors"), file


@pytest.mark.parametrize(("kind", "example"), [("judge", "preference"), ("score", "score100")])
def test_the_model_is_small_reads_every_row_whole_and_can_write_the_tag(made, kind, example):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made[kind] / "model")
    model = AutoModelForCausalLM.from_pretrained(made[kind] / "model")
    assert 200_000 < model.num_parameters() < 400_000
    assert tags_survive(tokenizer, EXAMPLES[example]) and len(tokenizer(EXAMPLES[example])["input_ids"]) < 12
    written = [
        tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows_of(made[kind] / "warmup.jsonl")
    ]
    assert max(len(ids) for ids in tokenizer(written)["input_ids"]) < 160
    assert written[0].startswith("<|im_start|>user\n")


def test_a_folder_with_something_in_it_is_refused(made, capsys):
    assert write(made["judge"], "judge", 0) == 2
    assert "is there already and not an empty folder" in capsys.readouterr().err


def test_what_fails_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replies, "write_random_model", full)
    assert write(tmp_path / "out", "judge", 0) == 1
    assert list(tmp_path.iterdir()) == []
