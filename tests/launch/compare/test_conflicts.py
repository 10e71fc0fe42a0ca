"""Conflict statistics against worked numbers, against scipy, and through the real command lines."""

import json

import numpy as np
import pytest

from launch.__main__ import main
from launch.compare.conflict import compare_objectives, conflict_ratio, prompt_conflicts, tertiles
from launch.compare.correlation import correlations
from launch.compare.ratings import RatedPrompt, best_differs, differences
from tests import tiny

stats = pytest.importorskip("scipy.stats")

# Reference numbers: two models on twelve prompts; a zero on either axis is no conflict and no agreement.
HELPFUL = [0.007, -1.401, -0.446, 0.0, -0.776, 0.3, 0.301, 2.49, -0.232, 0.575, -0.914, -0.698]
HARMLESS = [0.595, 0.573, 0.61, -0.902, 0.033, 0.0, -0.134, -1.044, -0.609, -0.159, -1.801, 0.946]


def test_the_reference_numbers():
    assert conflict_ratio(HELPFUL, HARMLESS) == 0.7
    found = compare_objectives(np.array(HELPFUL), np.array(HARMLESS), np.arange(12), directed=True)
    assert (found["agree"], found["conflict"], found["ties"]) == (3, 7, {"first": 1, "second": 1, "both": 0})
    assert (found["conflict_ratio"]["value"], found["conflict_ratio"]["n"]) == (0.7, 10)
    assert found["pearson"]["value"] == pytest.approx(-0.3201540268789461, abs=1e-12)
    assert found["spearman"]["value"] == pytest.approx(stats.spearmanr(HELPFUL, HARMLESS).statistic, abs=1e-12)
    assert found["kendall"]["value"] == pytest.approx(stats.kendalltau(HELPFUL, HARMLESS).statistic, abs=1e-12)
    assert conflict_ratio([0.0, 1.0], [1.0, 0.0]) is None


@pytest.mark.parametrize("discrete", [False, True])
def test_weighted_correlations_are_scipys_on_the_repeated_points(discrete, monkeypatch):
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(2, 30))
    if discrete:
        x, y = np.round(x), np.round(y)
    weights = generator.multinomial(40, np.full(30, 1 / 30), size=6)
    monkeypatch.setattr("launch.compare.correlation.CHUNK", 70)  # several blocks
    found = correlations(x, y, weights)
    for row, weight in enumerate(weights):
        first, second = np.repeat(x, weight), np.repeat(y, weight)
        assert found["pearson"][row] == pytest.approx(stats.pearsonr(first, second).statistic, abs=1e-12)
        assert found["spearman"][row] == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
        assert found["kendall"][row] == pytest.approx(stats.kendalltau(first, second).statistic, abs=1e-12)


def test_a_correlation_with_a_constant_is_undefined_not_noise():
    found = correlations(np.full(3, 0.1), np.array([1.0, 2.0, 3.0]), np.ones((1, 3)))
    assert all(np.isnan(values[0]) for values in found.values())
    result = compare_objectives(np.full(9, 0.1), np.arange(9) - 4.0, np.arange(9), directed=True)
    assert result["kendall"] == {"value": None, "low": None, "high": None, "n": 9}


def test_the_interval_is_that_of_whole_prompts():
    """Copying each prompt's only comparison tenfold changes nothing; ten new prompts would narrow the interval."""
    first, second = np.array(HELPFUL), np.array(HARMLESS)
    one = compare_objectives(first, second, np.arange(12), directed=True)
    copies = compare_objectives(*(np.repeat(one, 10) for one in (first, second, np.arange(12))), directed=True)
    for name in ("conflict_ratio", "pearson", "spearman"):
        assert [copies[name][end] for end in ("value", "low", "high")] == pytest.approx(
            [one[name][end] for end in ("value", "low", "high")], abs=1e-9
        )
    more = compare_objectives(np.tile(first, 10), np.tile(second, 10), np.arange(120), directed=True)
    width = {name: cell["conflict_ratio"]["high"] - cell["conflict_ratio"]["low"] for name, cell in
             (("one", one), ("more", more))}  # fmt: skip
    # A tenth of the variance: sqrt(10) = 3.2 times narrower; and the normal approximation of a share.
    assert width["more"] == pytest.approx(width["one"] / 10**0.5, rel=0.15)
    assert width["more"] == pytest.approx(2 * 1.96 * (0.7 * 0.3 / 100) ** 0.5, rel=0.15)


