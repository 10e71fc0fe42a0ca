"""`python -m launch judge` against a local server that judges by a rule, and with a tiny local model."""

import json
import os
import subprocess
import sys

import pytest

from datasets_builders.judging.prompt import PairwisePrompt
from datasets_builders.judging.rows import PairToJudge
from launch.__main__ import main as launch
from launch.judge.verdicts import JudgedRow, read_verdicts
from tests import tiny
from tests.conftest import REPOSITORY
from tests.fake_judge import FakeJudge, by_quality
from tests.tiny import build_tiny_judge

FILES = ("answers.jsonl", "pairs.jsonl", "settings.json", "verdicts.jsonl")


def reply(quality, article="A"):
    return f"{article} reply of quality {quality}." if quality else f"{article} reply."


def raw(index, first, second, **more):
    return {"prompt": f"Question {index}?", "response_1": reply(first), "response_2": reply(second, "One"), **more}


# Right, right, a true tie, wrong, and one about which the judge says nothing.
RAW = [
    raw(0, 3, 1, preference_strength=-3),
    raw(1, 2, 5, preference_strength=1, subset="chat"),
    raw(2, 4, 4, preference_strength=0),
    raw(3, 1, 2, ground_truth="A"),
    raw(4, 0, 2),
]


@pytest.fixture
def serve(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return FakeJudge


@pytest.fixture
def pairs_file(tmp_path):
    return tiny.write_rows(tmp_path / "raw.jsonl", RAW)


def flags(server, pairs, out, *extra):
    return [
        *["judge", "--backend", "openai", "--base_url", server.url, "--api_model", "org/judge"],
        *["--pairs", str(pairs), "--out", str(out), *extra],
    ]


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_known_verdicts_through_a_server(serve, pairs_file, tmp_path, capsys):
    with serve() as server:
        assert launch(flags(server, pairs_file, tmp_path / "out")) == 0
    rows = read_verdicts(tmp_path / "out/verdicts.jsonl")
    assert [(row.side, row.ground_truth, row.preference_strength, row.verdicts, row.subset) for row in rows] == [
        (0, "A", -3, ("A",), ""),
        (1, "B", 3, ("B",), ""),
        (0, "B", 1, ("B",), "chat"),
        (1, "A", -1, ("A",), "chat"),
        (0, "tie", 0, ("tie",), ""),
        (1, "tie", 0, ("tie",), ""),
        (0, "A", None, ("B",), ""),
        (1, "B", None, ("A",), ""),
        (0, None, None, (None,), ""),
        (1, None, None, (None,), ""),
    ]
    pairs = read(tmp_path / "out/pairs.jsonl")
    assert [pair["pair_id"] for pair in pairs] == [row.pair_id for row in rows[::2]]
    assert [(pair["verdict"], pair["agree"], pair["votes"], pair["ground_truth"]) for pair in pairs] == [
        ("A", True, ["A", "A"], "A"),
        ("B", True, ["B", "B"], "B"),
        ("tie", True, ["tie", "tie"], "tie"),
        ("B", True, ["B", "B"], "A"),
        (None, None, [None, None], None),
    ]
    assert [pair["preference_strength"] for pair in pairs] == [-3, 1, 0, None, None]
    printed = capsys.readouterr().out
    for text in (
        "judge: 5 pairs, 10 rows, 10 answers",
        "answers with a verdict: 0.8000, ties among them: 0.2500",
        "first reply preferred: 0.5000 of the answers",
        "both orders agree: 1.0000 of the pairs",
    ):
        assert text in printed
    assert "cut off" not in printed and "skipped" not in printed
    answers = read(tmp_path / "out/answers.jsonl")
    assert len(answers) == 10 and answers[0]["response"] == "Because.\n<preference>A</preference>"
    request = server.bodies[0]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("org/judge", 1024, 0.0)


def test_an_answer_without_text_costs_that_answer(serve, pairs_file, tmp_path, capsys):
    """What a server says when reasoning has used up every token: `content: null`. One of ten here, in flight with all."""
    with serve(
        lambda first, second, sample: None if "One" in first and "5" in first else by_quality(first, second, sample)
    ) as server:
        command = flags(server, pairs_file, tmp_path / "out")
        assert launch(command) == 2 and "1 of 10 answers failed (no_text 1)" in capsys.readouterr().err
        assert launch([*command, "--max_failed_share", "0.1"]) == 0 and len(server.bodies) == 10
        rows = read_verdicts(tmp_path / "out/verdicts.jsonl")
        assert [row.verdicts[0] for row in rows] == ["A", "B", "B", None, "tie", "tie", "B", "A", None, None]
        assert [row.capped for row in rows] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        server.rule = by_quality
        assert launch([*command, "--retry_failed"]) == 0 and len(server.bodies) == 11
        assert read_verdicts(tmp_path / "out/verdicts.jsonl")[3].verdicts == ("A",)


def test_a_liking_for_the_first_place_is_seen(serve, pairs_file, tmp_path, capsys):
    with serve(lambda first, second, sample: "endless <preference>A</preference>") as server:
        launch(flags(server, pairs_file, tmp_path / "out"))
    assert {pair["verdict"] for pair in read(tmp_path / "out/pairs.jsonl")} == {"tie"}
    printed = capsys.readouterr().out
    assert "first reply preferred: 1.0000" in printed and "both orders agree: 0.0000" in printed
    assert "10 answers were cut off: see --max_new_tokens" in printed
    assert {row.capped for row in read_verdicts(tmp_path / "out/verdicts.jsonl")} == {1}


def test_votes_are_samples_of_each_order(serve, tmp_path):
    """Sample k says the k-th of these where the better reply is first, and is right otherwise."""
    said = ["B", "A", None, "A", "tie"]

    def rule(first, second, sample):
        return by_quality(first, second, sample) if "quality 1" in first else f"<preference>{said[sample]}</preference>"

    file = tiny.write_rows(tmp_path / "raw.jsonl", RAW[:1])
    with serve(rule) as server:
        launch(flags(server, file, tmp_path / "out", "--num_samples", "5", "--do_sample", "--temperature", "0.4"))
    rows = read_verdicts(tmp_path / "out/verdicts.jsonl")
    assert rows[0].verdicts == tuple(said) and rows[0].vote == "A"
    assert rows[1].verdicts == ("B",) * 5
    assert read(tmp_path / "out/pairs.jsonl")[0]["votes"] == ["A", "A"]
    assert len({request["seed"] for request in server.bodies}) == 10
    assert {(request["temperature"], request["top_p"]) for request in server.bodies} == {(0.4, 0.9)}
    assert all("top_k" not in request for request in server.bodies)


def test_rows_of_the_builder_are_asked_as_they_are(serve, pairs_file, tmp_path):
    prompt = PairwisePrompt()
    built = []
    for row in RAW:
        strength = row.get("preference_strength")
        label = {-3: "A", 1: "B", 0: "tie"}.get(strength, row.get("ground_truth"))
        conversation = ({"role": "user", "content": row["prompt"]},)
        replies = row["response_1"], row["response_2"]
        built += PairToJudge(conversation, replies, label, strength, row.get("subset", "")).rows(prompt)
    file = tiny.write_rows(tmp_path / "built.jsonl", built)
    with serve() as server:
        launch(flags(server, pairs_file, tmp_path / "raw"))
        launch(flags(server, file, tmp_path / "built"))
        # The prompt's flags have no say over rows that hold their prompt already.
        launch(flags(server, file, tmp_path / "flags", "--ties", "false"))
        launch(flags(server, file, tmp_path / "original", "--orders", "original"))
        apart = tiny.write_rows(tmp_path / "apart.jsonl", [*built[::2], *built[1::2]])
        launch(flags(server, apart, tmp_path / "part", "--limit", "2"))
    for name in ("answers.jsonl", "pairs.jsonl", "verdicts.jsonl"):
        assert (tmp_path / "raw" / name).read_bytes() == (tmp_path / "built" / name).read_bytes()
        assert (tmp_path / "raw" / name).read_bytes() == (tmp_path / "flags" / name).read_bytes()
    rows = read_verdicts(tmp_path / "built/verdicts.jsonl")
    assert read_verdicts(tmp_path / "original/verdicts.jsonl") == rows[::2]
    assert read_verdicts(tmp_path / "part/verdicts.jsonl") == [rows[0], rows[2], rows[1], rows[3]]


def test_every_shape_of_a_pair_is_the_same_pair(serve, tmp_path):
    replies = reply(5), reply(3)
    message = [[{"role": "assistant", "content": text}] for text in replies]
    shapes = [
        {"prompt": "Which?", "response_1": replies[0], "response_2": replies[1], "preference_strength": -2.0},
        {"prompt": [{"role": "user", "content": "Which?"}], "response_a": replies[0], "response_b": replies[1],
         "ground_truth": "A"},
        {"prompt": "Which?", "chosen": replies[0], "rejected": replies[1]},
        {"prompt": [{"role": "user", "content": "Which?"}], "chosen": message[0], "rejected": message[1]},
    ]  # fmt: skip
    found = []
    with serve() as server:
        for number, shape in enumerate(shapes):
            file = tiny.write_rows(tmp_path / f"{number}.jsonl", [shape])
            launch(flags(server, file, tmp_path / str(number)))
            found.append(read_verdicts(tmp_path / str(number) / "verdicts.jsonl"))
    pair_id, strengths = found[0][0].pair_id, [-2.0, None, None, None]
    for rows, strength in zip(found, strengths, strict=True):
        turned = None if strength is None else -strength
        assert rows == [
            JudgedRow(pair_id, 0, "A", strength, "", ("A",)),
            JudgedRow(pair_id, 1, "B", turned, "", ("B",)),
        ]


def test_the_prompt_follows_its_flags_and_the_turns(serve, tmp_path):
    (tmp_path / "rubric.txt").write_text("Is it kind?\n\n  Is it short?\n")
    turns = "Hello\n<extra_id_1>Assistant\nHi\n<extra_id_1>User\nWhich?"
    file = tiny.write_rows(tmp_path / "raw.jsonl", [{**raw(0, 3, 1), "prompt": turns}])
    with serve() as server:
        launch(flags(server, file, tmp_path / "plain", "--orders", "original"))
        more = ["--rubric", str(tmp_path / "rubric.txt"), "--thinking", "--ties", "false", "--orders", "original"]
        launch(flags(server, file, tmp_path / "flags", *more))
    plain, asked = (request["messages"][0]["content"] for request in server.bodies)
    assert "User: Hello\n\nAssistant: Hi\n\nUser: Which?" in plain and "extra_id" not in plain
    assert "A, B or tie" in plain and "Judge by" not in plain and "<think>" not in plain
    assert "Judge by:\n- Is it kind?\n- Is it short?" in asked
    assert "A or B" in asked and "tie" not in asked and "<think>" in asked
    settings = json.loads((tmp_path / "flags/settings.json").read_text())
    assert settings["prompt"] == {
        "rubric": ["Is it kind?", "Is it short?"], "examples": 0, "thinking": True, "ties": False
    }  # fmt: skip


def exchanged(row):
    return {**row, "response_1": row["response_2"], "response_2": row["response_1"]}


def test_a_pair_that_comes_again_is_counted(serve, tmp_path, capsys):
    rows = [raw(0, 1, 2, ground_truth="A"), raw(1, 1, 2), raw(0, 1, 2, ground_truth="A")]
    other = exchanged(rows[0])
    turned = [other | {"ground_truth": "B"}, other | {"ground_truth": None}, other, rows[0] | {"ground_truth": "B"}]
    file = tiny.write_rows(tmp_path / "raw.jsonl", [*rows, *turned])
    with serve() as server:
        launch(flags(server, file, tmp_path / "out"))
    assert len(read(tmp_path / "out/pairs.jsonl")) == 2
    said = capsys.readouterr().out
    assert "1 rows skipped, pair comes again\n" in said
    assert "2 rows skipped, pair comes again in the other order" in said
    assert "2 rows skipped, pair comes again with another truth, the first one counts" in said


def test_in_the_original_order_a_turned_copy_is_the_other_side(serve, tmp_path):
    """The same judgement from the other side: B here is A there. It is one pair with both orders, not a contradiction."""
    row = raw(0, 1, 2, ground_truth="A", subset="x")
    turned = exchanged(row) | {"ground_truth": "B"}
    file = tiny.write_rows(tmp_path / "raw.jsonl", [row, turned, turned])
    with serve() as server:
        launch(flags(server, file, tmp_path / "out", "--orders", "original"))
        assert len(server.bodies) == 2
    rows = read_verdicts(tmp_path / "out/verdicts.jsonl")
    assert [(row.side, row.ground_truth) for row in rows] == [(0, "A"), (1, "B")]
    assert len({row.pair_id for row in rows}) == 1


def test_equal_replies_are_asked_about_once(serve, tmp_path):
    file = tiny.write_rows(tmp_path / "raw.jsonl", [{**raw(0, 3, 3), "response_2": reply(3)}])
    with serve() as server:
        launch(flags(server, file, tmp_path / "out"))
    assert len(server.bodies) == 1
    assert [row.verdicts for row in read_verdicts(tmp_path / "out/verdicts.jsonl")] == [("tie",), ("tie",)]


def test_an_interrupted_run_goes_on_to_the_same_bytes(serve, pairs_file, tmp_path, capsys):
    with serve() as server:
        once = flags(server, pairs_file, tmp_path / "whole", "--batch_size", "1")
        again = flags(server, pairs_file, tmp_path / "out", "--batch_size", "1")
        launch(once)
        server.bodies.clear()
        server.fail_after = 5
        assert launch(again) == 2
        assert "refused" in capsys.readouterr().err
        assert len(read(tmp_path / "out/answers.partial.jsonl")) == 5  # one of a batch whose other one was refused
        assert not (tmp_path / "out/verdicts.jsonl").exists()
        server.bodies.clear()
        server.fail_after = None
        assert launch(again) == 0
        assert len(server.bodies) == 5
        assert launch(again) == 0
        assert len(server.bodies) == 5
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)


