"""Gold scores of answers: whole and cut, a mean a checkpoint whose interval resamples prompts, and what is refused."""

import json

import pytest

from launch.__main__ import main as launch
from launch.answers.checkpoint_answers import Answer, read_answers
from launch.scores.score_gold import first_words, score_answers, summarize, token_cutter
from tests.d2po.gold.test_annotation import Rater, needs_api
from tests.launch.scores import gold_functions
from tests.tiny import build_tokenizer, write_rows

MISSING = "tests.launch.scores.gold_functions:reads_a_missing_file"
WORDS = "tests.launch.scores.gold_functions:words"


def answer(question="Why?", response="a b c", checkpoint="one", sample=0, metadata=None):
    return Answer(question, question, response, checkpoint, sample, metadata or {})


@pytest.mark.parametrize(
    ("text", "count", "cut"),
    [("a  b\nc d", 2, "a  b"), ("a b ", 2, "a b "), ("a b", 3, "a b"), ("", 1, ""), (" a b", 1, " a"), ("\n", 1, "\n")],
)
def test_first_words(text, count, cut):
    assert first_words(text, count) == cut


def test_token_cutter_keeps_the_text_of_the_first_tokens(tmp_path):
    from transformers import AutoTokenizer

    build_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "The river carries cold water\nfrom the mountains to the sea."
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for count in (1, 5, len(ids) - 1):
        assert token_cutter(str(tmp_path), count)(text) == tokenizer.decode(ids[:count])
    for count in (len(ids), len(ids) + 1):
        assert token_cutter(str(tmp_path), count)(text) == text
    with pytest.raises(ValueError, match="--tokenizer"):
        token_cutter(str(tmp_path / "none"), 3)


def test_both_scores_the_length_and_whether_it_was_cut():
    answers = [answer(response="a b c d"), answer("How?", "a b", metadata={"bonus": 10})]
    rows = score_answers(answers, gold_functions.words, lambda text: first_words(text, 3))
    assert [(r["gold"], r["gold_beginning"], r["words"], r["cut"]) for r in rows] == [
        (4, 3, 4, True),
        (12, 12, 2, False),
    ]
    whole = score_answers(answers, gold_functions.words, None)
    assert [(r["gold"], r["gold_beginning"], r["cut"]) for r in whole] == [(4, 4, False), (12, 12, False)]


def test_what_is_not_cut_is_scored_once_and_what_is_with_its_own_row():
    seen = []

    def gold(prompts, responses, metadata):
        seen.extend(zip(prompts, responses, [row["n"] for row in metadata], strict=True))
        return [0.0] * len(responses)

    score_answers(
        [answer("p", "a", metadata={"n": 1}), answer("q", "a b", metadata={"n": 2})],
        gold,
        lambda text: first_words(text, 1),
    )
    assert seen == [("p", "a", 1), ("q", "a b", 2), ("q", "a", 2)]


def test_scores_that_are_no_scores():
    with pytest.raises(ValueError, match=r"checkpoint 'one', sample 0, question 'Why\?': the gold score is nan"):
        score_answers([answer(response="bad")], gold_functions.undefined, None)
    with pytest.raises(ValueError, match="gave 1 scores for 2 answers"):
        score_answers([answer(), answer(sample=1)], lambda *_: [1.0], None)


def rows_of(values, checkpoint="one"):
    return [
        {
            "prompt_id": prompt,
            "checkpoint": checkpoint,
            "gold": gold,
            "gold_beginning": 0.0,
            "words": 2,
            "cut": gold > 4,
        }
        for prompt, gold in values
    ]


def test_samples_of_a_prompt_are_averaged_before_prompts_are():
    """a: 0 and 6, b: 9. Mean of prompts (3 + 9) / 2 = 6, mean of answers 5."""
    summary = summarize(rows_of([("a", 0.0), ("a", 6.0), ("b", 9.0)]))["one"]
    assert (summary["prompts"], summary["answers"]) == (2, 3) and summary["cut_share"] == pytest.approx(2 / 3)
    assert summary["gold"]["value"] == 6 and 3 <= summary["gold"]["low"] <= 6 <= summary["gold"]["high"] <= 9
    assert summary["words"] == {"value": 2, "low": 2, "high": 2, "n": 2}


