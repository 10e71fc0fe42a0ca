import json
import os
import subprocess
import sys
import time

import pytest

from launch.__main__ import main as launch
from launch.bt import eval_bt
from tests.conftest import REPOSITORY


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_known_scores_through_a_server(asked, server, tmp_path, capsys):
    """Qualities, chosen before rejected: 3 right and large, 1 right by a point, 1 tie, 2 wrong, 1 without a score."""
    assert launch(["eval-bt", *asked, "--bt_temp", "20", "--report_margins", "--report_uncertainty",
                   "--out", str(tmp_path / "out")]) == 0  # fmt: skip
    result = result_of(tmp_path / "out")
    metrics = result["metrics"]
    assert (metrics["pairs"], metrics["evaluated"], metrics["correct"], metrics["wrong"], metrics["ties"]) == (
        8,
        7,
        4,
        2,
        1,
    )
    assert metrics["accuracy"]["value"] == pytest.approx(4.5 / 7)
    assert metrics["strict_accuracy"]["value"] == pytest.approx(4 / 7)
    assert metrics["accuracy_of_all"]["value"] == pytest.approx(4.5 / 8)
    assert metrics["margins"]["wrong"]["min"] == -40
    assert result["swap_probe"] == pytest.approx(
        {"accuracy": 4.5 / 7, "sides_and_labels_swapped": 4.5 / 7, "labels_flipped": 2.5 / 7}
    )
    assert result["answers"] == {
        "drawn": 16, "cut_off": 0, "prompt_shortened": 0, "without_score": ["I would rather not say."]
    }  # fmt: skip
    assert result["rows"] == {"kept": 8, "skipped": {}}
    assert result["scoring"] == {
        "parser": "score100_first", "bt_temp": 20.0, "require_all_samples": False, "bands": [20, 80]
    }  # fmt: skip
    pairs = rows_of(tmp_path / "out/pairs.jsonl")
    assert sorted((row["margin"] for row in pairs), key=str) == sorted([20, 30, 0.0, -40, None, 80, -15, 1], key=str)
    assert {row["preferred"] for row in pairs} == {0}
    printed = capsys.readouterr().out
    for text in ("accuracy, ties 0.5", "0.6429  [", "margins, wrong", "wrong pairs: 2", "calibration error"):
        assert text in printed
    request = server.bodies[0]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("org/judge", 128, 0.0)


def test_sides_can_be_exchanged_without_a_change_of_the_result(asked, tmp_path):
    launch(["eval-bt", *asked, "--out", str(tmp_path / "plain")])
    launch(["eval-bt", *asked, "--shuffle_sides", "3", "--out", str(tmp_path / "shuffled")])
    plain, shuffled = result_of(tmp_path / "plain"), result_of(tmp_path / "shuffled")
    assert plain["metrics"]["first_preferred"]["value"] == 1.0
    assert 0 < shuffled["metrics"]["first_preferred"]["value"] < 1
    for name in ("accuracy", "strict_accuracy_of_all", "bt_loss"):
        assert shuffled["metrics"][name]["value"] == pytest.approx(plain["metrics"][name]["value"])


def test_samples_are_averaged(asked, server, tmp_path):
    launch(["eval-bt", *asked, "--do_sample", "--num_samples", "2", "--top_k", "7", "--limit", "3", "--seed", "4",
            "--batch_size", "1", "--out", str(tmp_path / "out")])  # fmt: skip
    pairs = rows_of(tmp_path / "out/pairs.jsonl")
    assert len(pairs) == 3 and len(server.bodies) == 12
    for row in pairs:
        for side in row["scores"]:
            assert side == [None, None] or side[1] - side[0] == 4
    request = server.bodies[0]
    assert (request["temperature"], request["top_p"], request["top_k"]) == (0.7, 0.9, 7)
    assert len({request["seed"] for request in server.bodies}) == 12


