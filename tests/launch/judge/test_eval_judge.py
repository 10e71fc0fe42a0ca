"""`python -m launch eval-judge`: a file of verdicts, a server that judges by a rule, and a tiny local model."""

import json
import os

import pytest

from launch.__main__ import main as launch
from launch.common.picture import ACCENT
from launch.judge import eval_judge
from launch.judge.benchmarks import base
from launch.judge.metrics import evaluate_rows
from launch.judge.verdicts import read_verdicts
from tests import tiny
from tests.conftest import REPOSITORY
from tests.fake_judge import FakeJudge
from tests.launch.judge.benchmark_rows import judgebench_row, rewardbench2_row, rm_bench_row, score_of, write
from tests.launch.judge.eval_cases import orders
from tests.tiny import build_tiny_judge

PNG = b"\x89PNG"
ROWS = [
    *orders("p1", "A", ["A"], ["B"], -3, "x"),
    *orders("p2", "B", ["A"], ["A"], 1, "x"),
    *orders("p3", "tie", ["tie"], ["A"], 0, "y"),
    *orders("p4", "A", ["B"], [None], -1, "y"),
]


def by_points(first, second, sample):
    one, other = score_of(first), score_of(second)
    return f"<preference>{'A' if one > other else 'B' if other > one else 'tie'}</preference>"


@pytest.fixture
def verdicts(tmp_path):
    return write(tmp_path / "verdicts.jsonl", [row.to_json() for row in ROWS])


