import json
import shutil

import pytest

from launch.__main__ import main as launch
from launch.bt.shards import part_of

SAMPLED = ["--num_samples", "2", "--limit", "8", "--batch_size", "1"]


def overall_of(folder, prompt="hh_score100_v1"):
    return json.loads((folder / prompt / "overall.json").read_text())


def pairs_in(folder, prompt="hh_score100_v1"):
    return [json.loads(line) for line in (folder / prompt / "pairs.jsonl").read_text().splitlines()]


@pytest.fixture
def shards(asked, tmp_path):
    """Three finished shards of a run with two samples a reply."""
    folders = [tmp_path / f"shard{k}" for k in range(3)]
    for k, folder in enumerate(folders):
        flags = ["--shard_id", str(k), "--num_shards", "3", "--out", str(folder)]
        assert launch(["variance", *asked, *SAMPLED, *flags]) == 0
    return folders


def merge(folders, out):
    return launch(["variance", "--merge", *map(str, folders), "--out", str(out)])


def test_known_scores(asked, tmp_path, capsys):
    """Every reply is scored q and q + 4, so each has deviation 2 and pairs keep the margins of their qualities."""
    out = tmp_path / "out"
    assert launch(["variance", *asked, *SAMPLED, "--out", str(out)]) == 0
    found = overall_of(out)["variance"]
    assert found["pairs"] == 8
    assert found["valid_rate"] == pytest.approx(15 / 16)
    assert found["std_within_reply"] == pytest.approx(2) and found["unique_scores"] == pytest.approx(2)
    assert found["by_mean_score"] == {"correct": 4, "wrong": 2, "ties": 1, "undecided": 1}
    assert found["bands"] == [20, 80]
    assert [cell["at_least"] for cell in found["range"]] == [20, 30, 40]
    assert found["wrong_histogram"] == {"20": 1, "24": 1, "30": 1, "34": 1, "35": 1, "39": 1, "70": 1, "74": 1}
    rows = pairs_in(out)
    assert len(rows) == 8
    for row in rows:
        assert row["prompt"] == "hh_score100_v1" and row["parser"] == "score100_first"
        assert {"index", "digest", "preferred", "scores", "replies", "aligned", "expected_accuracy", "margin"} <= set(
            row
        )
    assert (out / "hh_score100_v1" / "histogram.png").read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert "no score in 'I would rather not say.'" in printed and "range>=20%" in printed


def test_thresholds_of_the_range_that_were_asked_for(asked, tmp_path):
    """Two scores of a reply are 4 points apart."""
    flags = ["--range_thresholds", "4,4.5", "--out", str(tmp_path / "out")]
    assert launch(["variance", *asked, *SAMPLED, *flags]) == 0
    four, more = overall_of(tmp_path / "out")["variance"]["range"]
    assert (four["at_least"], more["at_least"]) == (4, 4.5) and four["share_any"] > 0.9 and more["share_any"] == 0


def test_several_prompts_make_a_table_of_one_row_each(asked, server, tmp_path):
    out = tmp_path / "out"
    extra = ["--prompt", "hh_score100_v2", "--prompt", "hh_score5_v3"]
    assert launch(["variance", *asked, *SAMPLED, *extra, "--out", str(out)]) == 0
    table = (out / "prompts.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table] == [
        "prompt",
        "---",
        "hh_score100_v1",
        "hh_score100_v2",
        "hh_score5_v3",
    ]
    assert set(json.loads((out / "prompts.json").read_text())) == {"hh_score100_v1", "hh_score100_v2", "hh_score5_v3"}
    assert overall_of(out, "hh_score5_v3")["variance"]["bands"] == [2, 4]
    # The server writes scores out of 100, which are none out of 5.
    assert overall_of(out, "hh_score5_v3")["variance"]["valid_rate"] == 0


def test_a_rerun_asks_nothing_again(asked, server, tmp_path):
    for _ in range(2):
        launch(["variance", *asked, *SAMPLED, "--out", str(tmp_path / "out")])
    assert len(server.bodies) == 32


def test_merged_shards_are_the_whole_run(asked, shards, tmp_path):
    assert launch(["variance", *asked, *SAMPLED, "--out", str(tmp_path / "whole")]) == 0
    # The order in which the folders are named is no part of it.
    assert merge([shards[2], shards[0], shards[1]], tmp_path / "merged") == 0
    merged, whole = overall_of(tmp_path / "merged"), overall_of(tmp_path / "whole")
    assert merged["variance"] == whole["variance"]
    assert merged == whole
    fields = ("index", "digest", "preferred", "margin")
    assert [[row[name] for name in fields] for row in pairs_in(tmp_path / "merged")] == [
        [row[name] for name in fields] for row in pairs_in(tmp_path / "whole")
    ]
    assert [len(pairs_in(folder)) for folder in shards] == [2, 3, 3]


