"""`report --minimise` and `--show`: scores of which less is better, and cut conversations, in the two-objective report."""

import json

import pytest

from launch.__main__ import main
from launch.compare.directions import direct_scores
from tests import tiny

# The reference's example: one point a model.
POINTS = {"sft": (0.5, 0.4), "w0.1": (0.45, 0.2), "w0.4": (0.55, 0.3), "w0.9": (0.6, 0.5), "dup": (0.55, 0.3)}


def row(index, scores, **extra):
    return {"prompt_id": f"{index:016x}", "sample": 0, "scores": scores, "response_tokens": 3, "words": 2,
            "capped": False, "prompt_truncated": False} | extra  # fmt: skip


@pytest.fixture
def scores(tmp_path):
    for label, (x, y) in POINTS.items():
        rows = [row(index, {"helpful": x, "verbose": y, "other": 1.0}, reward_truncated=(label, index) == ("dup", 2))
                for index in range(4)]  # fmt: skip
        tiny.write_rows(tmp_path / f"{label}.jsonl", rows)
    return tmp_path


def report(scores, *extra):
    argv = ["report", "--scores", str(scores), "--labels", *POINTS, "--reference", "sft", "--x", "helpful", "--y",
            "verbose", "--out", str(scores / "out"), *extra]  # fmt: skip
    assert main(argv) == 0
    return json.loads((scores / "out/report.json").read_text())


def test_the_front_of_the_reference_numbers_in_both_directions(scores):
    assert report(scores)["full"]["pareto"] == ["w0.9"]
    found = report(scores, "--minimise", "verbose")
    assert found["full"]["pareto"] == ["w0.1", "w0.4", "w0.9", "dup"]
    assert (found["y"], found["units"]["minus verbose"]) == ("minus verbose", "minus score")
    cell = found["full"]["labels"]["w0.9"]["minus verbose"]
    assert (cell["mean"], cell["difference"]) == (-0.5, pytest.approx(-0.1))
    # The volume by hand: corner (0.435, -0.53), columns between the helpfulness of the fronts' points.
    volume = (0.45 - 0.435) * (0.53 - 0.2) + (0.55 - 0.45) * (0.53 - 0.3) + (0.6 - 0.55) * (0.53 - 0.5)
    assert found["full"]["hypervolume"] == pytest.approx(volume)


def test_a_conversation_that_was_cut_for_scoring_leaves_the_uncapped_prompts(scores):
    assert (report(scores)["full"]["n"], report(scores)["uncapped"]["n"]) == (4, 3)


def test_columns_are_chosen_by_name(scores, capsys):
    assert list(report(scores)["full"]["labels"]["sft"]) == ["helpful", "verbose", "other"]
    assert list(report(scores, "--show", "verbose")["full"]["labels"]["sft"]) == ["helpful", "verbose"]
    argv = ["report", "--scores", str(scores), "--labels", "sft", "--reference", "sft", "--x", "helpful", "--y",
            "verbose", "--out", str(scores / "no"), "--minimise", "verbos"]  # fmt: skip
    assert main(argv) == 2
    assert "--minimise verbos: not scored; did you mean 'verbose'" in capsys.readouterr().err


def test_a_turned_zero_has_no_sign():
    table = {"a": {("p", 0): row(0, {"x": 0.0, "y": 2.0})}}
    assert str(direct_scores(table, [], ["x"])["a"]["p", 0]["scores"]) == "{'minus x': 0.0, 'y': 2.0}"
    assert table["a"]["p", 0]["scores"] == {"x": 0.0, "y": 2.0}