@pytest.fixture
def server(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with FakeJudge(by_points) as judge:
        yield judge


@pytest.fixture
def asked(server):
    return ["eval-judge", "--backend", "openai", "--base_url", server.url, "--api_model", "org/judge"]


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def raw(index, first, second, **more):
    return {"prompt": f"Question {index}?", "response_1": f"One worth {first} points.",
            "response_2": f"Other worth {second} points.", **more}  # fmt: skip


# --- a file of verdicts -----------------------------------------------------------------------------------------------


def test_a_file_of_verdicts_is_scored_as_it_is(verdicts, tmp_path, capsys):
    """Pair means 1, 1/2, 3/4 and 0."""
    assert launch(["eval-judge", "--verdicts", verdicts, "--out", str(tmp_path / "out"), "--seed", "4"]) == 0
    result = result_of(tmp_path / "out")
    assert result["metrics"] == json.loads(json.dumps(evaluate_rows(ROWS, seed=4)))
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(2.25 / 4)
    assert (result["label"], result["judge"], result["benchmark"]) == (tmp_path.name, None, None)
    assert (tmp_path / "out/confusion.png").read_bytes().startswith(PNG)
    pairs = [json.loads(line) for line in (tmp_path / "out/pairs.jsonl").read_text().splitlines()]
    assert [(pair["pair_id"], pair["verdict"]) for pair in pairs] == [
        ("p1", "A"), ("p2", "tie"), ("p3", "tie"), ("p4", None),
    ]  # fmt: skip
    printed = capsys.readouterr().out.splitlines()
    cell = result["metrics"]["accuracy"]
    line = next(line for line in printed if line.startswith("accuracy, ties 0.5"))
    assert line.split("  ")[-3:] == ["0.5625", f"[{cell['low']:.4f}, {cell['high']:.4f}]", "of 4"]
    assert not any(line.startswith("accuracy of a single answer") for line in printed)
    starts = ("accuracy, swapped order", "accuracy, strength 3", "accuracy, x", "accuracy, mean of the subsets")
    assert all(any(line.startswith(start) for line in printed) for start in starts)
    assert [line.split() for line in printed if line.startswith("B ")] == [["B", "1", "1", "0", "1"]]


def test_results_lie_beside_the_verdicts_and_a_folder_names_its_file(verdicts, tmp_path):
    assert launch(["eval-judge", "--verdicts", str(tmp_path)]) == 0
    first = (tmp_path / "result.json").read_bytes()
    assert launch(["eval-judge", "--verdicts", verdicts]) == 0
    assert (tmp_path / "result.json").read_bytes() == first


def test_without_matplotlib_there_is_no_picture(verdicts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(eval_judge, "can_draw", lambda: False)
    assert launch(["eval-judge", "--verdicts", verdicts]) == 0
    assert "no picture" in capsys.readouterr().out and not (tmp_path / "confusion.png").exists()


def test_the_picture_is_the_same_for_the_same_numbers_and_another_for_others(verdicts, tmp_path):
    pictures = []
    for rows in (ROWS, ROWS, ROWS[:6], orders("p", "A", ["A"], ["B"])):
        write(tmp_path / "verdicts.jsonl", [row.to_json() for row in rows])
        launch(["eval-judge", "--verdicts", verdicts])
        pictures.append((tmp_path / "confusion.png").read_bytes())
    assert pictures[0] == pictures[1] and len(set(pictures)) == 3


def test_the_picture_shows_shares_and_the_strengths_where_there_are_any(tmp_path):
    """A judge that is always right fills two cells with the full colour, one that is half the time right fills none."""
    image = pytest.importorskip("matplotlib.image")
    accent = [int(ACCENT[place : place + 2], 16) for place in (1, 3, 5)]
    widths, filled = [], []
    for right, strength in ((True, None), (True, -2), (False, -2)):
        said = (["A"], ["B"]) if right else (["tie"], ["tie"])
        rows = [*orders("p", "A", ["A"], ["B"], strength), *orders("q", "A", *said, strength)]
        launch(["eval-judge", "--verdicts", write(tmp_path / "verdicts.jsonl", [row.to_json() for row in rows])])
        pixels = (image.imread(tmp_path / "confusion.png")[..., :3] * 255).round()
        widths.append(pixels.shape[1])
        filled.append(int((pixels == accent).all(axis=-1).sum()) > 5000)
    assert widths[0] < widths[1] == widths[2] and filled == [True, True, False]


def test_the_seed_moves_the_intervals(tmp_path):
    said = ["A", "B", "tie", "A", None]
    rows = [row for i in range(150) for row in orders(f"p{i:03d}", "A", [said[i % 5]], [said[i % 3]])]
    file = write(tmp_path / "verdicts.jsonl", [row.to_json() for row in rows])
    for seed in (0, 5):
        assert launch(["eval-judge", "--verdicts", file, "--seed", str(seed)]) == 0
        assert result_of(tmp_path)["metrics"] == json.loads(json.dumps(evaluate_rows(rows, seed)))
    assert evaluate_rows(rows, 0)["accuracy"] != evaluate_rows(rows, 5)["accuracy"]


def test_verdicts_without_a_truth(tmp_path, capsys):
    file = write(tmp_path / "verdicts.jsonl", [row.to_json() for row in orders("p", None, ["A"], ["B"])])
    assert launch(["eval-judge", "--verdicts", file]) == 0
    assert "no pair says which reply is better" in capsys.readouterr().out
    assert result_of(tmp_path)["metrics"]["swap_consistency"]["value"] == 1.0


def test_answers_that_were_cut_off_are_reported(tmp_path, capsys):
    rows = [{**row.to_json(), "capped": 1} for row in ROWS]
    launch(["eval-judge", "--verdicts", write(tmp_path / "verdicts.jsonl", rows)])
    assert "8 answers were cut off: see --max_new_tokens" in capsys.readouterr().out


def test_the_swapped_row_must_hold_its_own_truth(tmp_path, capsys):
    rows = [row.to_json() for row in ROWS]
    rows[1] = {**rows[1], "ground_truth": "A"}
    assert launch(["eval-judge", "--verdicts", write(tmp_path / "verdicts.jsonl", rows)]) == 2
    assert "pair p1: ground_truth is 'A' in the original order" in capsys.readouterr().err
    assert not (tmp_path / "result.json").exists()


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_judge_is_asked_about_pairs_and_scored(asked, server, tmp_path):
    """Right, wrong by its own rule, a true tie; both orders each."""
    rows = [raw(0, 3, 1, preference_strength=-2), raw(1, 1, 4, ground_truth="A"), raw(2, 2, 2, ground_truth="tie")]
    data = tiny.write_rows(tmp_path / "raw.jsonl", [*rows, rows[0]])
    assert launch([*asked, "--data", str(data), "--out", str(tmp_path / "out")]) == 0
    result = result_of(tmp_path / "out")
    metrics = result["metrics"]
    assert len(server.bodies) == 6 and (metrics["pairs"], metrics["rows"]) == (3, 6)
    assert metrics["accuracy"]["value"] == metrics["consistent_and_right"]["value"] == pytest.approx(2 / 3)
    assert metrics["swap_consistency"]["value"] == 1.0 and metrics["position_bias"]["value"] == 0.0
    assert metrics["by_strength"]["2"]["value"] == 1.0
    assert (result["label"], result["judge"]["api_model"]) == ("judge", "org/judge")
    assert result["data"]["kept"] == 3 and sum(cell["count"] for cell in result["data"]["skipped"].values()) == 1
    for name in ("answers.jsonl", "verdicts.jsonl", "pairs.jsonl", "confusion.png"):
        assert (tmp_path / "out" / name).stat().st_size
    # The same numbers from the file of verdicts alone, and no further question.
    assert launch(["eval-judge", "--verdicts", str(tmp_path / "out"), "--out", str(tmp_path / "again")]) == 0
    assert result_of(tmp_path / "again")["metrics"] == metrics and len(server.bodies) == 6


def test_a_part_of_the_pairs_is_asked_about_in_both_orders(asked, server, tmp_path):
    data = tiny.write_rows(tmp_path / "raw.jsonl", [raw(i, i, 3, ground_truth="B") for i in range(3)])
    assert launch([*asked, "--data", str(data), "--limit", "2", "--out", str(tmp_path / "out")]) == 0
    metrics = result_of(tmp_path / "out")["metrics"]
    assert len(server.bodies) == 4 and (metrics["pairs"], metrics["rows"]) == (2, 4)


def test_an_interrupted_run_goes_on_and_a_finished_one_asks_nothing(asked, server, tmp_path, capsys):
    data = tiny.write_rows(tmp_path / "raw.jsonl", [raw(i, i, 3, ground_truth="B") for i in range(4)])
    flags = [*asked, "--data", str(data), "--batch_size", "1", "--out", str(tmp_path / "out")]
    server.fail_after = 4
    assert launch(flags) == 2 and "refused" in capsys.readouterr().err
    server.fail_after = None
    assert launch(flags) == 0
    done = len(server.bodies)
    assert launch(flags) == 0 and len(server.bodies) == done
    assert launch([*flags, "--max_new_tokens", "7"]) == 2
    assert "max_new_tokens = 1024, now it is 7" in capsys.readouterr().err


def test_votes_are_counted_beside_single_answers(server, asked, tmp_path, capsys):
    """Samples 0 and 1 are right, 2 is not."""
    server.rule = lambda first, second, sample: by_points(*((first, second) if sample < 2 else (second, first)), 0)
    data = tiny.write_rows(tmp_path / "raw.jsonl", [raw(0, 3, 1, ground_truth="A")])
    flags = ["--num_samples", "3", "--do_sample", "--data", str(data), "--out", str(tmp_path / "out")]
    assert launch([*asked, *flags]) == 0
    metrics = result_of(tmp_path / "out")["metrics"]
    assert metrics["accuracy"]["value"] == 1.0 and metrics["answers"] == 6
    assert metrics["single_sample_accuracy"]["value"] == pytest.approx(2 / 3)
    assert "accuracy of a single answer       0.6667" in capsys.readouterr().out


# --- benchmarks -------------------------------------------------------------------------------------------------------


def benchmark_file(name, tmp_path):
    rows = {
        "rewardbench2": [rewardbench2_row(i, [3], [1, i, 2], "Math") for i in range(5)],
        "rm-bench": [rm_bench_row(i, [2, 4, 6], [1, 3, 5], ["chat", "code"][i % 2]) for i in range(3)],
        "judgebench": [judgebench_row(i, i, 2, "A>B") for i in range(5)],
    }[name]
    return write(tmp_path / f"{name}.json", rows)


WANTED = {
    # Wins, wins, wins, one equal, one lost.
    "rewardbench2": (5, 15, (3 + 0.5 + 0) / 5),
    "rm-bench": (3, 27, 6 / 9),
    # A is worth 0, 1, 2, 3, 4 against 2.
    "judgebench": (5, 5, 2 / 5),
}


@pytest.mark.parametrize("name", WANTED)
def test_a_benchmark_is_asked_in_both_orders_and_scored_by_its_rules(name, asked, server, tmp_path, capsys):
    items, pairs, accuracy = WANTED[name]
    flags = ["--benchmark", name, "--source", benchmark_file(name, tmp_path)]
    assert launch([*asked, *flags, "--out", str(tmp_path / "out")]) == 0
    result = result_of(tmp_path / "out")
    scored = result["benchmark"]
    assert (scored["name"], scored["items"], scored["pairs"]) == (name, items, pairs)
    assert scored["macro_accuracy"]["value"] == pytest.approx(accuracy)
    assert len(server.bodies) == result["metrics"]["rows"] == 2 * pairs
    assert result["judge"]["benchmark"] == name
    printed = capsys.readouterr().out
    assert f"{name}, by its own rules, {items} of its rows (" in printed
    assert all(line in printed for line in scored["headline"])
    # From the verdicts alone, once more.
    again = ["--verdicts", str(tmp_path / "out"), *flags, "--out", str(tmp_path / "again")]
    assert launch(["eval-judge", *again]) == 0
    assert result_of(tmp_path / "again")["benchmark"] == scored
    assert result_of(tmp_path / "again")["metrics"] == result["metrics"]


def test_texts_that_return_are_asked_once(asked, server, tmp_path):
    row = rm_bench_row(0, [2, 2, 6], [1, 3, 5])
    row["chosen"][1] = row["chosen"][0]
    flags = ["--benchmark", "rm-bench", "--source", write(tmp_path / "x.json", [row]), "--out", str(tmp_path / "out")]
    assert launch([*asked, *flags]) == 0
    assert len(server.bodies) == 12 and result_of(tmp_path / "out")["metrics"]["pairs"] == 6
    assert result_of(tmp_path / "out")["benchmark"]["matrix"] == [[1, 0, 0], [1, 0, 0], [1, 1, 1]]


def test_the_seed_decides_which_reply_of_a_benchmark_is_first(asked, tmp_path):
    firsts = []
    for seed in ("0", "1"):
        out = tmp_path / seed
        flags = ["--benchmark", "rewardbench2", "--source", benchmark_file("rewardbench2", tmp_path), "--seed", seed]
        assert launch([*asked, *flags, "--out", str(out)]) == 0
        rows = read_verdicts(out / "verdicts.jsonl")
        firsts.append([row.ground_truth for row in rows if row.side == 0])
    assert firsts[0] != firsts[1] and set(firsts[0]) == set(firsts[1]) == {"A", "B"}


def test_a_part_of_a_benchmark(asked, server, tmp_path, capsys):
    source = ["--benchmark", "rewardbench2", "--source", benchmark_file("rewardbench2", tmp_path)]
    assert launch([*asked, *source, "--limit", "2", "--out", str(tmp_path / "out")]) == 0
    assert len(server.bodies) == 12 and result_of(tmp_path / "out")["benchmark"]["items"] == 2
    assert launch(["eval-judge", "--verdicts", str(tmp_path / "out"), *source]) == 2
    assert "9 of 15 pairs of rewardbench2 were not judged in both orders" in capsys.readouterr().err
    assert launch([*asked, *source, "--out", str(tmp_path / "out")]) == 2
    assert "n_items = 2, now it is None" in capsys.readouterr().err
    assert launch([*asked, *source, "--out", str(tmp_path / "all")]) == 0
    assert launch(["eval-judge", "--verdicts", str(tmp_path / "all"), *source, "--limit", "2",
                   "--out", str(tmp_path / "part")]) == 0  # fmt: skip
    assert "18 verdicts are on pairs outside of the benchmark's choice and left out" in capsys.readouterr().out
    assert result_of(tmp_path / "part")["metrics"] == result_of(tmp_path / "out")["metrics"]


def test_unusable_rows_of_a_benchmark_are_counted(asked, tmp_path, capsys):
    rows = [rewardbench2_row(i, [3], [1]) for i in range(3)]
    source = write(tmp_path / "x.jsonl", [*rows, {**rows[0], "chosen": []}])
    flags = [*asked, "--benchmark", "rewardbench2", "--source", source, "--out", str(tmp_path / "out")]
    assert launch(flags) == 2 and "1 of 4 rows skipped (25.00%)" in capsys.readouterr().err
    assert launch([*flags, "--max_skipped_share", "0.25"]) == 0
    assert "1 rows skipped, wrong_type" in capsys.readouterr().out
    assert result_of(tmp_path / "out")["data"]["skipped"]["wrong_type"]["count"] == 1


def test_the_hub_is_asked_for_the_split_and_the_result_says_which(asked, tmp_path, monkeypatch):
    hub = []

    def rows_from(source, name, split):
        hub.append((source, name, split))
        return iter([(None, judgebench_row(0, 3, 2, "A>B"))])

    monkeypatch.setattr(base, "rows_from", rows_from)
    flags = [*asked, "--benchmark", "judgebench", "--out", str(tmp_path / "out")]
    assert launch(flags) == launch([*flags, "--split", "gpt"]) == 0
    assert hub == [(None, "ScalerLab/JudgeBench", "gpt")] * 2
    assert result_of(tmp_path / "out")["benchmark"]["split"] == "gpt"


# --- flags ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "say what to evaluate: --verdicts, or a judge with either --data or --benchmark"),
        (["--data", "x", "--benchmark", "rm-bench", "--out", "o"], "say what to evaluate"),
        (["--verdicts", "x", "--model", "m"], "--model: with --verdicts nobody is asked"),
        (["--verdicts", "x", "--data", "y"], "--data: with --verdicts nobody is asked"),
        (["--data", "x", "--model", "m"], "--out is where the answers are kept"),
        (["--data", "x", "--out", "o", "--source", "y", "--split", "z"], "--source, --split: only with --benchmark"),
        (["--verdicts", "x", "--limit", "3"], "--limit: only with --data or --benchmark"),
        (["--benchmark", "rm-bench", "--out", "o", "--orders", "original"], "--orders original: a benchmark is judged"),
        (
            ["--benchmark", "rm-bench", "--out", "o", "--source", "s", "--split", "x"],
            "--split: a local --source is read",
        ),
        (["--benchmark", "rm-bench", "--out", "o"], "say what to evaluate: --model"),
        (
            ["--data", "x", "--out", "o", "--model", "m", "--num_samples", "2"],
            "--num_samples have no effect without --do_sample",
        ),
        (["--verdicts", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_impossible_flags_are_named(argv, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launch(["eval-judge", *argv]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_misspelt_names_get_the_nearest(capsys):
    for argv, message in ((["--benchmark", "rmbench"], "rm-bench"), (["--verdict", "x"], "--verdicts")):
        with pytest.raises(SystemExit) as stop:
            eval_judge.make_parser().parse_args(argv)
        assert stop.value.code == 2 and message in capsys.readouterr().err


# --- a real model -----------------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_a_tiny_model_through_the_real_command_line(warm, tmp_path):
    model = build_tiny_judge(tmp_path / "judge")
    data = tiny.write_rows(
        tmp_path / "raw.jsonl", [raw(i, i, 2, preference_strength=[-2, 1, 0][i % 3]) for i in range(6)]
    )
    out = tmp_path / "out"
    flags = ["--model", str(model), "--model_type", "llama", "--template", "chatml", "--torch_dtype", "float32"]
    flags += ["--data", str(data), "--num_samples", "3", "--do_sample", "--max_new_tokens", "1", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = warm.run("launch", ["eval-judge", *flags], environment, tmp_path, 300)
    assert done.returncode == 0, done.stderr
    metrics = result_of(out)["metrics"]
    assert (metrics["pairs"], metrics["rows"], metrics["answers"]) == (6, 12, 36)
    assert metrics["parse_rate"]["value"] == 1.0
    assert len({verdict for row in read_verdicts(out / "verdicts.jsonl") for verdict in row.verdicts}) > 1
    assert metrics == json.loads(json.dumps(evaluate_rows(read_verdicts(out / "verdicts.jsonl"))))
    assert "accuracy, ties 0.5" in done.stdout and (out / "confusion.png").read_bytes().startswith(PNG)
