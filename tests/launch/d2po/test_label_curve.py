"""Gold score by labels spent: what is read from run folders, the mean over seeds, and the picture with its tables."""

import csv
import json
import math

import pytest

from launch.__main__ import main as launch
from launch.d2po.curve import draw, look
from launch.d2po.curve_data import Curves, Evaluation, Point, at_budgets, average, by_step, curves, read_run


def write_state(folder, rows, step=None):
    """A trainer state with these (step, labels, gold) evaluations, between rows of training."""
    folder.mkdir(parents=True, exist_ok=True)
    log = [{"step": 1, "loss": 0.5, "gold_labels": 3}]
    log += [{"step": s, "eval_gold": gold, "eval_gold_labels": labels, "eval_loss": 1.0} for s, labels, gold in rows]
    state = {"global_step": step or max(s for s, _, _ in rows), "log_history": log}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder


def write_ledger(folder, labels, torn=""):
    lines = [json.dumps({"label": n + 1, "window": 0, "step": 1}) + "\n" for n in range(labels)]
    (folder / "d2po_ledger.jsonl").write_text("".join(lines) + torn)


ROWS = [(0, 0, 1.0), (10, 8, 2.0), (20, 16, 4.0)]


def test_evaluations_come_from_the_state_that_is_furthest(tmp_path):
    write_state(tmp_path / "checkpoint-9", ROWS[:1], step=9)
    write_state(tmp_path / "checkpoint-20", ROWS, step=20)
    assert [tuple(e) for e in read_run(tmp_path)] == ROWS
    write_state(tmp_path, ROWS[:2], step=10)  # the run's own, older
    assert [tuple(e) for e in read_run(tmp_path)] == ROWS
    write_state(tmp_path, [*ROWS, (30, 24, 5.0)], step=30)
    assert read_run(tmp_path)[-1] == Evaluation(30, 24, 5.0)
    assert len(read_run(tmp_path / "checkpoint-9")) == 1
    assert [e.labels for e in read_run(tmp_path, before=100)] == [100, 108, 116, 124]


def test_a_resumed_step_counts_once_and_the_later_row_counts(tmp_path):
    write_state(tmp_path, [(0, 0, 1.0), (10, 8, 2.0), (10, 8, 2.5)])
    assert [tuple(e) for e in read_run(tmp_path)] == [(0, 0, 1.0), (10, 8, 2.5)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 0, math.nan)], "step 0 has eval_gold nan"),
        ([(0, 0, 1.0), (10, math.inf, 1.0)], "not a finite number"),
        ([(0, 8, 1.0), (10, 7, 1.0)], "8 labels at step 0 and 7 at step 10"),
    ],
)
def test_rows_that_make_no_curve(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        read_run(write_state(tmp_path, rows))


def test_a_folder_without_what_is_needed(tmp_path):
    with pytest.raises(ValueError, match=r"no trainer_state.json"):
        read_run(tmp_path)
    (tmp_path / "trainer_state.json").write_text(
        json.dumps({"global_step": 1, "log_history": [{"eval_loss": 1, "step": 1}]})
    )
    with pytest.raises(ValueError, match=r"'eval_gold' and 'eval_gold_labels'; evaluations have \['eval_loss'\]"):
        read_run(tmp_path)
    (tmp_path / "trainer_state.json").write_text("{")
    with pytest.raises(ValueError, match="not the state of a trainer"):
        read_run(tmp_path)


def test_the_ledger_must_hold_what_the_curve_counts(tmp_path):
    write_state(tmp_path, ROWS)
    write_ledger(tmp_path, 16, torn='{"label": 17')  # a line that was being written
    assert len(read_run(tmp_path, before=50)) == 3
    write_ledger(tmp_path, 15)
    with pytest.raises(ValueError, match="holds 15 labels, the evaluation at step 20 counts 16"):
        read_run(tmp_path)
    write_ledger(tmp_path, 15, torn='{"label": 16, "window": 0, "step": 1}')  # whole, but for its line end
    assert len(read_run(tmp_path)) == 3
    (tmp_path / "d2po_ledger.jsonl").write_text('{"labell": 1}\n')
    with pytest.raises(ValueError, match=r"ledger.jsonl:1: not a line of a ledger"):
        read_run(tmp_path)


def test_the_last_evaluation_of_a_budget_counts():
    assert at_budgets([Evaluation(0, 0, 1.0), Evaluation(5, 0, 1.5), Evaluation(9, 4, 3.0)]) == [(0, 1.5), (4, 3.0)]


def test_a_run_without_labels_keeps_every_evaluation():
    """It rises and falls again while no label is bought."""
    static = [Evaluation(0, 0, 1.0), Evaluation(10, 0, 4.0), Evaluation(20, 0, 2.0)]
    assert by_step(static) == [(0, 1.0), (10, 4.0), (20, 2.0)]
    found = curves({"static": [static, [one._replace(gold=one.gold + 1) for one in static]]})
    assert [(point.at, point.mean) for point in found.labels["static"]] == [(0, 2.5)]
    assert [(point.at, point.mean, point.seeds) for point in found.steps["static"]] == [
        (0, 1.5, 2),
        (10, 4.5, 2),
        (20, 2.5, 2),
    ]


@pytest.mark.parametrize("row", [{"step": None}, {"eval_gold": "high"}, {"eval_gold_labels": None}, {"eval_gold": [1]}])
def test_rows_that_are_no_evaluation(tmp_path, row):
    state = {"global_step": 1, "log_history": [{"step": 1, "eval_gold": 1.0, "eval_gold_labels": 0} | row]}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"trainer_state\.json: not an evaluation: "):
        read_run(tmp_path)
    (tmp_path / "trainer_state.json").write_text(json.dumps(state | {"log_history": [7]}))
    with pytest.raises(ValueError, match="log_history is no list of objects"):
        read_run(tmp_path)


