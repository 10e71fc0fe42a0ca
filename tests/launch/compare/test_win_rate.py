"""`python -m launch win-rate` against a real HTTP server on the loopback interface, and from a local judge's file."""

import json
import re

import pytest

from launch.__main__ import main
from launch.answers.records import shard_name
from launch.common.statistics import share
from launch.compare.win_rate import describe
from launch.compare.win_statistics import Outcome, outcome_of, outcomes, win_statistics
from launch.judge.verdicts import JudgedRow
from tests import tiny
from tests.fake_judge import FakeJudge
from tests.launch.generations import generation
from tests.tiny import build_tiny_judge

KEY = "sk-secret-1234567890"


class Judge(FakeJudge):
    """Prefers the reply with the higher `quality N`; `always A` and `mute` in a reply make it say that."""

    def say(self, body, way="ok"):
        user = body["messages"][-1]["content"]
        if "mute" in user:
            return "I would rather not say."
        return "<preference>A</preference>" if "always A" in user else super().say(body)


# (answer of A, answer of B): A wins, B wins, tie, place decides, identical, no verdict.
ANSWERS = [
    ("quality 3 and more words", "quality 1"),
    ("quality 2", "quality 5 indeed"),
    ("quality 4 here", "quality 4"),
    ("quality 1, always A", "quality 2"),
    ("quality 7", "quality 7"),
    ("quality 1 mute", "quality 2"),
    ("quality 9 wins", "quality 8"),
]


@pytest.fixture
def gens(tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    folders = []
    for side, label in enumerate(("modpo", "sft")):
        records = [generation(place, label, response=both[side]) for place, both in enumerate(ANSWERS)]
        (tmp_path / label).mkdir()
        tiny.write_rows(tmp_path / label / shard_name(0, 2), records[:3])
        # The other order in the second shard: answers are matched by prompt, not by place.
        tiny.write_rows(tmp_path / label / shard_name(1, 2), records[3:] if side else records[:2:-1])
        folders.append(str(tmp_path / label))
    return folders


def flags(server, gens, out, *extra):
    return ["win-rate", "--gens", *gens, "--out", str(out), "--base_url", f"{server.address}/v1", "--api_model", "judge-1",
            "--rpm_limit", "60000", "--max_attempts", "1", *map(str, extra)]  # fmt: skip


def result(out):
    return json.loads((out / "win_rate.json").read_text())


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != ".lock"}


def test_both_orders_through_the_command_line(launch, gens, tmp_path):
    out = tmp_path / "out"
    with Judge() as server:
        done = launch(*flags(server, gens, out))
        assert done.returncode == 0, done.stderr
        assert len(server.bodies) == 12  # six pairs in both orders; identical answers cost nothing
        body = server.bodies[0]
        assert (body["model"], body["temperature"], [m["role"] for m in body["messages"]]) == (
            "judge-1", 0.0, ["system", "user"],
        )  # fmt: skip
        keys = [
            value for headers in server.headers for name, value in headers.items() if name.lower() == "authorization"
        ]
        assert keys == [f"Bearer {KEY}"] * 12
        found = result(out)
        assert found["counts"] == {"A": 2, "tie": 3, "B": 1} and (found["pairs"], found["judged"]) == (7, 6)
        assert found["ties_by_reason"] == {"judge says tie": 1, "orders disagree": 1, "identical answers": 1}
        assert found["not_judged"] == {"no verdict": 1}
        assert found["win_rate"] == share(3.5, 6).as_json() and found["win_rate"]["value"] == 3.5 / 6
        assert found["decided"]["value"] == pytest.approx(2 / 3) and found["longer_wins"]["value"] == 1.0
        # The judge that says A to whatever is first leans by 1 in one pair of five.
        assert found["position_bias"]["value"] == pytest.approx(0.2)
        assert found["orders_agree"]["value"] == pytest.approx(4 / 6)
        assert "modpo against sft: 7 pairs, 6 of them judged" in done.stdout
        assert "1 ties: orders disagree" in done.stdout and "not told apart" in done.stdout
        before = contents(out)
        assert KEY not in done.stdout + done.stderr and all(KEY.encode() not in data for data in before.values())
        # Paid answers are not lost: without --resume the folder is refused, with it nothing is asked again.
        assert launch(*flags(server, gens, out)).returncode == 2
        again = launch(*flags(server, gens, out, "--resume"))
        assert again.returncode == 0 and again.stdout == done.stdout
        assert len(server.bodies) == 12 and contents(out) == before
        changed = launch(*flags(server, gens, out, "--resume", "--thinking"))
        assert changed.returncode == 2 and "prompt was" in changed.stderr


