"""`eval-bt --data`: the rows that a run trains on are judged as they are."""

import json

import pytest

from datasets_builders.__main__ import main as build
from launch.__main__ import main as launch
from launch.bt.written import read_written
from tests.tiny import write_rows


def row(pair_id=0, side=0, preferred=1, text="Score: a", parser="score100_last", **other):
    made = {
        "messages": [{"role": "user", "content": text}],
        "pair_id": pair_id,
        "side": side,
        "preferred_side": preferred,
    }
    return made | ({"parser_name": parser} if parser else {}) | other


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture
def built(hh_file, tmp_path):
    """The rows of `hh_file` under the prompt of `asked`."""
    argv = ["--dataset", "anthropic_hh", "--prompt", "hh_score100_v1", "--split", "test", "--source", str(hh_file)]
    assert build(["pointwise", *argv, "--shuffle_sides", "0", "--add_meta", "--out", str(tmp_path / "rows.jsonl")]) == 0
    return tmp_path / "rows.jsonl"


def test_rows_of_the_builder_are_scored_like_the_data_set_that_they_were_made_of(
    asked, server, built, tmp_path, capsys
):
    whole = ["--bt_temp", "20", "--do_sample", "--num_samples", "2"]
    assert launch(["eval-bt", *asked, "--shuffle_sides", "0", *whole, "--out", str(tmp_path / "set")]) == 0
    server_flags = asked[: asked.index("--dataset")]
    assert launch(["eval-bt", *server_flags, "--data", str(built), *whole, "--out", str(tmp_path / "rows")]) == 0
    of_set, of_rows = result_of(tmp_path / "set"), result_of(tmp_path / "rows")
    for name in ("metrics", "calibration", "uncertainty", "answers", "scoring"):
        assert of_set[name] == of_rows[name], name
    assert of_rows["rows"]["kept"] == 16 and of_rows["settings"]["dataset"] is None
    assert sorted(map(str, (body["messages"] for body in server.bodies[:32]))) == sorted(
        map(str, (body["messages"] for body in server.bodies[32:]))
    )


def test_pairs_come_in_the_order_of_their_first_row(tmp_path):
    rows = [row("b", 1, 0, "b1"), row("a", 0, 1, "a0"), row("a", 1, 1, "a1"), row("b", 0, 0, "b0")]
    written = read_written(write_rows(tmp_path / "rows.jsonl", rows))
    assert [(one.index, one.responses, one.preferred) for one in written.comparisons] == [
        (0, ("b0", "b1"), 0), (1, ("a0", "a1"), 1),
    ]  # fmt: skip
    prompt = written.prompt(None, "rows.jsonl")
    assert prompt("", " <s>1</s> ") == " <s>1</s> " and prompt.parser.name == "score100_last"
    assert written.prompt("score5_first", "rows.jsonl").parser.name == "score5_first"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], "rows.jsonl:2: pair 0 has a row of side 0 already"),
        ([row(), row(side=1, preferred=0)], "rows.jsonl:2: pair 0 has preferred_side 0 here and 1 in its other row"),
        ([row(), row(side=1), row(pair_id=7)], "1 pairs have one side alone, the first is pair 7"),
        ([row(), row(side=1, parser="score5_last")], "several parsers: score100_last, score5_last"),
        ([row(parser=None), row(side=1, parser=None)], "its rows have no parser_name, say --parser"),
        ([row(parser="score10_last"), row(side=1, parser="score10_last")], "did you mean 'score100_last'?"),
        ([row(side=2)], "rows.jsonl:1: field 'side' must be from 0 to 1, found 2"),
        ([row(preferred=None)], "missing field 'preferred_side'"),
        ([row(pair_id=[1])], "field 'pair_id' must be a whole number or a text, found [1]"),
        ([row(parser=5)], "field 'parser_name' must be a text, found 5"),
        ([row(messages=[{"role": "system", "content": "s"}, *row()["messages"]])], "found system, user"),
        ([row(text="")], "rows.jsonl:1"),
        ([], "no rows"),
    ],
)
def test_a_file_that_holds_no_pairs_is_refused_with_its_row(server, rows, message, tmp_path, capsys):
    file = write_rows(tmp_path / "rows.jsonl", rows)
    argv = [
        "eval-bt",
        "--base_url",
        server.url,
        "--api_model",
        "m",
        "--data",
        str(file),
        "--out",
        str(tmp_path / "out"),
    ]
    assert launch(argv) == 2
    assert message in capsys.readouterr().err
    assert not server.bodies and not (tmp_path / "out").exists()


def test_what_the_rows_say_already_is_no_flag(server, built, capsys):
    argv = ["eval-bt", "--base_url", server.url, "--api_model", "m", "--data", str(built)]
    assert launch([*argv, "--prompt", "hh_score100_v1", "--shuffle_sides", "0"]) == 2
    assert "--prompt, --shuffle_sides: the rows of --data say it already" in capsys.readouterr().err
