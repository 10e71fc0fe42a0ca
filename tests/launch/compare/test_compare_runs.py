"""`python -m launch compare-runs`: pairing by prompt and occurrence, numbers worked by hand, and what is refused."""

import csv
import json
import re

import pytest

from launch.__main__ import main
from launch.common.statistics import paired_difference
from launch.compare.comparison import compare, metrics_of, pair_answers
from tests import tiny


def row(prompt, score, sample=0, words=3, **extra):
    return {"prompt_id": prompt, "sample": sample, "scores": {"helpful": score}, "response_tokens": 2 * words,
            "words": words, "capped": False, "prompt_truncated": False} | extra  # fmt: skip


def table(*rows):
    return {(one["prompt_id"], one["sample"]): one for one in rows}


def test_answers_are_paired_by_prompt_and_occurrence_whatever_their_order():
    # Samples 5 and 7 of the old run are occurrences 0 and 1, like samples 0 and 1 of the new one.
    old = table(row("b", 1, 7), row("b", 2, 5), row("a", 3), row("c", 4))
    new = table(row("a", 30), row("d", 9), row("b", 10, 1), row("b", 20, 0), row("b", 40, 2))
    pairing = pair_answers(old, new)
    found = [[(one["scores"]["helpful"], other["scores"]["helpful"]) for one, other in zip(*both, strict=True)]
             for both in pairing.both]  # fmt: skip
    assert found == [[(2, 20), (1, 10)], [(3, 30)]]
    assert (pairing.only_old, pairing.only_new) == (["c:0"], ["b:2", "d:0"])
    assert pairing.unpaired_share == 0.5
    assert len(pair_answers(old, new, {"a"}).both) == 1


def test_the_difference_is_new_minus_old_over_prompts():
    old = table(row("a", 1.0), row("b", 2.0, 0), row("b", 4.0, 1), row("c", 0.0))
    new = table(row("a", 2.0), row("b", 2.0, 0), row("b", 3.0, 1), row("c", 6.0))
    (found,) = compare(pair_answers(old, new), ["helpful"], seed=3)
    expected = paired_difference([2.0, 2.5, 6.0], [1.0, 3.0, 0.0], 3, 5000)
    assert (found["prompts"], found["old"], found["new"]) == (3, pytest.approx(4 / 3), 3.5)
    assert found["difference"] == pytest.approx(13 / 6) == expected.value
    assert (found["low"], found["high"], found["excludes_zero"]) == (expected.low, expected.high, False)
    (turned,) = compare(pair_answers(new, old), ["helpful"], seed=3)
    assert turned["difference"] == -found["difference"]
    with pytest.raises(ValueError, match="prompt a: no score 'helpful'"):
        compare(pair_answers(old, table(row("a", None))), ["helpful"])


def test_pairing_sees_what_unpaired_means_would_not():
    # Prompts differ by 100 points, the runs by 1 on every prompt.
    old = table(*(row(f"p{place}", 100.0 * place) for place in range(20)))
    new = table(*(row(f"p{place}", 100.0 * place + 1 + 0.1 * (place % 2)) for place in range(20)))
    (found,) = compare(pair_answers(old, new), ["helpful"])
    assert found["difference"] == pytest.approx(1.05)
    assert 1 <= found["low"] < found["difference"] < found["high"] <= 1.1
    assert found["excludes_zero"]


def test_metrics_are_those_of_all_tables():
    other = table(row("a", 1) | {"scores": {"safe": 1, "helpful": 2}})
    assert metrics_of(table(row("a", 1)), other) == (["helpful", "response_tokens", "words"], ["safe"])