def test_turning_the_models_around_turns_the_result_around(gens, tmp_path):
    with Judge() as server:
        main(flags(server, gens, tmp_path / "one"))
        main(flags(server, gens[::-1], tmp_path / "two"))
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert two["win_rate"]["value"] == pytest.approx(1 - one["win_rate"]["value"])
    assert two["counts"] == {"A": one["counts"]["B"], "tie": one["counts"]["tie"], "B": one["counts"]["A"]}
    assert two["position_bias"]["value"] == one["position_bias"]["value"]


def test_every_answer_is_on_the_disk_before_the_next_request(gens, tmp_path, capsys):
    """The server looks into the folder upon each request, and goes down after five answers."""
    out, seen = tmp_path / "out", []

    class Watching(Judge):
        def say(self, body, way="ok"):
            file = out / "answers.jsonl"
            seen.append(len(file.read_text().splitlines()) if file.exists() else 0)
            return super().say(body)

    with Watching(script=["ok"] * 5 + ["500"] * 3) as server:
        argv = flags(server, gens, out, "--concurrency", 1, "--max_retries", 0)
        assert main(argv) == 1
        assert seen == [0, 1, 2, 3, 4]
        assert "3 requests in a row got no answer" in capsys.readouterr().err
        assert not (out / "win_rate.json").exists()
        assert main([*argv, "--resume"]) == 0
        assert seen == list(range(12))
    with Judge() as server:
        main(flags(server, gens, tmp_path / "whole", "--concurrency", 1))
    interrupted, whole = contents(out), contents(tmp_path / "whole")
    for name in ("outcomes.jsonl", "verdicts.jsonl"):
        assert interrupted[name] == whole[name]


def test_a_refusal_stops_the_run_and_never_shows_the_key(gens, tmp_path, capsys):
    with Judge(script=["401"] * 12) as server:
        assert main(flags(server, gens, tmp_path / "out", "--concurrency", 1)) == 2
        assert len(server.bodies) == 1
    shown = capsys.readouterr()
    assert "127.0.0.1" in shown.err and KEY not in shown.out + shown.err


def test_what_is_cut_off_has_no_verdict(gens, tmp_path):
    with Judge(script=["limit"]) as server:
        main(flags(server, gens, tmp_path / "out", "--concurrency", 1))
    found = result(tmp_path / "out")
    assert found["not_judged"] == {"verdict in one order only": 1, "no verdict": 1}
    assert found["costs"]["malformed"] == {"cut_off": 1, "no_verdict": 2}


def test_a_dry_run_sends_and_writes_nothing(gens, tmp_path, capsys):
    with Judge() as server:
        assert main(flags(server, gens, tmp_path / "out", "--dry_run", "--limit", 3)) == 0
        assert not server.bodies
    assert not (tmp_path / "out").exists()
    assert re.search(r"<response_a>.*\n\d requests, about \d+ tokens to read", capsys.readouterr().out, re.DOTALL)


def test_the_file_of_a_local_judge_gives_the_same_result(gens, tmp_path, capsys):
    with Judge() as server:
        main(flags(server, gens, tmp_path / "api"))
    api = result(tmp_path / "api")
    argv = ["win-rate", "--verdicts", str(tmp_path / "api/verdicts.jsonl"), "--names", "modpo", "sft"]
    assert main([*argv, "--out", str(tmp_path / "local")]) == 0
    local = result(tmp_path / "local")
    assert local["counts"] == {"A": 2, "tie": 2, "B": 1}  # without the pair that nobody was asked about
    for name in ("position_bias", "orders_agree", "decided", "not_judged"):
        assert local[name] == api[name]
    assert local["win_rate"]["value"] == pytest.approx(3 / 5)
    assert main(["win-rate", "--gens", *gens, "--write_pairs", "--out", str(tmp_path / "pairs")]) == 0
    pairs = [json.loads(line) for line in (tmp_path / "pairs/pairs.jsonl").read_text().splitlines()]
    assert len(pairs) == 6 and pairs[0]["response_1"] == ANSWERS[0][0] and pairs[0]["prompt"][-1]["role"] == "user"