def change(folder, *path, value):
    file = folder / "hh_score100_v1" / "overall.json"
    overall = json.loads(file.read_text())
    cell = overall
    for name in path[:-1]:
        cell = cell[name]
    cell[path[-1]] = value
    file.write_text(json.dumps(overall))


def test_a_merge_that_is_no_whole_run_is_refused(shards, tmp_path, capsys):
    def refused(folders, message):
        assert merge(folders, tmp_path / "merged") == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "merged").exists()

    refused(shards[:2], "shards 2 of 3 are missing")
    refused([*shards, shards[0]], "shard 0 is in")
    refused([*shards, tmp_path / "nowhere"], "this shard of hh_score100_v1 is not finished")
    refused([tmp_path / "nowhere"], "no finished shard")
    assert launch(["variance", "--merge", str(shards[0])]) == 2
    capsys.readouterr()
    for path, value, message in [
        (("settings", "temperature"), 0.9, "made with temperature = 0.9"),
        (("scoring", "bands"), [10, 90], "made with bands = [10, 90]"),
        (("scoring", "range_thresholds"), [1], "made with range_thresholds"),
        (("shard", "pairs_sha256"), "0", "made with pairs_sha256"),
        (("shard", "num_shards"), 4, "made with num_shards = 4"),
        (("label",), "other", "made with label = 'other'"),
    ]:
        kept = (shards[1] / "hh_score100_v1" / "overall.json").read_text()
        change(shards[1], *path, value=value)
        refused(shards, message)
        (shards[1] / "hh_score100_v1" / "overall.json").write_text(kept)
    # Pairs of another shard, and too few.
    kept = (shards[1] / "hh_score100_v1" / "pairs.jsonl").read_text()
    shutil.copy(shards[0] / "hh_score100_v1" / "pairs.jsonl", shards[1] / "hh_score100_v1" / "pairs.jsonl")
    refused(shards, "is in another shard too")
    (shards[1] / "hh_score100_v1" / "pairs.jsonl").write_text(kept[: kept.index("\n") + 1])
    refused(shards, "the shards hold 6 pairs, the run has 8")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--shard_id", "2", "--num_shards", "2"], "--shard_id must be from 0 to 1"),
        (["--num_shards", "9"], "a shard would be empty"),
        (["--parser", "score5_last"], "reads 1 to 5"),
        (["--unc_high", "10"], "--unc_low must be below"),
    ],
)
def test_impossible_flags_are_named(asked, tmp_path, capsys, extra, message):
    assert launch(["variance", *asked, *SAMPLED, "--out", str(tmp_path / "out"), *extra]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("n", "shards"), [(1, 1), (8, 3), (5, 4), (100, 7)])
def test_parts_are_disjoint_whole_and_even(n, shards):
    parts = [part_of(list(range(n)), k, shards) for k in range(shards)]
    assert [pair for part in parts for pair in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_local_model_in_two_shards(run_dir, hh_file, tmp_path):
    flags = ["--run_dir", str(run_dir), "--checkpoint", "checkpoint-10", "--dataset", "anthropic_hh", "--source", str(hh_file),
             "--limit", "2", "--num_samples", "2", "--max_new_tokens", "4"]  # fmt: skip
    for k in range(2):
        shard = ["--shard_id", str(k), "--num_shards", "2", "--out", str(tmp_path / str(k))]
        assert launch(["variance", *flags, *shard]) == 0
    assert launch(["variance", *flags, "--out", str(tmp_path / "whole")]) == 0
    assert merge([tmp_path / "0", tmp_path / "1"], tmp_path / "merged") == 0
    assert overall_of(tmp_path / "merged") == overall_of(tmp_path / "whole")

    def answers(folder):
        lines = (folder / "hh_score100_v1" / "samples.jsonl").read_text().splitlines()
        return {(row["prompt_id"], row["sample"]): row["response"] for row in map(json.loads, lines)}

    whole = answers(tmp_path / "whole")
    assert answers(tmp_path / "0") | answers(tmp_path / "1") == whole and len(whole) == 8
    # Two samples of one prompt are two draws.
    assert any(whole[key, 0] != whole[key, 1] for key, _ in whole)