def test_many_samples_of_one_prompt_are_no_more_evidence():
    few = summarize(rows_of([("a", 0.0), ("b", 4.0), ("c", 8.0)]))["one"]["gold"]
    many = summarize(rows_of([("a", 0.0), ("b", 4.0), ("c", 8.0)] * 20))["one"]["gold"]
    assert few == many


def test_checkpoints_are_kept_apart_in_their_order():
    summary = summarize(rows_of([("a", 1.0)], "two") + rows_of([("a", 3.0)]))
    assert [(name, cells["gold"]["value"]) for name, cells in summary.items()] == [("two", 1), ("one", 3)]


# --- files and the command line ---------------------------------------------------------------------------------------


@pytest.fixture
def answers_file(tmp_path):
    rows = [
        {
            "question": f"q{n}",
            "response": "w " * (n + 1),
            "checkpoint": name,
            "sample": sample,
            "metadata": {"bonus": 100},
        }
        for name in ("checkpoint-1", "checkpoint-2")
        for n in range(3)
        for sample in range(2)
    ]
    return write_rows(tmp_path / "answers.jsonl", rows)


def run(*arguments):
    return launch([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("verb", "gold"), [("score", ["--gold", WORDS]), ("score", [f"--gold={WORDS}"]), ("score-gold", ["--gold", WORDS])]
)
def test_the_command(answers_file, tmp_path, capsys, verb, gold):
    """`score` with --gold still is the gold tool, for one release; a folder stands for its answers.jsonl."""
    out = tmp_path / "out"
    place = answers_file if verb == "score" else tmp_path
    assert run(verb, "--answers", place, *gold, "--beginning", 2, "--out", out) == 0
    summary = json.loads((out / "gold_summary.json").read_text())
    assert (summary["gold"], summary["beginning"], summary["unit"]) == (WORDS, 2, "words")
    assert list(summary["checkpoints"]) == ["checkpoint-1", "checkpoint-2"]
    cells = summary["checkpoints"]["checkpoint-2"]
    assert (cells["prompts"], cells["answers"], cells["gold"]["value"]) == (3, 6, 102)
    assert cells["gold_beginning"]["value"] == pytest.approx((101 + 102 + 102) / 3) and cells["words"]["value"] == 2
    rows = [json.loads(line) for line in (out / "gold_scores.jsonl").read_text().splitlines()]
    assert len(rows) == 12 and rows[0]["gold"] == 101
    assert "checkpoint-1" in capsys.readouterr().out


def test_chains_and_likelihoods_are_never_cut(tmp_path, capsys):
    chain = "((2 + 3) * 2) = (5 * 2) = 10"
    file = write_rows(tmp_path / "a.jsonl", [{"question": "Question: ((2 + 3) * 2)", "response": chain}])
    code = run("score-gold", "--answers", file, "--gold", "math", "--beginning", 1, "--out", tmp_path / "out")
    assert code == 0, capsys.readouterr().err
    summary = json.loads((tmp_path / "out" / "gold_summary.json").read_text())
    assert summary["unit"] is None and summary["checkpoints"]["a"]["cut_share"] == 0


def test_a_gold_function_that_costs_money_needs_to_be_allowed(answers_file, tmp_path, monkeypatch, capsys):
    import trl_ext.d2po.gold as golds

    paid = golds.GoldFunction("paid", lambda p, r, m: [1.0] * len(r), costs_money=True)
    monkeypatch.setattr(golds, "get_gold", lambda name, **arguments: paid)
    command = ["score-gold", "--answers", answers_file, "--gold", "paid", "--out", tmp_path / "out"]
    assert run(*command) == 2 and "up to 24 answers here: add --pay" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(*command, "--pay") == 0


class Refusing(Rater):
    """Refuses every text that holds a word of `refused`, and rates the others."""

    def __init__(self):
        super().__init__()
        self.refused = ["REFUSED"]

    def next_way(self, body):
        way = super().next_way(body)
        return "400" if any(word in body["messages"][-1]["content"] for word in self.refused) else way


@needs_api
def test_a_refused_answer_costs_itself_and_nothing_is_paid_twice(tmp_path, monkeypatch, capsys):
    """20 answers, one is refused by the server: the other 38 requests are paid for once, whatever comes after."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    rows = [{"question": f"q{n}", "response": f"follow{1 + n % 5} help3 number {n}"} for n in range(19)]
    file = write_rows(tmp_path / "a.jsonl", [*rows[:7], {"question": "q", "response": "REFUSED"}, *rows[7:]])
    with Refusing() as server:
        arguments = {"base_url": f"{server.address}/v1", "model": "m", "rpm_limit": 60_000, "max_retries": 0}
        out = tmp_path / "out"
        command = [
            "score-gold",
            "--answers",
            file,
            "--gold",
            "ultrafeedbackgold",
            "--gold_arguments",
            json.dumps(arguments),
            "--pay",
            "--out",
            out,
        ]
        assert run(*command, "--max_failed_share", "0.01") == 2
        told = capsys.readouterr().err
        assert "1 of 20 answers got no gold score" in told and "--retry_failed" in told
        assert len((out / "gold_answers/answers.jsonl").read_text().splitlines()) == 38 and len(server.bodies) == 40
        assert not (out / "gold_scores.jsonl").exists()

        assert run(*command) == 0 and len(server.bodies) == 42  # one of 20 is allowed; a refused text is not paid for
        assert "1 of 20 answers got no gold score" in capsys.readouterr().out
        cells = json.loads((out / "gold_summary.json").read_text())["checkpoints"]["a"]
        assert (cells["answers"], cells["failed"]) == (20, 1)
        expected = sum((1 + n % 5 + 3) / 2 for n in range(19)) / 19
        assert cells["gold"]["value"] == pytest.approx(expected)
        scores = [json.loads(line)["gold"] for line in (out / "gold_scores.jsonl").read_text().splitlines()]
        assert scores[7] is None and None not in scores[:7] + scores[8:]

        server.refused.clear()
        assert run(*command) == 0 and len(server.bodies) == 44
        assert "failed" not in json.loads((out / "gold_summary.json").read_text())["checkpoints"]["a"]
        assert run(*command) == 0 and len(server.bodies) == 44
        server.script = ["500"] * 9
        assert run(*command[:-1], tmp_path / "other") == 1
        assert "3 requests in a row" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--gold", "bagofword"], "did you mean 'bagofwords'"),
        (["--gold", WORDS, "--gold_arguments", "[1]"], "a JSON object is valid"),
        (["--gold", WORDS, "--gold_arguments", "{"], "is not JSON"),
        (["--gold", "tests.launch.scores.gold_functions:undefine"], "cannot be imported"),
        # Free, so nobody gave up, nothing is kept, and the same command would end the same way.
        (["--gold", MISSING], f"score-gold: error: --gold {MISSING}: FileNotFoundError: [Errno 2] No such file"),
    ],
)
def test_refusals(answers_file, tmp_path, capsys, more, message):
    assert run("score-gold", "--answers", answers_file, "--out", tmp_path / "out", *more) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no answers"),
        ([{"question": "a"}], "field 'response' must be a text"),
        ([{"question": "a", "response": "b"}] * 2, "rows of several samples need the field 'sample'"),
        ([{"question": "a", "response": "b", "metadata": [1]}], "'metadata' must be an object"),
    ],
)
def test_files_that_hold_no_answers(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        read_answers([write_rows(tmp_path / "x.jsonl", rows)])


def test_rows_of_question_and_response_alone_are_named_after_their_file(tmp_path):
    rows = [{"question": "a", "response": "b"}, {"question": "a", "response": "c", "sample": 1}]
    read = read_answers([write_rows(tmp_path / "step_5.jsonl", rows)])
    assert [(a.checkpoint, a.sample, a.response) for a in read] == [("step_5", 0, "b"), ("step_5", 1, "c")]
