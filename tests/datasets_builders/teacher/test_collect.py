"""The whole builder against a fake teacher: scores reach their replies, nothing is paid twice, nothing paid is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from datasets_builders.scoring.prompts import PAIRWISE, get_prompt
from datasets_builders.teacher.ledger import read_answers
from datasets_builders.teacher.results import summarize
from tests.datasets_builders.helpers import dump, load
from tests.datasets_builders.teacher.conftest import KEY, hh_rows
from tests.fake_teacher import HEADER

MODES = {"reply": (), "batch": ("--batch_size", 4), "pairwise": ("--pairwise",)}


def expected(server, row):
    """The scores that the teacher gives, straight from its own judgement of each reply."""
    return [round(100 * server.score(reply)[0]) for reply in row["responses"]]


def asked(server):
    return Counter(body["messages"][-1]["content"] for body in server.bodies)


def everything(folder, *texts):
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file()) + "".join(texts)


# --- scores reach their replies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("mode", MODES)
def test_every_reply_gets_its_own_score(teacher, collect, backend, mode):
    server = teacher()
    code, out, _ = collect(server, *MODES[mode], backend=backend, n_pairs=8)
    assert code == 0
    rows = collect.rows()
    assert len(rows) == 8 == len({row["index"] for row in rows})
    for row in rows:
        assert row["scores"] == expected(server, row)
        assert row["correct"] == (row["scores"][0] > row["scores"][1])
        assert all(f"<s>{score:.0f}</s>" in reason for score, reason in zip(row["scores"], row["reasons"], strict=True))
        assert (row["error"], row["mode"], row["scale"], row["model"]) == (None, mode, "score100", "judge-1")
        assert row["order"] in ({"s0_first", "s0_second"} if mode == "pairwise" else {None})
    assert {row["order"] for row in rows} != {"s0_first"}
    report = json.loads(out)
    assert report["requests"] == len(server.bodies) == {"reply": 16, "batch": 4, "pairwise": 8}[mode]
    assert report == json.loads((collect.out / "summary.json").read_text())
    assert (report["scored"], report["malformed"], report["retries"]) == (8, {}, 0)
    assert report["tokens_in"] == sum(len(body["messages"][-1]["content"]) // 4 for body in server.bodies)


@pytest.mark.parametrize("mode", ["batch", "pairwise"])
def test_sections_out_of_order_change_nothing(teacher, collect, mode):
    server = teacher(*["reversed"] * 8)
    assert collect(server, *MODES[mode], n_pairs=8)[0] == 0
    assert all(row["scores"] == expected(server, row) for row in collect.rows())
    assert len(server.script) == 8 - len(server.bodies)


def test_b_first_answers_to_a_pair_are_matched_by_letter(teacher, collect):
    server = teacher(*["reversed"] * 8)
    collect(server, "--pairwise", n_pairs=8)
    for row in collect.rows():
        shown = next(text for text in asked(server) if row["responses"][0] in text)
        assert (shown.index(row["responses"][0]) < shown.index(row["responses"][1])) == (row["order"] == "s0_first")


def test_shuffled_sides_keep_scores_and_labels_together(teacher, collect):
    server = teacher()
    collect(server, "--shuffle_sides", 1, n_pairs=12)
    rows = collect.rows()
    assert {row["preferred"] for row in rows} == {0, 1}
    for row in rows:
        assert row["responses"][row["preferred"]].startswith("Good")
        assert row["scores"] == expected(server, row)
        assert row["correct"] == (row["scores"][row["preferred"]] > row["scores"][1 - row["preferred"]])


def test_a_draw_is_not_correct(teacher, collect):
    report = json.loads(collect(teacher(score=lambda reply: (0.5, "As good as the other.")), n_pairs=2)[1])
    assert [(row["scores"], row["correct"]) for row in collect.rows()] == [([50, 50], False)] * 2
    assert (report["ties"], report["accuracy_ties_half"]["value"], report["accuracy_strict"]["value"]) == (2, 0.5, 0)


def test_draws_with_skip_do_not_overlap(teacher, collect, tmp_path):
    collect(teacher(), n_pairs=5)
    first = {row["index"] for row in collect.rows()}
    collect.out = tmp_path / "second"
    collect(teacher(), "--skip_pairs", 5, n_pairs=5)
    assert not first & {row["index"] for row in collect.rows()}


def test_votes_are_averaged_and_kept(teacher, collect):
    class Moody:
        count = 0

        def __call__(self, reply):
            self.count += 1
            return (self.count % 3) / 10, f"answer {self.count}"

    server = teacher("garbage", score=Moody())
    code, out, _ = collect(server, "--num_samples", 3, "--max_attempts", 1, "--concurrency", 1, n_pairs=1)
    assert code == 0
    (row,) = collect.rows()
    votes = row["votes"]
    assert [vote["scores"] for vote in votes] == [[None, 10], [20, 0], [10, 20]]
    assert row["scores"] == [15, 10] and row["correct"]
    assert row["reasons"][1] == votes[0]["reasons"][1]  # that of the vote nearest to the mean
    assert row["error"] == "malformed: no_score"
    assert len(server.bodies) == json.loads(out)["requests"] == 6


# --- malformed answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "reason"),
    [("garbage", "no_score"), ("empty", "empty"), ("limit", "cut_off")],
)
@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_malformed_answer_is_kept_and_asked_again(teacher, collect, backend, way, reason):
    server = teacher(way)
    code, out, _ = collect(server, "--concurrency", 1, backend=backend, n_pairs=2)
    assert code == 0
    assert all(row["scores"] == expected(server, row) for row in collect.rows())
    assert json.loads(out)["malformed"] == {reason: 1}
    assert sorted(asked(server).values()) == [1, 1, 1, 2]
    bad = collect.answers()[0]
    assert list(bad["malformed"].values()) == [reason]
    assert sorted(row["attempts"] for row in collect.rows()) == [2, 3]


@pytest.mark.parametrize(
    ("way", "reason", "again"),
    [("missing", "missing_section", 1), ("twice", "duplicate_section", 1), ("numbers", "wrong_header", 4)],
)
def test_of_a_bad_batch_only_the_bad_items_are_asked_again(teacher, collect, way, reason, again):
    server = teacher(way)
    _, out, _ = collect(server, "--batch_size", 4, "--concurrency", 1, n_pairs=2)
    first, second = (body["messages"][-1]["content"] for body in server.bodies)
    assert len(HEADER.findall(first)) == 4 and len(HEADER.findall(second)) == again
    assert json.loads(out)["malformed"] == {reason: again}
    assert all(row["scores"] == expected(server, row) for row in collect.rows())


def test_an_item_is_given_up_after_so_many_answers(teacher, collect):
    server = teacher(*["garbage"] * 50)
    code, out, _ = collect(server, "--max_attempts", 2, n_pairs=1)
    assert code == 0 and len(server.bodies) == 4
    (row,) = collect.rows()
    assert (row["scores"], row["correct"], row["error"]) == ([None, None], None, "malformed: no_score")
    assert json.loads(out)["items_without_verdict"] == 2
    assert json.loads(out)["accuracy_strict"] is None
    # A resumed run does not buy more of the same, unless it may.
    collect(server, "--max_attempts", 2, "--resume", n_pairs=1)
    assert len(server.bodies) == 4
    server.script.clear()
    collect(server, "--max_attempts", 3, "--resume", n_pairs=1)
    assert len(server.bodies) == 6
    assert collect.rows()[0]["scores"] == expected(server, row)


# --- nothing is paid twice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_finished_folder_asks_nothing(teacher, collect, mode):
    server = teacher()
    collect(server, *MODES[mode])
    before, rows, sent = collect.answers(), collect.rows(), len(server.bodies)
    assert collect(server, *MODES[mode], "--resume")[0] == 0
    assert (collect.answers(), collect.rows(), len(server.bodies)) == (before, rows, sent)
    code, _, err = collect(server, *MODES[mode])
    assert code == 2 and "--resume" in err
    assert collect.answers() == before


def test_more_pairs_ask_only_for_the_new_ones(teacher, collect):
    server = teacher()
    collect(server, n_pairs=3)
    collect(server, "--resume", n_pairs=7)
    assert len(server.bodies) == 14 and set(asked(server).values()) == {1}
    assert len(collect.rows()) == 7


@pytest.mark.parametrize("mode", ["reply", "batch"])
def test_a_half_scored_pair_asks_for_its_other_half(teacher, collect, mode):
    server = teacher()
    collect(server, *MODES[mode], n_pairs=1)
    (row,) = collect.rows()
    answers = load(collect.out / "answers.jsonl")
    if mode == "batch":
        answers[0]["text"] = answers[0]["text"].replace("<s>", "<t>", 1)
    dump(collect.out / "answers.jsonl", answers[:1])
    collect(server, *MODES[mode], "--resume", n_pairs=1)
    assert collect.rows()[0]["scores"] == row["scores"] == expected(server, row)
    last = server.bodies[-1]["messages"][-1]["content"]
    assert len(server.bodies) == {"reply": 3, "batch": 2}[mode]
    assert sum(reply in last for reply in row["responses"]) == 1


def test_the_same_reply_in_two_pairs_is_paid_once(teacher, collect, source):
    dump(source, [*hh_rows(2), hh_rows(1)[0] | {"rejected": hh_rows(1)[0]["rejected"].replace("Bad", "Very bad")}])
    server = teacher()
    collect(server, n_pairs=3)
    assert len(server.bodies) == 5
    assert all(row["scores"] == expected(server, row) for row in collect.rows())


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--seed", 1], "seed was 42 and is now 1"),
        (["--prompt", "hh_score100_v2"], "prompt was 'hh_score100_v1'"),
        (["--batch_size", 4], "mode was 'reply' and is now 'batch'"),
        (["--temperature", 0.5], "temperature was None and is now 0.5"),
        (["--split", "test"], "split was 'train'"),
        (["--shuffle_sides", 3], "shuffle_sides"),
        (["--api_model", "judge-2"], "model was 'judge-1'"),
    ],
)
def test_answers_of_other_settings_are_not_mixed(teacher, collect, flags, named):
    server = teacher()
    collect(server, n_pairs=1)
    for extra in ([], ["--dry_run"]):
        code, _, err = collect(server, "--resume", *flags, *extra, n_pairs=1)
        assert code == 2 and named in err
    assert len(server.bodies) == 2


# --- nothing paid is lost ---------------------------------------------------------------------------------------------


def test_every_answer_is_on_the_disk_before_the_next_request(teacher, collect):
    server = teacher("garbage")
    found, genuine = [], server.judge
    path = collect.out / "answers.jsonl"
    server.judge = lambda *given: found.append(len(load(path))) or genuine(*given)
    collect(server, "--concurrency", 1, n_pairs=3)
    # The garbage did not pass through judge, but it is an answer too.
    assert found == [1, 2, 3, 4, 5, 6]


def start(server, folder, source, *flags):
    arguments = [
        "--backend",
        "openai",
        "--api_model",
        "judge-1",
        "--base_url",
        f"{server.address}/v1",
        "--source",
        source,
    ]
    arguments += ["--out", folder, "--limit", 12, "--rpm_limit", 600000, *flags]
    command = [sys.executable, "-m", "datasets_builders", "teacher", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def wait_for(server, requests):
    until = time.monotonic() + 20
    while len(server.bodies) < requests:
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_killed_run_loses_no_answer_and_a_resumed_one_repeats_none(teacher, collect, source, concurrency):
    server = teacher(delay=0.12)
    run = start(server, collect.out, source, "--concurrency", concurrency)
    wait_for(server, 7)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    reached = len(server.bodies)
    kept = read_answers(collect.out)[0]
    # All but those that were under way.
    assert reached - concurrency <= len(kept) < reached < 24
    answered = {key for record in kept for key in record.keys}
    server.delay = 0
    time.sleep(0.15)
    assert collect(server, "--resume", "--concurrency", concurrency, n_pairs=12)[0] == 0
    assert all(row["scores"] == expected(server, row) for row in collect.rows())
    assert read_answers(collect.out)[0][: len(kept)] == kept
    keys = Counter(key for record in collect.answers() for key in record["keys"])
    assert len(keys) == 24 and set(keys.values()) == {1} and answered <= set(keys)
    again = [text for text, times in asked(server).items() if times > 1]
    assert len(server.bodies) == 24 + len(again) and len(again) == reached - len(kept)


def test_an_interrupt_waits_for_what_is_paid_for(teacher, collect, source):
    server = teacher(delay=0.5)
    run = start(server, collect.out, source, "--concurrency", 2)
    wait_for(server, 4)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "interrupted; 4 new answers are kept, continue with --resume" in err
    assert len(collect.answers()) == len(server.bodies) == 4
    assert "Traceback" not in err
    server.delay = 0
    assert collect(server, "--resume", n_pairs=12)[0] == 0
    assert set(asked(server).values()) == {1} and len(server.bodies) == 24


def test_a_second_interrupt_does_not_wait(teacher, collect, source):
    server = teacher(delay=15)
    run = start(server, collect.out, source, "--concurrency", 2)
    wait_for(server, 2)
    for _ in range(2):
        run.send_signal(signal.SIGINT)
        time.sleep(0.5)
    _, err = run.communicate(timeout=5)
    assert run.returncode == 130 and "0 new answers" in err and "Traceback" not in err


def test_a_refusal_stops_the_run_but_not_the_answers_under_way(teacher, collect):
    server = teacher("ok", "ok", "slow", "401")
    code, _, err = collect(server, "--concurrency", 2, n_pairs=6)
    assert code == 2 and "AuthenticationError" in err
    assert len(server.bodies) == 4 and len(collect.answers()) == 3
    assert not (collect.out / "results.jsonl").exists()


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_odd_answers_cost_themselves(teacher, collect, backend):
    """Each is an answer that was paid for, stays in the file, and is followed by another attempt."""
    odd = ["null", "number", "list", "half", "nobody", "negative", "html", "empty"]
    server = teacher(*odd)
    code, out, err = collect(server, "--concurrency", 1, "--max_attempts", 9, backend=backend, n_pairs=4)
    assert code == 0, err
    report = json.loads(out)
    assert report["malformed"] == {"empty": 5} and report["items_without_verdict"] == 0
    assert len(collect.answers()) == 8 + 5 and min(row["tokens_out"] or 0 for row in collect.answers()) == 0
    assert report["requests"] == len(server.bodies) == 8 + 5 + 1  # HTML is no answer: sent again
    assert "?" in next(row["text"] for row in collect.answers() if row["text"])


def test_a_text_that_is_refused_costs_its_items(teacher, collect):
    server = teacher("ok", "400", "ok", "400", "400")
    code, out, _ = collect(server, "--concurrency", 1, n_pairs=4)
    assert code == 0 and json.loads(out)["items_without_verdict"] == 3
    assert len(collect.answers()) == 5 and len(server.bodies) == 8
    assert {row["error"].partition(":")[0] for row in collect.rows() if row["error"]} == {"failed"}
    assert collect(server, "--resume", n_pairs=4)[0] == 0 and len(server.bodies) == 11
    assert all(row["scores"] == expected(server, row) for row in collect.rows())


def test_a_server_that_refuses_every_text_stops_the_run(teacher, collect):
    server = teacher(*["400"] * 99)
    code, _, err = collect(server, "--concurrency", 1, n_pairs=4)
    assert code == 2 and "3 requests in a row got no answer" in err and len(server.bodies) == 3


def test_a_server_that_is_down_stops_the_run(teacher, collect):
    server = teacher(*["500"] * 99)
    code, _, err = collect(server, "--max_retries", 1, "--concurrency", 1, n_pairs=6)
    assert code == 1 and "3 requests in a row" in err
    assert len(server.bodies) == 6
    server.script.clear()
    assert collect(server, "--resume", n_pairs=6)[0] == 0


def test_one_hopeless_request_does_not_stop_the_run(teacher, collect):
    server = teacher("ok", "500", "500", "ok", "500", "500", "ok", "500", "500")
    code, out, _ = collect(server, "--max_retries", 1, "--concurrency", 1, n_pairs=6)
    assert code == 0
    report = json.loads(out)
    assert (report["requests"], report["requests_without_answer"], report["items_without_verdict"]) == (9, 6, 3)
    errors = [row["error"] for row in collect.rows() if row["error"]]
    assert len(errors) in (2, 3) and all("failed: 127.0.0.1" in error for error in errors)
    assert collect(server, "--resume", n_pairs=6)[0] == 0
    assert all(row["scores"] == expected(server, row) for row in collect.rows())


def test_retries_are_counted_over_all_runs(teacher, collect):
    server = teacher("500", "cut")
    collect(server, "--concurrency", 1, n_pairs=1)
    _, out, _ = collect(server, "--resume", n_pairs=2)
    report = json.loads(out)
    assert (report["requests"], report["retries"]) == (6, 2) == (len(server.bodies), 2)


def test_no_more_requests_at_once_than_asked_for(teacher, collect):
    server = teacher(delay=0.06)
    collect(server, "--concurrency", 3, n_pairs=6)
    assert server.most_active == 3


# --- the key ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
@pytest.mark.parametrize("script", [["echo", "500", "echo", "cut"], ["401"], ["400"], ["500"] * 99])
def test_the_key_is_shown_nowhere(teacher, collect, caplog, backend, script):
    """The server sends every header back, in answers and in errors."""
    caplog.set_level("DEBUG")
    server = teacher(*script)
    _, out, err = collect(server, "--max_retries", 1, "--max_attempts", 2, "--concurrency", 1, backend=backend)
    assert any(KEY in str(headers) for headers in server.headers)
    assert "/v1" in caplog.text or "POST" in caplog.text  # the clients do write a log
    assert KEY not in everything(collect.out, out, err, caplog.text)


def test_a_key_on_the_command_line_is_refused_and_not_repeated(teacher, collect):
    for flags in (["--api_key", "sk-another"], ["--api_key=sk-another"]):
        code, out, err = collect(teacher(), *flags)
        assert code == 2 and "OPENAI_API_KEY" in err
        assert "sk-another" not in out + err
    for flags in (["--apikey", "sk-another"], ["--api-key=sk-another"]):
        code, out, err = collect(teacher(), *flags)
        assert code == 2 and "unknown option" in err
        assert "sk-another" not in out + err


# --- dry run, costs, options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_dry_run_shows_requests_and_sends_nothing(teacher, collect, monkeypatch, mode):
    server = teacher()
    monkeypatch.delenv("OPENAI_API_KEY")
    code, out, err = collect(server, *MODES[mode], "--dry_run", "--price_in", 3, "--price_out", 15, n_pairs=6)
    assert code == 0 and not server.bodies and not collect.out.exists()
    report = json.loads(out)
    collect(server, *MODES[mode], "--concurrency", 1, n_pairs=6)
    assert report["requests"] == len(server.bodies)
    for body in server.bodies[:2]:
        assert all(message["content"] in err for message in body["messages"])
    characters = sum(len(message["content"]) for body in server.bodies for message in body["messages"])
    assert report["estimated_tokens_in"] == characters // 4
    assert report["estimated_tokens_out"] == 12 * 150
    assert report["estimated_cost"] == pytest.approx((characters // 4 * 3 + 1800 * 15) / 1e6)
    assert KEY not in out + err


def test_a_dry_run_counts_what_is_still_open(teacher, collect):
    server = teacher()
    collect(server, n_pairs=2)
    path = collect.out / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    before = path.read_bytes()
    report = json.loads(collect(server, "--dry_run", "--resume", n_pairs=5)[1])
    assert report["requests"] == 7
    assert path.read_bytes() == before


def test_money(teacher, collect):
    report = json.loads(collect(teacher(), "--price_in", 2, "--price_out", 10, n_pairs=2)[1])
    assert report["cost"] == pytest.approx((report["tokens_in"] * 2 + report["tokens_out"] * 10) / 1e6)
    assert report["tokens_in"] > 0 < report["tokens_out"]


@pytest.mark.parametrize(
    ("flags", "prompt"),
    [
        ((), "hh_score100_v1"),
        (("--scale", "score5"), "hh_score5_v1"),
        (("--prompt", "hh_score5_v4"), "hh_score5_v4"),
        (("--prompt", "hh_score5_v4", "--scale", "score5"), "hh_score5_v4"),
        (("--pairwise", "--scale", "score100"), PAIRWISE.name),
    ],
)
def test_scale_and_prompt(teacher, collect, flags, prompt):
    server = teacher()
    code, out, _ = collect(server, *flags, n_pairs=1)
    assert code == 0 and json.loads(out)["prompt_name"] == prompt
    wanted = PAIRWISE if "--pairwise" in flags else get_prompt(prompt)
    assert all(body["messages"][-1]["content"].startswith(wanted.instructions) for body in server.bodies)
    high = 5 if "score5" in prompt else 100
    assert all(0 <= score <= high for row in collect.rows() for score in row["scores"])


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--scale", "score5", "--prompt", "hh_score100_v1"], "--scale score5"),
        (["--scale", "score5", "--pairwise"], "--scale score5"),
        (["--prompt", "hh_score100_v11"], "did you mean"),
        (["--prompt", "score100_v1"], "--dataset summarize_from_feedback"),
        (["--prompt", PAIRWISE.name], "needs --pairwise"),
        (["--prompt", "hh_score100_v1", "--pairwise"], "pairwise prompt"),
        (["--pairwise", "--batch_size", "4"], "--batch_size 4"),
        (["--pairwise", "--dataset", "summarize_from_feedback"], "--dataset anthropic_hh"),
        (["--num_samples", "2", "--temperature", "0"], "--num_samples 2"),
        (["--price_in", "2"], "--price_out"),
        (["--temperature", "2.5"], "0 to 2"),
        (["--temperature", "nan"], "0 to 2"),
        (["--skip_pairs", "-1"], "at least 0"),
        (["--skip_pairs", "99"], "leaves no pair of 12"),
        (["--split", "tset"], "did you mean"),
        (["--rpm_limit", "0"], "at least 1"),
        (["--backend", "openia"], "did you mean"),
        (["--base_url", "127.0.0.1:1"], "http://"),
    ],
)
def test_wrong_options_are_named_before_anything_is_sent(teacher, collect, flags, named):
    server = teacher()
    code, _, err = collect(server, *flags)
    assert code == 2 and named in err
    assert (not server.bodies and not (collect.out / "answers.jsonl").exists()) or named == "leaves no pair of 12"


def test_anthropic_takes_no_temperature(teacher, collect):
    code, _, err = collect(teacher(), "--temperature", 1, backend="anthropic")
    assert code == 2 and "--temperature" in err and not collect.out.exists()


def test_too_many_unusable_rows_are_reported(teacher, collect, source):
    dump(source, [*hh_rows(3), {"chosen": "x", "rejected": "y"}])
    server = teacher()
    code, _, err = collect(server)
    assert code == 2 and "no_turns" in err and not server.bodies
    code, out, _ = collect(server, "--max_skipped_share", 0.5, "--resume")
    assert code == 0 and json.loads(out)["rows"]["skipped"]["no_turns"]["count"] == 1


def test_summary_counts_ties_as_half():
    rows = [
        {"scores": scores, "correct": correct}
        for scores, correct in [([3, 1], True), ([1, 3], False), ([2, 2], False), ([2, None], None)]
    ]
    summary = summarize(rows)
    counts = {name: summary[name] for name in ("n_pairs", "scored", "correct", "ties")}
    assert counts == {"n_pairs": 4, "scored": 3, "correct": 1, "ties": 1}
    assert summary["accuracy_ties_half"]["value"] == 0.5
    # Wilson's (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2/4n^2)) / (1 + z^2/n) for p = 1/3, n = 3
    assert summary["accuracy_strict"] == pytest.approx(
        {"value": 1 / 3, "low": 0.0615, "high": 0.7923, "n": 3}, abs=1e-4
    )
