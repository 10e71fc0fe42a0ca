"""Labels of untouched answers: the first so many prompts, ties paid for and left out, the better answer chosen."""

import pytest

from launch.reproduce.gold_pairs import main, order_pairs
from trl_ext.d2po.gold import get_gold


def records(*pairs):
    return [
        {"prompt_id": f"{place}", "messages": [{"role": "user", "content": f"p{place}"}], "prompt": f"p{place}", "response": text}
        for place, pair in enumerate(pairs)
        for text in pair
    ]  # fmt: skip


FOUR = records(("data", "hope and help"), ("code", "a lamp"), ("hope", "help"), ("a", "data"))


def test_the_better_answer_is_chosen_and_a_tie_is_paid_for():
    rows = order_pairs(FOUR, get_gold("bagofwords"), 3)
    assert [[message["content"] for message in rows[0][side]] for side in ("prompt", "chosen", "rejected")] == [
        ["p0"], ["hope and help"], ["data"],
    ]  # fmt: skip
    assert [row["chosen"][0]["content"] for row in rows[1:]] == ["code"]  # the third is a tie
    assert rows[0]["chosen"][0]["role"] == "assistant" and len(order_pairs(FOUR, get_gold("bagofwords"), 4)) == 3
    assert order_pairs(FOUR, get_gold("bagofwords"), 1) == rows[:1]  # the first labels are the first of all


@pytest.mark.parametrize(
    ("given", "labels", "text"),
    [(FOUR, 5, "--labels 5: there are answers to 4 prompts"), (FOUR[:-1], 4, "prompt 3: 1 answers, 2 are valid")],
)
def test_too_few_answers_are_refused(given, labels, text):
    with pytest.raises(ValueError, match=text):
        order_pairs(given, get_gold("bagofwords"), labels)


def test_a_folder_without_answers_is_one_line(tmp_path, capsys):
    flags = ["--gold", "bagofwords", "--labels", "1", "--out", str(tmp_path / "o.jsonl")]
    assert main(["--answers", str(tmp_path / "none"), *flags]) == 2
    assert "no generations found" in capsys.readouterr().err and not (tmp_path / "o.jsonl").exists()
