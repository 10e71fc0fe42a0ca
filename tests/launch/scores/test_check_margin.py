import json

import pytest

from launch.common.statistics import share
from launch.scores import check_margin
from tests.launch.model_flags import MODEL_FLAGS

TEXTS = [
    ("Why?", "The sea is wide.", "salt"),
    ("How do I bake bread?", "The wind moves.", "Mix flour, water and salt."),
    ("Tell me.", "blue", "Light of short waves is scattered more by the air."),
    ("a", "b", ""),
    ("And?", "wait for an hour", "then bake it until it is brown"),
]


def pair(prompt, chosen, rejected):
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": chosen}]
    return {"messages": messages, "rejected_response": rejected}


@pytest.fixture(scope="module")
def expected_gaps(policy):
    """Gaps of TEXTS under adapter "one", each row alone."""

    def reward(prompt, answer):
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        row = [policy.encode_pair_row(messages)]
        return 0.2 * float(policy.sequence_logps(row, "one") - policy.sequence_logps(row, None))

    return [reward(prompt, chosen) - reward(prompt, rejected) for prompt, chosen, rejected in TEXTS]


@pytest.fixture
def run(model_dir, tmp_path, write_rows):
    def call(adapter, rows, *extra):
        path = write_rows("pairs.jsonl", [pair(*row) for row in rows])
        out = tmp_path / "margin.json"
        base = ["--model", model_dir, *MODEL_FLAGS, "--adapter", adapter, "--pairs", path, "--beta", "0.2"]
        status = check_margin.main([*base, "--out", str(out), "--batch_size", "3", *extra])
        return status, json.loads(out.read_text())

    return call


def test_rewards_gaps_and_worst_cases_are_those_of_single_rows(run, adapter_dir, expected_gaps):
    _, outcome = run(adapter_dir, TEXTS)
    wins = sum(gap > 0 for gap in expected_gaps)
    assert 0 < wins < len(TEXTS), "the pairs must hold both outcomes"
    assert outcome["n"] == 5
    assert outcome["accuracy"] == share(wins, 5).as_json()
    assert outcome["mean_gap"] == pytest.approx(sum(expected_gaps) / 5, abs=1e-5)
    order = sorted(range(5), key=lambda index: expected_gaps[index])[:3]
    assert [item["pair"] for item in outcome["worst"]] == [index + 1 for index in order]
    for item, index in zip(outcome["worst"], order, strict=True):
        assert item["gap"] == pytest.approx(expected_gaps[index], abs=1e-5)
        assert (item["prompt"], item["chosen"], item["rejected"]) == TEXTS[index]


def test_the_exit_status_follows_the_threshold(run, adapter_dir, expected_gaps, capsys):
    accuracy = sum(gap > 0 for gap in expected_gaps) / 5
    status, outcome = run(adapter_dir, TEXTS, "--min_accuracy", str(accuracy))
    assert status == 0
    assert outcome["passed"] is True
    assert f"accuracy {accuracy:.3f}" in capsys.readouterr().out
    status, outcome = run(adapter_dir, TEXTS, "--min_accuracy", str(accuracy + 0.01))
    assert status == 1
    assert outcome["passed"] is False
    message = capsys.readouterr().out.splitlines()[-1]
    assert f"{accuracy:.3f}" in message
    assert f"below the threshold {accuracy + 0.01:.3f}" in message


def test_swapping_every_pair_negates_the_mean_gap(run, adapter_dir):
    _, outcome = run(adapter_dir, TEXTS)
    _, swapped = run(adapter_dir, [(prompt, rejected, chosen) for prompt, chosen, rejected in TEXTS])
    assert swapped["mean_gap"] == pytest.approx(-outcome["mean_gap"], abs=1e-5)
    assert swapped["wins"] == 5 - outcome["wins"]


def test_ties_fail_and_are_counted(run, null_adapter_dir):
    status, outcome = run(null_adapter_dir, TEXTS)
    assert status == 1
    assert (outcome["ties"], outcome["wins"], outcome["accuracy"]["value"]) == (5, 0, 0.0)


def test_only_the_first_pairs_are_read(run, adapter_dir):
    assert run(adapter_dir, TEXTS, "--limit", "2")[1]["n"] == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"messages": [{"role": "user", "content": "x"}], "rejected_response": "y"},
            "must end with what the assistant says",
        ),
        ({"messages": pair("a", "b", "c")["messages"]}, "not a pair, found messages; valid"),
        ({"rejected_response": "y"}, "not a pair, found rejected_response; valid"),
    ],
)
def test_pair_errors_name_the_line(write_rows, row, message):
    path = write_rows("pairs.jsonl", [pair("a", "b", "c"), row])
    with pytest.raises(ValueError, match=message) as error:
        check_margin.read_pairs(path)
    assert f"{path}:2" in str(error.value)


def test_a_pair_that_is_too_long_is_named(run, adapter_dir):
    with pytest.raises(ValueError, match="pair 2, rejected"):
        run(adapter_dir, [TEXTS[0], ("a", "b", "the sea " * 600)])


def test_rewards_that_are_not_finite_are_an_error(policy, monkeypatch):
    import torch

    monkeypatch.setattr(policy, "sequence_logps", lambda rows, *_: torch.tensor([0.0, float("nan")]))
    with pytest.raises(ValueError, match="row 1 is nan"):
        check_margin.implicit_rewards(policy, [None, None], "one", 0.1)