def test_answers_of_other_settings_or_rows_do_not_mix(serve, pairs_file, tmp_path, capsys):
    with serve() as server:
        launch(flags(server, pairs_file, tmp_path / "out"))
        for extra, name in (
            (["--max_new_tokens", "7"], "max_new_tokens = 1024"),
            (["--ties", "false"], "prompt = "),
            (["--do_sample"], "do_sample = False"),
            (["--system", "Judge"], "system = None"),
        ):
            assert launch(flags(server, pairs_file, tmp_path / "out", *extra)) == 2
            assert name in capsys.readouterr().err
        changed = tiny.write_rows(tmp_path / "changed.jsonl", [*RAW[:4], raw(4, 0, 9)])
        assert launch(flags(server, changed, tmp_path / "out")) == 2
        assert "rows_sha256" in capsys.readouterr().err
        assert len(server.bodies) == 10


def test_rows_of_the_same_pairs_with_another_prompt_do_not_mix(serve, tmp_path, capsys):
    pair = PairToJudge(({"role": "user", "content": "Which?"},), (reply(1), reply(2)), "B")
    files = [
        tiny.write_rows(tmp_path / f"{number}.jsonl", list(pair.rows(prompt)))
        for number, prompt in enumerate((PairwisePrompt(), PairwisePrompt(rubric=("Is it kind?",))))
    ]
    with serve() as server:
        assert launch(flags(server, files[0], tmp_path / "out")) == 0
        assert launch(flags(server, files[1], tmp_path / "out")) == 2
    assert "rows_sha256" in capsys.readouterr().err


