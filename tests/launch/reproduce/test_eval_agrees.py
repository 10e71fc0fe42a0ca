"""Our counting against published figures, and that a mistake in it would be seen."""

import json

import pytest

from datasets_builders.io import SkipCounter, write_jsonl
from launch.common.statistics import Estimate
from launch.compare.win_statistics import outcomes, win_statistics
from launch.judge.benchmarks.judgebench import BENCHMARK
from launch.judge.metrics import evaluate_rows
from launch.reproduce.claim import lies
from launch.reproduce.claims.eval_agrees import FIGURES, unread
from launch.reproduce.published_verdicts import NAMES, judgebench_source, read_published, rows_of
from launch.reproduce.result import check_result, table, verdict

# Of every benchmark one judge that says tie or contradicts itself, and one with answers that nobody could read.
JUDGES = [("judgebench", "o1-mini"), ("judgebench", "GRM-Gemma-2B"), ("llmbar", "PaLM2_CoT"), ("alpaca_eval", "phi-2")]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    file = tmp_path_factory.mktemp("jb") / "source.jsonl"
    write_jsonl(file, judgebench_source(read_published("judgebench")))
    return str(file)


def unequal(name, judge, source):
    """Published figures that ours are not, after the code that the verbs run."""
    published = read_published(name)
    rows = rows_of(name, published, judge, source)
    if name == "judgebench":
        result = {"benchmark": BENCHMARK.evaluate(BENCHMARK.load(source=source, skips=SkipCounter()), rows)}
    else:
        result = {"metrics": evaluate_rows(rows)} if name == "llmbar" else win_statistics(outcomes(rows), rows, {}, {})
    figures = list(FIGURES[name](published, judge, result))
    assert figures
    return [figure.name for figure in figures if figure.difference > figure.off]


@pytest.mark.parametrize(("name", "title"), JUDGES)
def test_published_verdicts_give_the_published_figures(name, title, source):
    assert unequal(name, read_published(name)["judges"][title], source) == []


def changed(judge, key, change):
    """A copy of a judge with `change` made to its letters."""
    letters = judge[key]
    new = {one: change(text) for one, text in letters.items()} if isinstance(letters, dict) else change(letters)
    return {**judge, key: new}


def turned(text):
    return text.translate(str.maketrans("AB", "BA"))


def test_a_mistake_in_counting_would_be_seen(source):
    jb, lb, ae = (read_published(name)["judges"] for name in NAMES)
    tie_wins = changed(ae["phi-2"], "verdicts", lambda text: text.replace("=", "A"))
    assert unequal("alpaca_eval", tie_wins, source) == ["win rate", "n_wins", "n_draws"]
    no_verdict_is_a_tie = changed(ae["phi-2"], "verdicts", lambda text: text.replace("-", "="))
    assert unequal("alpaca_eval", no_verdict_is_a_tie, source) == ["win rate", "n_draws", "n_total"]
    tie_wins = changed(jb["o1-mini"], "original", lambda text: text.replace("=", "A"))
    assert unequal("judgebench", tie_wins, source) == ["overall"]
    one_order = {**jb["o1-mini"], "swapped": turned(jb["o1-mini"]["original"])}
    assert unequal("judgebench", one_order, source) == ["overall"]
    not_turned = changed(lb["PaLM2_CoT"], "swapped", turned)
    assert len(unequal("llmbar", not_turned, source)) >= 6


def test_every_file_is_whole_and_says_where_it_comes_from():
    for name in NAMES:
        published = read_published(name)
        assert all(published[key].strip() for key in ("verdicts_from", "figures_from", "letters"))
        truth = published.get("truth", {})
        for judge in published["judges"].values():
            texts = [judge[key] for key in ("original", "swapped", "verdicts") if key in judge]
            for text in texts:
                parts = text if isinstance(text, dict) else {"": text}
                assert set("".join(parts.values())) <= set("AB=-")
                wanted = truth if isinstance(truth, dict) else {"": truth}
                assert not wanted or {key: len(part) for key, part in parts.items()} == {
                    key: len(part) for key, part in wanted.items()
                }
    assert unread(read_published("llmbar")["judges"]["PaLM2_Vanilla_NoRules"]) == 7


def test_a_count_of_failures_holds_at_zero_alone():
    none, one = Estimate(0.0, None, None, 174), Estimate(1.0, None, None, 174)
    assert lies(none, "zero") and not lies(one, "zero") and not lies(Estimate(0.0, None, None, 0), "zero")
    arm = {"title": "A", "estimate": Estimate(0.5, None, None, 1).as_json(), "seeds": [0], "cpu_seconds": 3.2,
           "curves": {"0": [[1.0, 0.25], [2.0, 0.5]]}}  # fmt: skip
    found = {"claim": "x", "estimate": none.as_json(), "direction": "zero", "holds": True, "rehearsal": False,
             "comparison": "failures", "counted": "figures", "up": "difference", "others": {}, "arms": {"a": arm}}  # fmt: skip
    check_result(found, "x")
    assert verdict(found) == "failures: 0 of 174 figures; the claim holds"
    assert "| A | 0.5 | 2 | 3 |" in table(found) and "seed" not in table(found)
    for wrong in ({"estimate": one.as_json()}, {"holds": False}):
        with pytest.raises(ValueError, match="number of failures"):
            check_result({**found, **wrong}, "x")
    assert json.loads(json.dumps(found)) == found