# --- the mean over seeds ----------------------------------------------------------------------------------------------


def test_one_seed_has_no_interval():
    assert average([[(0, 1.0), (8, 2.0)]]) == [Point(0, 1.0, None, None, 1), Point(8, 2.0, None, None, 1)]


def test_three_seeds_by_hand():
    """Values 1, 2, 3: mean 2, deviation 1, half width 4.303 / sqrt(3) = 2.484."""
    (point,) = average([[(5, 1.0)], [(5, 2.0)], [(5, 3.0)]])
    assert (point.at, point.mean, point.seeds) == (5, 2.0, 3)
    assert (point.low, point.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)


def test_two_seeds_use_one_degree_of_freedom():
    """Values 0, 2: deviation sqrt 2, half width 12.706."""
    (point,) = average([[(5, 0.0)], [(5, 2.0)]])
    assert point.high == pytest.approx(1 + 12.70620474) and point.low == pytest.approx(1 - 12.70620474)


def test_equal_seeds_have_an_interval_of_no_width():
    assert average([[(0, 1.0), (4, 3.0)]] * 3) == [Point(0, 1.0, 1.0, 1.0, 3), Point(4, 3.0, 3.0, 3.0, 3)]


def test_many_seeds_have_about_the_normal_quantile():
    (point,) = average([[(0, float(n % 2))] for n in range(100)])
    assert point.high - point.mean == pytest.approx(1.9842169515 * math.sqrt(0.25 * 100 / 99) / 10)


def test_seeds_evaluated_elsewhere_are_interpolated_where_both_are():
    points = average([[(0, 0.0), (10, 10.0)], [(4, 8.0), (6, 12.0), (20, 40.0)]])
    assert [(p.at, p.mean) for p in points] == [(4, 6.0), (6, 9.0), (10, 15.0)]


def test_seeds_without_a_common_budget_are_refused_by_name():
    with pytest.raises(
        ValueError, match="--run d2po, by labels: one seed starts at 9 and one ends at 3: they have no place in common"
    ):
        curves({"d2po": [[Evaluation(0, 0, 1.0), Evaluation(1, 3, 1.0)], [Evaluation(0, 9, 1.0)]]})


# --- picture and tables -----------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    """Two seeds of d2po, one of a static reward model that never buys a label."""
    for seed, shift in enumerate((0.0, 1.0)):
        write_state(tmp_path / f"d2po{seed}", [(s, labels, gold + shift) for s, labels, gold in ROWS])
    write_state(tmp_path / "static", [(0, 0, 1.0), (20, 0, 3.0)])
    return tmp_path


def command(runs, *more, out="curve.svg"):
    named = [f"d2po={runs}/d2po0", f"d2po={runs}/d2po1", f"static $1={runs}/static"]
    return launch(["label-curve", "--run", *named, "--out", str(runs / out), *more])


