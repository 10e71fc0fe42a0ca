"""Supervised rows in hindsight: which instruction an answer is written under, and the command line on `pareto`'s folder."""

import json

import numpy as np
import pytest

from launch.__main__ import main
from launch.moodpo.hindsight import hindsight_weights
from launch.moodpo.topics import FOREST, SEA, forest, sea
from launch.moodpo.weights import lattice
from tests.tiny import build_model, write_rows
from trl_ext.moodpo.instruction import parse, strip

TENTHS = lattice(2, 10)


def test_topics_are_counted_in_a_hundred_words():
    twenty = "the sea and a ship " + "word " * 15
    assert sea([], [twenty, "Sea!", "", "trees"]) == [100 * 2 / 20, 5.0, 0.0, 0.0]
    assert forest([], ["Trees, trees: a seaside owl", "oak " * 40]) == [15.0, 100.0]
    assert not SEA & FOREST and len(SEA) > 50 and len(FOREST) > 50


def test_an_answer_that_fulfils_one_objective_is_never_asked_to_ignore_it():
    scores = np.array([[8.0, 0.0], [0.0, 3.0]] * 500)
    chosen = np.array(TENTHS)[hindsight_weights(scores, TENTHS, seed=0)]
    assert (chosen[0::2, 0] > 0).all() and (chosen[1::2, 1] > 0).all()


def test_the_draw_is_proportional_to_the_weighted_score():
    """u = (1, 0): probability w / 5.5; u = (1, 1): all vectors alike. 1 / sqrt(N) is the error of a share."""
    n = 40_000
    scores = np.concatenate([np.tile([2.0, 0.0], (n, 1)), np.tile([2.0, 5.0], (n, 1)), [[0.0, 0.0]]])
    chosen = hindsight_weights(scores, TENTHS, seed=3)
    first, second = (np.bincount(part, minlength=11) / n for part in (chosen[:n], chosen[n : 2 * n]))
    assert first == pytest.approx(np.arange(10, -1, -1) / 55, abs=4 / np.sqrt(n))
    assert second == pytest.approx(np.full(11, 1 / 11), abs=4 / np.sqrt(n))
    assert chosen[-1] == -1


def test_three_objectives_units_and_failed_scores():
    vectors = lattice(3, 4)
    scores = np.array([[0.0, 10.0, -5.0], [100.0, 10.0, -5.0], [0.0, 20.0, -4.0], [np.nan, 20.0, -4.0]])
    for seed in range(20):
        chosen = hindsight_weights(scores, vectors, seed)
        assert chosen[0] == chosen[3] == -1  # the lowest of all; no score
        assert vectors[chosen[1]][0] > 0 and sum(vectors[chosen[2]][1:]) > 0
        scaled = hindsight_weights(scores * [0.01, 3.0, 7.0] + [1.0, -2.0, 0.0], vectors, seed)
        assert (scaled == chosen).all()


def test_an_objective_that_tells_no_answers_apart_is_refused():
    with pytest.raises(ValueError, match=r"objectives \[1\] .* give \[3.0\] to every answer"):
        hindsight_weights(np.array([[1.0, 3.0], [2.0, 3.0]]), TENTHS, 0)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steer_rows")
    build_model(folder / "model")
    write_rows(folder / "prompts.jsonl", [{"prompt": f"Say {word}."} for word in ("one", "two", "three")])
    argv = ["pareto", "--model", str(folder / "model"), "--prompts", str(folder / "prompts.jsonl"), "--objectives",
            "brevity", "long=long_words", "--num_samples", "6", "--max_new_tokens", "12", "--out", str(folder / "samples")]  # fmt: skip
    assert main(argv) == 0
    return folder


def test_rows_from_sampled_and_scored_answers(samples, capsys):
    argv = ["steer-rows", "--samples", str(samples / "samples"), "--model", str(samples / "model")]
    assert main([*argv, "--out", str(samples / "rows.jsonl")]) == 0
    rows = [json.loads(line) for line in (samples / "rows.jsonl").read_text().splitlines()]
    said = capsys.readouterr().out
    left_out = sum(json.loads(said.split("left out: ")[1].replace("'", '"')).values()) if "none" not in said else 0
    assert len(rows) + left_out == 18 and len(rows) > 0
    answers = {
        (record["prompt"], record["response"].strip())
        for line in (samples / "samples/generations/untouched").glob("*.jsonl")
        for record in map(json.loads, line.read_text().splitlines())
    }
    for row in rows:
        weights = parse(row["prompt"][0]["content"])
        assert list(weights) == ["brevity", "long"] and round(10 * weights["long"], 6).is_integer()
        assert strip(row["prompt"])[-1]["role"] == "user" and row["completion"][0]["role"] == "assistant"
        assert (row["prompt"][-1]["content"], row["completion"][0]["content"]) in answers
    assert main([*argv, "--out", str(samples / "again.jsonl")]) == 0
    assert (samples / "again.jsonl").read_bytes() == (samples / "rows.jsonl").read_bytes()