def test_different_comparisons_of_a_prompt_are_drawn_together():
    """Twenty prompts of five comparisons, all conflicts or none: as wide as twenty draws, not as a hundred."""
    generator = np.random.default_rng(2)
    first = generator.uniform(1, 2, 100)
    second = generator.uniform(1, 2, 100) * np.repeat(np.arange(20) % 2 * 2 - 1, 5)
    order = generator.permutation(100)  # the comparisons of a prompt need not stand together
    found = compare_objectives(first[order], second[order], (np.arange(100) // 5)[order], directed=True)[
        "conflict_ratio"
    ]
    assert found["value"] == 0.5
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * (0.25 / 20) ** 0.5, rel=0.15)


def test_without_a_direction_the_order_of_the_replies_plays_no_part():
    generator = np.random.default_rng(1)
    first, second = np.round(generator.normal(size=(2, 60)))
    prompts, flip = np.arange(60) // 3, np.where(generator.random(60) < 0.5, -1, 1)
    plain = compare_objectives(first, second, prompts, directed=False, resamples=100)
    assert compare_objectives(first * flip, second * flip, prompts, directed=False, resamples=100) == plain
    # Both directions: the mean is zero, so this is the correlation through the origin.
    origin = (first @ second) / np.sqrt((first @ first) * (second @ second))
    assert plain["pearson"]["value"] == pytest.approx(origin, abs=1e-12)
    negated = compare_objectives(first, -second, prompts, directed=False, resamples=100)
    assert negated["conflict_ratio"]["value"] == pytest.approx(1 - plain["conflict_ratio"]["value"])
    assert negated["kendall"]["value"] == pytest.approx(-plain["kendall"]["value"])


def test_ties_and_missing_ratings_are_counted_by_reason_and_no_ratio_claims_certainty():
    first = np.array([1.0, 0.0, 2.0, 0.0, np.nan, 1.0])
    second = np.array([2.0, 1.0, 0.0, 0.0, 1.0, np.nan])
    found = compare_objectives(first, second, np.arange(6), directed=True)
    assert found["ties"] == {"first": 1, "second": 1, "both": 1} and found["missing"] == 2
    assert found["conflict_ratio"]["value"] == 0.0 and found["conflict_ratio"]["high"] == pytest.approx(
        0.7935, abs=1e-4
    )
    nothing = compare_objectives(np.array([np.nan]), np.array([1.0]), np.array([0]), directed=True)
    assert nothing["conflict_ratio"] == {"value": None, "low": None, "high": None, "n": 0}
    assert nothing["prompts_with_conflict"]["n"] == 0