@pytest.fixture
def runs(tmp_path):
    """Two runs of two labels; the new one is better by 1 on the label `w0.2`, and has a label of its own."""
    for run, gain in (("old", 0.0), ("new", 1.0)):
        for label, shift in (("sft", 0.0), ("w0.2", gain), ("seed2" if run == "new" else "w0.8", 5.0)):
            (tmp_path / run).mkdir(exist_ok=True)
            rows = [row(f"p{place}", place % 4 + shift * (1 + place % 2 / 10), words=3 + (label != "sft"),
                        capped=place == 0) for place in range(12)]  # fmt: skip
            tiny.write_rows(tmp_path / run / f"{label}.jsonl", rows)
    return tmp_path


def test_the_command_writes_the_same_tables_twice(launch, runs):
    argv = ["compare-runs", "--old", runs / "old", "--new", runs / "new", "--reference", "sft", "--out"]
    done = launch(*argv, runs / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads((runs / "out/comparison.json").read_text())
    assert found["kind"] == "run_comparison"
    assert found["labels_of_one_run"] == ["seed2", "w0.8"]
    cells = {(one["label"], one["metric"]): one for one in found["rows"]}
    assert list(cells) == [(label, metric) for label in ("sft", "w0.2") for metric in
                           ("helpful", "response_tokens", "words")]  # fmt: skip
    assert cells["sft", "helpful"]["difference"] == 0 and not cells["sft", "helpful"]["excludes_zero"]
    assert cells["w0.2", "helpful"]["difference"] == pytest.approx(1.05) and cells["w0.2", "helpful"]["excludes_zero"]
    inside = {(one["run"], one["metric"]): one["difference"] for one in found["against_reference"]}
    assert inside["old", "helpful"] == 0 and inside["new", "helpful"] == pytest.approx(1.05)
    assert inside["old", "words"] == inside["new", "words"] == 1
    with open(runs / "out/new_minus_old.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert (len(rows), rows[3]["label"], float(rows[3]["difference"])) == (6, "w0.2", pytest.approx(1.05))
    assert len((runs / "out/against_reference.csv").read_text().splitlines()) == 1 + 2 * 3
    text = (runs / "out/comparison.md").read_text()
    assert "| w0.2 | helpful | 12 | 1.5 | 2.55 | +1.05 |" in text and "## new run, minus sft" in text
    assert "in one run only, left out: seed2, w0.8" in done.stdout
    assert launch(*argv, runs / "again").returncode == 0
    for name in ("comparison.json", "new_minus_old.csv", "against_reference.csv", "comparison.md"):
        assert (runs / "again" / name).read_bytes() == (runs / "out" / name).read_bytes()


def test_labels_of_other_names_and_uncapped_prompts(runs, capsys):
    argv = ["compare-runs", "--old", str(runs / "old"), "--new", str(runs / "new"), "--out", str(runs / "out")]
    assert main([*argv, "--labels", "w0.8:seed2", "--uncapped", "--metrics", "helpful"]) == 0
    (found,) = json.loads((runs / "out/comparison.json").read_text())["rows"]
    assert (found["label"], found["prompts"], found["difference"]) == ("w0.8:seed2", 11, 0)
    assert "w0.8:seed2  helpful" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--labels", "w02"], "--labels w02: no scores in .*old; did you mean 'w0.2'"),
        (["--labels", "sft", "sft"], "one twice"),
        (["--reference", "base"], "--reference base: Valid: sft, w0.2"),
        (["--metrics", "helpfull"], "--metrics helpfull: not in both runs; did you mean 'helpful'"),
        (["--labels", "w0.2", "--max_unpaired_share", "0.1"], "1 answers of the old run and 2 of the new one have no "
         r"partner \(21.4%, --max_unpaired_share 10.0%\); the first: p0:0"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_compared_are_refused(runs, more, message, capsys):
    rows = [row(f"p{place}", 1.0) for place in range(1, 14)]
    if "0.1" in more:
        tiny.write_rows(runs / "new/w0.2.jsonl", rows)
    argv = ["compare-runs", "--old", str(runs / "old"), "--new", str(runs / "new"), "--out", str(runs / "out"), *more]
    assert main(argv) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (runs / "out").exists()