def test_another_truth_needs_no_other_answer(serve, pairs_file, tmp_path):
    corrected = tiny.write_rows(tmp_path / "corrected.jsonl", [*RAW[:3], raw(3, 1, 2, ground_truth="B"), RAW[4]])
    with serve() as server:
        launch(flags(server, pairs_file, tmp_path / "out"))
        launch(flags(server, corrected, tmp_path / "out"))
        assert len(server.bodies) == 10
    assert [row.ground_truth for row in read_verdicts(tmp_path / "out/verdicts.jsonl")][6:8] == ["B", "A"]


def test_damaged_answers_are_named(serve, pairs_file, tmp_path, capsys):
    with serve() as server:
        command = flags(server, pairs_file, tmp_path / "out")
        launch(command)
        answers = tmp_path / "out/answers.jsonl"
        lines = answers.read_text().splitlines()
        answers.write_text("\n".join([lines[0], lines[1].replace('"capped": false', '"capped": 0'), *lines[2:]]))
        assert launch(command) == 2
        assert "answers.jsonl:2: not the record of an answer" in capsys.readouterr().err
        answers.write_text("\n".join(lines[1:]))
        assert launch(command) == 2
        assert "no answer to prompt" in capsys.readouterr().err


BUILT = {"messages": [{"role": "user", "content": "x"}], "pair_id": "p", "side": 0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x"}, "found ['prompt']; valid: messages, pair_id, side; prompt, response_1, response_2"),
        ({"response_1": "x", "response_2": "y"}, "found ['response_1', 'response_2']; valid"),
        (raw(0, 1, 2, preference_strength=4), "preference_strength must be from -3 to 3; found 4"),
        (raw(0, 1, 2, preference_strength="1"), "preference_strength must be from -3 to 3; found '1'"),
        (raw(0, 1, 2, preference_strength=-1, ground_truth="B"), "B contradicts preference_strength -1 (below 0: A)"),
        (raw(0, 1, 2, ground_truth="first"), "ground_truth must be one of A, B, tie; found 'first'"),
        (raw(0, 1, 2, subset=3), "subset must be a text; found 3"),
        ({**raw(0, 1, 2), "response_2": 7}, "'response_2' must be a text or a list of messages, found a int: 7"),
        (
            {**raw(0, 1, 2), "response_2": [{"role": "user", "content": "x"}]},
            "'response_2': a reply holds no message of the user",
        ),
        ({**raw(0, 1, 2), "prompt": [{"role": "assistant", "content": "x"}]}, "no message of the role 'user'"),
        ({**raw(0, 1, 2), "prompt": "x\n<extra_id_1>Assistant\ny"}, "the prompt ends with a turn of the assistant"),
        ({"prompt": "x", "chosen": "y", "rejected": "z", "preference_strength": 1}, "B contradicts 'chosen'"),
        ({**BUILT, "side": 2}, "side must be 0 or 1; found 2"),
        ({**BUILT, "pair_id": 5}, "pair_id must be a text; found 5"),
        ({**BUILT, "messages": "x"}, "'messages' must be a list of messages, found a text: 'x'"),
        ({**BUILT, "messages": [{"role": "assistant", "content": "x"}]}, "no message of the role 'user'"),
        ({**BUILT, "messages": []}, "'messages' is empty"),
        ({**BUILT, "ground_truth": "C"}, "ground_truth must be one of"),
    ],
)
def test_bad_rows_are_named(serve, tmp_path, capsys, row, message):
    file = tiny.write_rows(tmp_path / "bad.jsonl", [RAW[0], row])
    with serve() as server:
        status = launch(flags(server, file, tmp_path / "out"))
        assert server.bodies == []
    error = capsys.readouterr().err
    assert status == 2 and f"{file}:2: " in error and message in error
    assert not (tmp_path / "out").exists()