@pytest.mark.integration
def test_a_local_judge_from_pairs_to_the_win_rate(launch, gens, tmp_path):
    pytest.importorskip("swift")
    model = build_tiny_judge(tmp_path / "judge", seed=3)
    done = launch("win-rate", "--gens", *gens, "--write_pairs", "--out", tmp_path / "wins")
    assert done.returncode == 0, done.stderr
    judge = ["judge", "--model", model, "--model_type", "llama", "--template", "chatml", "--torch_dtype", "float32",
             "--max_new_tokens", 1, "--num_samples", 3, "--do_sample", "--top_k", 3, "--top_p", 1,
             "--pairs", tmp_path / "wins/pairs.jsonl", "--out", tmp_path / "judged"]  # fmt: skip
    done = launch(*judge)
    assert done.returncode == 0, done.stderr
    verdicts = tmp_path / "judged/verdicts.jsonl"
    done = launch("win-rate", "--verdicts", verdicts, "--names", "modpo", "sft", "--out", tmp_path / "wins")
    assert done.returncode == 0, done.stderr
    found = result(tmp_path / "wins")
    pairs = [json.loads(line) for line in (tmp_path / "judged/pairs.jsonl").read_text().splitlines()]
    assert found["pairs"] == len(pairs) == 6 and (found["a"], found["b"]) == ("modpo", "sft")
    # The judge's own file says the same of each pair, its tie of two orders that differ included.
    assert found["counts"] == {name: sum(pair["verdict"] == name for pair in pairs) for name in ("A", "tie", "B")}
    disagree = sum(pair["agree"] is False for pair in pairs)
    assert found["ties_by_reason"].get("orders disagree", 0) == disagree


def row(side, *verdicts, pair="p"):
    return JudgedRow(pair, side, None, None, "", verdicts)


@pytest.mark.parametrize(
    ("original", "swapped", "outcome", "reason"),
    [
        ("A", "B", "A", "both orders agree"),
        ("B", "A", "B", "both orders agree"),
        ("tie", "tie", "tie", "judge says tie"),
        ("A", "A", "tie", "orders disagree"),
        ("A", "tie", "tie", "orders disagree"),
        ("A", None, None, "verdict in one order only"),
        (None, None, None, "no verdict"),
    ],
)
def test_outcomes_of_a_pair(original, swapped, outcome, reason):
    assert outcome_of("p", row(0, original), row(1, swapped))[1:3] == (outcome, reason)
    assert outcome_of("p", row(0, original), None).outcome is None


def test_statistics_by_hand():
    rows = [row(0, "A", pair="a:0"), row(1, "B", pair="a:0"), row(0, "A", pair="a:1"), row(1, "A", pair="a:1"),
            row(0, "B", pair="b:0"), row(1, "A", pair="b:0")]  # fmt: skip
    found = win_statistics(outcomes(rows), rows, {"a:0": "a", "a:1": "a"}, {"a:0": (1, 5), "b:0": (3, 3)})
    # Prompt a: a win and a tie, 0.75; prompt b: a loss.
    assert (found["win_rate"]["value"], found["win_rate"]["n"]) == (0.375, 2)
    assert found["longer_wins"] == share(0, 1).as_json() and found["decided"]["value"] == 0.5
    nothing = win_statistics([Outcome("p", None, "no verdict")], [], {}, {})
    assert nothing["win_rate"] == {"value": None, "low": None, "high": None, "n": 0}
    said = describe({"a": "modpo", "b": "sft", **nothing})
    assert said == "modpo against sft: 1 pairs, 0 of them judged\n1 not judged: no verdict"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "give --gens or --verdicts"),
        (["--gens", "A", "B"], "--gens needs --api_model"),
        (["--verdicts", "x", "--api_model", "m"], "leave out --write_pairs, --limit and --api_model"),
        (["--gens", "A", "B", "--api_model", "m", "--num_samples", "2"], "all answers would be the same"),
        (
            ["--gens", "A", "B", "--api_model", "m", "--backend", "anthropic", "--temperature", "0"],
            "anthropic takes none",
        ),
        (["--gens", "A", "B", "--api_model", "m"], "1 answers have no partner .* sample 0; see .*validate-eval-set"),
        (["--gens", "A", "A", "--api_model", "m"], "needs --base_url or the environment variable OPENAI_BASE_URL"),
    ],
)
def test_mistakes_are_named(gens, tmp_path, more, message, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    shorter = tmp_path / "shorter"
    shorter.mkdir()
    answers = [generation(place, "sft", response=both[1]) for place, both in enumerate(ANSWERS[1:], start=1)]
    tiny.write_rows(shorter / shard_name(0, 1), answers)
    places = {"A": gens[0], "B": str(shorter)}
    assert main(["win-rate", "--out", str(tmp_path / "out"), *(places.get(text, text) for text in more)]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_number_of_retries_below_0_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["win-rate", "--out", str(tmp_path / "out"), "--api_model", "m", "--max_retries", "-1"])
    assert "--max_retries: '-1' is not a whole number of at least 0" in capsys.readouterr().err