def test_tertiles_by_hand():
    first = np.array([1.0, 1.0, -1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    second = np.array([1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
    conflicts = prompt_conflicts(first, second, np.array([0, 0, 1, 1, 2, 3, 4, 5]), 6)
    assert conflicts.tolist()[:3] + conflicts.tolist()[4:] == [0.5, 0.5, 0.0, 0.0, 1.0] and np.isnan(conflicts[3])
    means = {"sft": (np.zeros(6), np.zeros(6)), "up": (np.arange(6.0), np.array([1.0, -9, 1, 0, 1, 1]))}
    low, middle, high = tertiles(conflicts, means, "sft")
    assert (low["n"], low["conflict"], low["labels"]["up"]) == (2, 0.0, [3.0, 1.0])
    assert (low["pareto"], low["above_reference"]) == (["up"], ["up"])
    assert (middle["n"], middle["conflict"], middle["labels"]["up"]) == (2, 0.5, [0.5, -4.0])
    assert (middle["pareto"], middle["above_reference"]) == (["sft", "up"], [])
    assert (high["n"], high["conflict"]) == (1, 1.0)
    assert [row["n"] for row in tertiles(np.full(4, np.nan), {})] == [0, 0, 0]


def test_best_replies_and_identical_replies():
    ratings = [[3, 1], [1, 3], [3, 3]]
    agree = RatedPrompt([b"a", b"b", b"c"], np.array(ratings, dtype=float), [0] * 3)  # c is best in both
    differ = RatedPrompt([b"a", b"b", b"b"], np.array([[3, 1], [1, 3], [1, 3]], dtype=float), [0] * 3)
    mute = RatedPrompt([b"a", b"b"], np.array([[2, 1], [2, 3]], dtype=float), [0] * 2)
    lost = RatedPrompt([b"a", b"b"], np.array([[2, np.nan], [3, 1]], dtype=float), [0] * 2)
    assert best_differs([agree, differ, mute, lost], 0, 1) == (1, 2, 2)
    deltas, numbers, identical = differences([agree, differ])
    assert deltas.tolist()[:3] == [[2, -2], [0, -2], [-2, 0]] and numbers.tolist() == [0, 0, 0, 1, 1]
    assert identical == 1


def helpsteer_row(prompt, response, *ratings):
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": prompt, "response": response} | dict(zip(names, ratings, strict=True))


# The reference's example; a4 returns after other prompts and is compared all the same.
HELPSTEER = [
    helpsteer_row("A", "a1", 3, 3, 4, 1, 1), helpsteer_row("A", "a2", 3, 2, 4, 2, 2),
    helpsteer_row("A", "a3", 1, 1, 3, 1, 0), helpsteer_row("B", "b1", 4, 4, 4, 2, 2),
    helpsteer_row("C", "c1", 2, 2, 3, 1, 1), helpsteer_row("C", "c2", 2, 3, 3, 0, 1),
    helpsteer_row("A", "a4", 4, 4, 4, 4, 4),
]  # fmt: skip


def run(launch_arguments, out):
    assert main(["conflicts", *map(str, launch_arguments), "--out", str(out)]) == 0
    return json.loads((out / "conflicts.json").read_text())


def pair_of(result, first, second):
    return next(pair for pair in result["pairs"] if (pair["first"], pair["second"]) == (first, second))


def test_helpsteer_rows_through_the_command_line(launch, tmp_path):
    data = tiny.write_rows(tmp_path / "hs.jsonl", [*HELPSTEER, {"prompt": "D"}])
    command = ["conflicts", "--data", data, "--style", "helpsteer", "--max_skipped_share", 0.2, "--out"]
    done = launch(*command, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 rows skipped, missing_field (first: " in done.stdout
    result = json.loads((tmp_path / "out/conflicts.json").read_text())
    assert (result["kind"], result["prompts"], len(result["pairs"])) == ("conflicts", 3, 10)
    # Pairs of A (a1 a2, a1 a3, a1 a4, a2 a3, a2 a4, a3 a4) and of C: 0, 2, -1, 2, -1, -3, 0 against
    # 1, 2, -1, 1, -2, -3, -1 for correctness, and -1, 0, -3, 1, -2, -3, 1 for complexity.
    found = pair_of(result, "helpfulness", "correctness")
    assert (found["agree"], found["conflict"], found["ties"]) == (5, 0, {"first": 2, "second": 0, "both": 0})
    found = pair_of(result, "correctness", "complexity")
    assert (found["agree"], found["conflict"], found["ties"]) == (4, 2, {"first": 0, "second": 1, "both": 0})
    assert found["conflict_ratio"]["value"] == pytest.approx(1 / 3)
    # a4 is best in both in A, c2 and c1 differ in C; B has one reply.
    assert (found["best_reply_differs"]["value"], found["best_reply_differs"]["n"]) == (0.5, 2)
    assert found["prompts_without_a_best"] == 1
    again = launch(*command, tmp_path / "again")
    assert again.stdout.replace("again", "out") == done.stdout
    for name in ("conflicts.json", "conflicts.csv", "conflicts.md"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert len((tmp_path / "out/conflicts.csv").read_text().splitlines()) == 11


def test_ultrafeedback_and_safe_rlhf_rows(tmp_path):
    def completion(response, helpful, honest):
        notes = {"helpfulness": {"Rating": helpful}, "honesty": {"Rating": honest}}
        return {"response": response, "annotations": notes}

    rows = [{"instruction": "A", "completions": [completion("x", "5", "1"), completion("y", "2", "4"),
                                                 completion("", "1", "1"), completion("z", "N/A", "3")]}]  # fmt: skip
    data = tiny.write_rows(tmp_path / "uf.jsonl", rows)
    flags = ["--data", data, "--style", "ultrafeedback", "--objectives", "helpfulness", "honesty"]
    found = run(flags, tmp_path / "uf")["pairs"][0]
    assert (found["comparisons"], found["conflict"], found["agree"], found["missing"]) == (6, 1, 0, 5)
    labels = [(0, 0), (0, 1), (1, 0), (1, 1)]
    rows = [{"prompt": f"p{place}", "response_0": "x", "response_1": "y" if place < 3 else "x", "better_response_id": b,
             "safer_response_id": s} for place, (b, s) in enumerate(labels)]  # fmt: skip
    result = run(["--data", tiny.write_rows(tmp_path / "safe.jsonl", rows), "--style", "safe_rlhf"], tmp_path / "safe")
    found = result["pairs"][0]
    assert (found["first"], found["agree"], found["conflict"]) == ("better", 1, 2)
    assert result["identical_replies"] == 1


def test_labels_of_one_pair_say_nothing_about_the_replies_of_another(tmp_path):
    """Two pairs of one prompt: within each, the labels agree; across, x1 against y2 was never judged."""
    rows = [{"prompt": "p", "response_0": f"x{place}", "response_1": f"y{place}", "better_response_id": place,
             "safer_response_id": place} for place in (0, 1)]  # fmt: skip
    result = run(["--data", tiny.write_rows(tmp_path / "safe.jsonl", rows), "--style", "safe_rlhf"], tmp_path / "safe")
    (found,) = result["pairs"]
    assert (result["prompts"], found["comparisons"], found["agree"], found["conflict"]) == (1, 2, 2, 0)
    assert found["best_reply_differs"]["n"] == 2 and found["prompts_with_conflict"]["n"] == 1


def test_pairs_against_functions_of_the_text(tmp_path, capsys):
    def pair(prompt, chosen, rejected):
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": chosen}]
        return {"messages": messages, "rejected_response": rejected}

    rows = [pair("a", "one", "one two"), pair("b", "one two three", "one"), pair("b", "one two", "two one"),
            pair("c", "no", "no"), {"messages": [], "rejected_response": "x"}]  # fmt: skip
    data = tiny.write_rows(tmp_path / "pairs.jsonl", rows)
    flags = ["--data", data, "--style", "pairs", "--max_skipped_share", 0.2]
    result = run([*flags, "--objectives", "preferred", "brevity"], tmp_path / "out")
    (found,) = result["pairs"]
    assert (found["agree"], found["conflict"], found["ties"]["second"], result["identical_replies"]) == (1, 1, 1, 1)
    assert "1 rows skipped, wrong_type" in capsys.readouterr().out
    assert len(run(flags, tmp_path / "all")["objectives"]) == 6


def score_row(index, helpful, harmless):
    return {"prompt_id": f"{index:016x}", "sample": 0, "scores": {"helpful": helpful, "harmless": harmless},
            "response_tokens": 3, "words": 2, "capped": False, "prompt_truncated": False}  # fmt: skip


def test_score_files_are_compared_new_minus_old(launch, tmp_path):
    tiny.write_rows(tmp_path / "sft.jsonl", [score_row(index, 0.0, 1.0) for index in range(12)])
    new = [score_row(i, a, 1 + b) for i, (a, b) in enumerate(zip(HELPFUL, HARMLESS, strict=True))]
    tiny.write_rows(tmp_path / "new.jsonl", new)
    out = tmp_path / "out"
    done = launch("conflicts", "--scores", tmp_path / "sft.jsonl", tmp_path / "new.jsonl", "--objectives", "helpful",
                  "harmless", "--reference", "sft", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "conflicts.json").read_text())
    (found,) = result["pairs"]
    assert found["compared"] == "new - sft" and found["conflict_ratio"]["value"] == 0.7
    assert found["pearson"]["value"] == pytest.approx(-0.3201540268789461, abs=1e-9)
    assert [row["n"] for row in result["tertiles"][0]["tertiles"]] == [3, 7, 0]
    assert result["tertiles"][0]["tertiles"][0]["above_reference"] == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "x.jsonl"], "--data and --style are needed together"),
        (
            ["--data", "DATA", "--style", "ultrafeedback", "--objectives", "honesti", "helpfulness"],
            "did you mean 'honesty'",
        ),
        (["--data", "DATA", "--style", "helpsteer", "--objectives", "helpfulness"], "needs two or more"),
        (
            ["--data", "DATA", "--style", "helpsteer", "--objectives", "verbositty", "coherence"],
            "did you mean 'verbosity'",
        ),
        (["--scores", "DATA"], "two or more score files"),
        (["--scores", "A", "B", "--objectives", "helpfull", "harmless"], "did you mean 'helpful'"),
        (["--scores", "A", "B", "--reference", "C"], "--reference C is not among the labels"),
    ],
)
def test_mistakes_are_named(argv, message, tmp_path, capsys):
    places = {"DATA": tiny.write_rows(tmp_path / "hs.jsonl", HELPSTEER)}
    for name in "AB":
        places[name] = tiny.write_rows(tmp_path / f"{name}.jsonl", [score_row(0, 1, 2)])
    argv = [str(places.get(text, text)) for text in argv]
    assert main(["conflicts", *argv, "--max_skipped_share", "0", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