@pytest.mark.parametrize(("name", "magic"), [("curve.svg", b"<?xml"), ("curve.png", b"\x89PNG")])
def test_picture_and_tables(runs, name, magic, capsys):
    pytest.importorskip("matplotlib")
    assert command(runs, "--labels_before", "static $1=16", out=name) == 0
    assert (
        "d2po: 4.5 [" in (printed := capsys.readouterr().out) and "static $1: 3 after 16 labels, 1 seed(s)" in printed
    )
    first = (runs / name).read_bytes()
    assert first.startswith(magic)
    assert command(runs, "--labels_before", "static $1=16", out=name) == 0
    assert (runs / name).read_bytes() == first, "equal curves are equal bytes"
    with open(runs / "curve.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(r["run"], r["labels"], r["mean"], r["seeds"]) for r in rows] == [
        ("d2po", "0.0", "1.5", "2"),
        ("d2po", "8.0", "2.5", "2"),
        ("d2po", "16.0", "4.5", "2"),
        ("static $1", "16.0", "3.0", "1"),
    ]
    page = (runs / "curve.html").read_text()
    assert "<td>d2po</td><td>2</td><td>16</td><td>4.5<small>" in page
    assert "<td>static $1</td><td>1</td><td>16</td><td>3</td><td>3</td><td>20</td>" in page
    assert rows[-1]["low"] == "" and float(rows[0]["low"]) < 1.5
    data = json.loads((runs / "curve.json").read_text())
    assert data["d2po"]["seeds"][1][2] == {"step": 20, "labels": 16.0, "gold": 5.0}
    assert data["static $1"]["by_step"][0] == {"step": 0, "mean": 1.0, "low": None, "high": None, "seeds": 1}
    assert data["static $1"]["curve"] == [{"labels": 16.0, "mean": 3.0, "low": None, "high": None, "seeds": 1}]
    assert [e["labels"] for e in data["static $1"]["seeds"][0]] == [16.0, 16.0]
    assert not list(runs.glob(".*partial"))


def test_the_picture_and_the_words_show_a_score_that_falls_again(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_state(tmp_path / "static", [(0, 0, 1.0), (10, 0, 4.0), (20, 0, 2.0)])
    write_state(tmp_path / "online", ROWS)
    runs = [f"static={tmp_path}/static", f"online={tmp_path}/online"]
    assert launch(["label-curve", "--run", *runs, "--out", str(tmp_path / "c.svg")]) == 0
    printed = capsys.readouterr().out
    assert "static: 2 after 0 labels, 1 seed(s); it was 4 at step 10 and fell to 2 at step 20" in printed
    assert "online: 4 after 16 labels, 1 seed(s)\n" in printed
    svg = (tmp_path / "c.svg").read_text()
    assert "<!-- training step" in svg and "<!-- gold labels spent" in svg
    with open(tmp_path / "c.steps.csv", newline="") as handle:
        rows = [(row["run"], row["step"], row["mean"]) for row in csv.DictReader(handle)]
    assert rows[:3] == [("static", "0", "1.0"), ("static", "10", "4.0"), ("static", "20", "2.0")] and len(rows) == 6
    assert launch(["label-curve", "--run", runs[1], "--out", str(tmp_path / "c.svg")]) == 0
    assert "<!-- training step" not in (tmp_path / "c.svg").read_text()  # every evaluation is in the one panel


def test_the_svg_names_every_run_and_both_axes():
    pytest.importorskip("matplotlib")
    labels = {"one": [Point(0, 1.0, 0.5, 1.5, 3), Point(4, 2.0, 1.5, 2.5, 3)], "two": [Point(4, 1.5, 1.0, 2.0, 3)]}
    svg = draw(Curves(labels, labels), "title", "words", "svg").decode()
    for text in (
        "one (3 seeds)",
        "two (3 seeds)",
        "title",
        "words on held-out prompts  better →",
        "gold labels spent",
        "95% intervals",
    ):
        assert f"<!-- {text}" in svg or text in svg, text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--labels_before", "static=3"], "no run has this name; valid are ['d2po', 'static $1']"),
        (["--labels_before", "d2po=-3"], "whole number of at least 0"),
        (["--labels_before", "d2po"], "write NAME=VALUE"),
    ],
)
def test_refusals(runs, more, message, capsys):
    assert command(runs, *more) == 2 and message in capsys.readouterr().err
    assert not (runs / "curve.svg").exists()


def test_more_refusals(runs, capsys):
    assert command(runs, out="curve.pdf") == 2 and "must end in .svg or .png" in capsys.readouterr().err
    twice = ["label-curve", "--out", str(runs / "c.svg"), "--run", f"a={runs}/d2po0", f"a={runs}/x/../d2po0"]
    assert launch(twice) == 2 and "given twice" in capsys.readouterr().err
    assert (
        launch(["label-curve", "--out", "c.svg", "--run", "nothing"]) == 2 and "NAME=VALUE" in capsys.readouterr().err
    )


def test_runs_beyond_the_last_colour_look_different():
    assert len({look(index) for index in range(16)}) == 16
    assert len({look(index)[:2] for index in range(16)}) == 16