def test_the_seed_chooses_the_pairs_and_the_draws(asked, server, tmp_path):
    def run(name, *flags):
        server.bodies.clear()
        launch(["eval-bt", *asked, "--do_sample", "--temperature", "0.5", *flags, "--out", str(tmp_path / name)])
        pairs = rows_of(tmp_path / name / "pairs.jsonl")
        return [row["index"] for row in pairs], {request["seed"] for request in server.bodies}

    few, other = (run(f"few{seed}", "--limit", "4", "--seed", seed)[0] for seed in ("0", "1"))
    assert sorted(few) != sorted(other)
    (everything, draws), (same, other_draws) = (run(f"all{seed}", "--seed", seed) for seed in ("0", "1"))
    assert sorted(everything) == sorted(same) == list(range(8))
    assert not draws & other_draws
    assert {request["temperature"] for request in server.bodies} == {0.5}


def test_top_k_is_not_sent_to_a_server_unless_asked_for(asked, server, tmp_path):
    launch(["eval-bt", *asked, "--do_sample", "--limit", "1", "--out", str(tmp_path / "out")])
    assert all("top_k" not in request for request in server.bodies)
    assert result_of(tmp_path / "out")["decoding"] == "sampled at temperature 0.7, top-p 0.9, the server's own top-k"


def test_top_k_can_be_switched_off_and_the_result_says_so(asked, server, tmp_path, capsys):
    whole = ["--do_sample", "--temperature", "1", "--top_p", "1", "--top_k", "0"]
    assert launch(["eval-bt", *asked, *whole, "--limit", "1", "--out", str(tmp_path / "out")]) == 0
    assert {request["top_k"] for request in server.bodies} == {-1}  # all tokens, as vLLM, SGLang and llama.cpp read it
    assert "answers sampled at temperature 1, top-p 1, all tokens" in capsys.readouterr().out
    launch(["eval-bt", *asked, "--limit", "1", "--out", str(tmp_path / "greedy")])
    assert result_of(tmp_path / "greedy")["decoding"] == "greedy"


def test_a_rerun_asks_nothing_again_and_scores_anew(asked, server, tmp_path):
    out = ["--out", str(tmp_path / "out")]
    launch(["eval-bt", *asked, *out])
    first, asked_before = result_of(tmp_path / "out"), len(server.bodies)
    launch(["eval-bt", *asked, *out])
    assert result_of(tmp_path / "out") == first
    launch(["eval-bt", *asked, *out, "--bt_temp", "20"])
    assert result_of(tmp_path / "out")["metrics"]["bt_loss"]["value"] != first["metrics"]["bt_loss"]["value"]
    assert len(server.bodies) == asked_before == 16


def test_an_answer_without_text_costs_that_answer(asked, server, tmp_path, capsys):
    server.silent = [66]
    command = ["eval-bt", *asked, "--out", str(tmp_path / "out")]
    assert launch(command) == 2 and "1 of 16 answers failed (no_text 1)" in capsys.readouterr().err
    assert launch([*command, "--max_failed_share", "0.1"]) == 0 and len(server.bodies) == 16
    result = result_of(tmp_path / "out")
    assert result["answers"]["failed"] == 1 and result["metrics"]["unparsable"] == 2
    server.silent = []
    assert launch([*command, "--retry_failed"]) == 0 and len(server.bodies) == 17
    assert "failed" not in result_of(tmp_path / "out")["answers"]