def test_chosen_first_in_every_pair_is_refused(serve, tmp_path, capsys):
    file = tiny.write_rows(tmp_path / "raw.jsonl", [{"prompt": "x", "chosen": "y", "rejected": "z"}])
    with serve() as server:
        assert launch(flags(server, file, tmp_path / "out", "--orders", "original")) == 2
    assert "raw.jsonl:1: the original order shows 'chosen' first in every pair; use --orders both" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--num_samples", "3"], "--num_samples have no effect without --do_sample"),
        (["--model", "x"], "--model: the server decides this"),
        (["--backend", "transformers"], "belong to --backend openai"),
        (["--adapter", "x", "--checkpoint", "y"], "both name the weights"),
        (["--adapter", "nowhere"], "nowhere: no adapter_config.json"),
        (["--rubric", "nowhere"], "--rubric nowhere: "),
        (["--pairs", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--base_url", "http://u:SECRETSECRET@host/v1"], "keys come from OPENAI_API_KEY only"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(serve, pairs_file, tmp_path, capsys, extra, message):
    with serve() as server:
        assert launch(flags(server, pairs_file, tmp_path / "out", *extra)) == 2
        assert server.bodies == []
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_empty_files_are_refused(serve, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "empty.jsonl").write_text("\n")
    pairs = tiny.write_rows(tmp_path / "raw.jsonl", RAW)
    with serve() as server:
        assert launch(flags(server, tmp_path / "empty.jsonl", tmp_path / "out")) == 2
        assert "empty.jsonl: no pairs" in capsys.readouterr().err
        assert launch(flags(server, pairs, tmp_path / "out", "--rubric", str(tmp_path / "empty.txt"))) == 2
        assert "empty.txt: no line to judge by" in capsys.readouterr().err


@pytest.mark.parametrize("value", [["--orders", "swapped"], ["--ties", "no"], ["--backend", "openia"], ["--vote", "2"]])
def test_misspelt_values_offer_the_valid_ones(value, capsys):
    with pytest.raises(SystemExit):
        launch(["judge", "--pairs", "x.jsonl", "--out", "y", *value])
    assert "alid" in capsys.readouterr().err


@pytest.fixture(scope="module")
def tiny_judge(tmp_path_factory):
    """A local judge and a LoRA adapter that changes its verdicts."""
    import torch

    torch.set_num_threads(1)
    model = build_tiny_judge(tmp_path_factory.mktemp("judge") / "model", seed=3)
    return model, tiny.build_adapter(model, model.parent / "adapter", seed=1, std=3.0)


def local(model, pairs, out, *extra):
    return [
        *["judge", "--model", str(model), "--model_type", "llama", "--template", "chatml", "--torch_dtype", "float32"],
        *[
            "--max_new_tokens",
            "1",
            "--num_samples",
            "3",
            "--do_sample",
            "--top_k",
            "3",
            "--top_p",
            "1",
            "--batch_size",
            "1",
        ],
        *["--pairs", str(pairs), "--out", str(out), *extra],
    ]


@pytest.fixture
def seven_pairs(tmp_path):
    return tiny.write_rows(tmp_path / "seven.jsonl", [raw(k, 3 * k % 7, 5 * k % 8, note="x" * k) for k in range(7)])


@pytest.mark.integration
def test_the_real_command_line_with_a_local_model(warm, tiny_judge, seven_pairs, tmp_path):
    """In a new interpreter without an adapter, and in a fork of the warm one with it."""
    model, adapter = tiny_judge
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    found = {}
    for name, extra in (("base", []), ("adapter", ["--adapter", str(adapter)])):
        argv = local(model, seven_pairs, tmp_path / name, *extra)
        if name == "base":
            command = [sys.executable, "-m", "launch", *argv]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        else:
            done = warm.run("launch", argv, environment, tmp_path, 300)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "7 pairs, 14 rows, 42 answers" in done.stdout and "answers with a verdict: 1.0000" in done.stdout
        assert "lost their beginning" not in done.stdout
        found[name] = [row.verdicts for row in read_verdicts(tmp_path / name / "verdicts.jsonl")]
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(FILES)
    assert found["base"] != found["adapter"]
    assert len(set(found["base"])) > 1


def test_an_interrupted_local_run_goes_on_to_the_same_bytes(tiny_judge, seven_pairs, tmp_path, monkeypatch):
    from launch.answers.backends import TransformersBackend

    launch(local(tiny_judge[0], seven_pairs, tmp_path / "whole"))
    genuine, calls = TransformersBackend.generate, []

    def stop(self, items):
        calls.append(items)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return genuine(self, items)

    monkeypatch.setattr(TransformersBackend, "generate", stop)
    again = local(tiny_judge[0], seven_pairs, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        launch(again)
    assert len(read(tmp_path / "out/answers.partial.jsonl")) == 3 * 6
    assert launch(again) == 0
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows = read_verdicts(tmp_path / "out/verdicts.jsonl")
    assert len(rows) == 14 and any(len(set(row.verdicts)) > 1 for row in rows)


def test_prompts_that_lose_their_beginning_are_reported(tiny_judge, seven_pairs, tmp_path, capsys):
    launch(local(tiny_judge[0], seven_pairs, tmp_path / "out", "--max_length", "64"))
    assert "14 prompts were longer than the model's limit" in capsys.readouterr().out


def test_answers_of_other_weights_or_limits_do_not_mix(tiny_judge, seven_pairs, tmp_path, capsys):
    model, adapter = tiny_judge
    launch(local(model, seven_pairs, tmp_path / "out"))
    for extra, name in ((["--max_length", "64"], "max_length = None"), (["--adapter", str(adapter)], "adapter = None")):
        assert launch(local(model, seven_pairs, tmp_path / "out", *extra)) == 2
        assert name in capsys.readouterr().err