def test_an_interrupted_run_goes_on_where_it_stopped(asked, server, tmp_path, capsys):
    flags = ["eval-bt", *asked, "--batch_size", "1"]
    launch([*flags, "--out", str(tmp_path / "whole")])
    server.bodies.clear()
    server.fail_after = 7
    assert launch([*flags, "--out", str(tmp_path / "out")]) == 2
    assert "refused" in capsys.readouterr().err
    assert len((tmp_path / "out/samples.partial.jsonl").read_text().splitlines()) == 7
    assert not (tmp_path / "out/result.json").exists()
    server.bodies.clear()
    server.fail_after = None
    assert launch([*flags, "--out", str(tmp_path / "out")]) == 0
    assert len(server.bodies) == 9
    for name in ("samples.jsonl", "pairs.jsonl", "result.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.integration
def test_a_killed_run_repeats_one_batch_at_most(asked, server, tmp_path):
    flags = ["eval-bt", *asked, "--batch_size", "1"]
    server.delay = 0.1
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "launch", *flags, "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start = time.monotonic()
    while len(server.bodies) < 7 and time.monotonic() - start < 60:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    server.delay = 0.0
    assert launch([*flags, "--out", str(tmp_path / "out")]) == 0
    assert 16 <= len(server.bodies) <= 18
    launch([*flags, "--out", str(tmp_path / "whole")])
    assert (tmp_path / "out/result.json").read_bytes() == (tmp_path / "whole/result.json").read_bytes()


def test_other_settings_do_not_mix_in_one_folder(asked, hh_file, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    launch(["eval-bt", *asked, *out])
    assert launch(["eval-bt", *asked, *out, "--max_new_tokens", "9"]) == 2
    assert "max_new_tokens = 128, now it is 9" in capsys.readouterr().err
    assert launch(["eval-bt", *asked, *out, "--seed", "1"]) == 2
    # Other pairs of the same size under the same name.
    hh_file.write_text(hh_file.read_text().replace("number 1", "number 9"))
    capsys.readouterr()
    assert launch(["eval-bt", *asked, *out]) == 2
    assert "pairs_sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--parser", "score5_last"], "reads 1 to 5, but prompt hh_score100_v1 asks for 0 to 100"),
        (["--prompt", "score100_v1"], "--prompt score100_v1 is made for summarize_from_feedback"),
        (["--temperature", "0.5"], "without --do_sample"),
        (["--num_samples", "2"], "--num_samples have no effect without --do_sample"),
        (["--do_sample", "--top_k", "-1"], "--top_k must be at least 1, or 0 for all tokens"),
        (["--bt_temp", "0"], "--bt_temp"),
        (["--unc_low", "80"], "--unc_low must be below"),
        (["--model", "x"], "--model: the server decides this"),
        (["--split", "validation"], "unknown split 'validation'"),
        (["--base_url", "http://u:SECRETSECRET@host/v1"], "keys come from OPENAI_API_KEY only"),
    ],
)
def test_impossible_flags_are_named(asked, server, tmp_path, capsys, extra, message):
    assert launch(["eval-bt", *asked, "--out", str(tmp_path / "out"), *extra]) == 2
    assert message in capsys.readouterr().err
    assert not server.bodies and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--limi", "3"], "--limit"),
        (["--torch_dtype", "float61"], "did you mean 'float16'"),
        (["--prompt", "hh_score100_v9"], "hh_score100_v1"),
        (["--parser", "score10_first"], "score100_first"),
    ],
)
def test_misspelt_flags_get_the_nearest(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        eval_bt.make_parser().parse_args(argv)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_the_seeds_defaults():
    args = eval_bt.make_parser().parse_args([])
    assert (args.n_pairs, args.seed, args.max_new_tokens, args.n_samples, args.batch_pairs) == (500, 0, 128, 1, 8)
    assert (args.dataset, args.bt_temp, args.do_sample) == ("summarize_from_feedback", 1.0, False)
    args.do_sample = True
    from launch.answers.checkpoint_options import decoding_of

    decoding = decoding_of(args, True)
    assert (decoding.temperature, decoding.top_p, decoding.top_k) == (0.7, 0.9, 50)


def test_unusable_rows_are_counted_and_too_many_refused(asked, hh_file, tmp_path, capsys):
    with open(hh_file, "a") as handle:
        handle.write(
            json.dumps({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: c"}) + "\n"
        )
    assert launch(["eval-bt", *asked, "--max_skipped_share", "0.1", "--out", str(tmp_path / "a")]) == 2
    assert "1 of 9 rows skipped" in capsys.readouterr().err
    assert launch(["eval-bt", *asked, "--max_skipped_share", "0.2", "--out", str(tmp_path / "b")]) == 0
    assert result_of(tmp_path / "b")["rows"]["skipped"]["mismatched_prefix"]["count"] == 1


def test_fewer_pairs_than_asked_for_are_said(asked, tmp_path, capsys):
    launch(["eval-bt", *asked, "--out", str(tmp_path / "out")])
    assert "8 pairs, fewer than --limit 500" in capsys.readouterr().out
