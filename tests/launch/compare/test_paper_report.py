"""From answers to one page through the real command lines, twice, with the same bytes; and the page itself."""

import base64
import json
import os
import re
import shutil
from html.parser import HTMLParser

import pytest

from launch.__main__ import main
from launch.compare.paper_report import render
from launch.compare.sections import kind_of
from launch.judge.verdicts import JudgedRow
from tests import tiny
from tests.launch.generations import LABELS

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Page(HTMLParser):
    """What a page asks of a browser, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], "", []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data", "poster")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def self_contained(text):
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links), page.links
    assert "url(" not in text and "@import" not in text
    return page


def test_from_answers_to_the_page_and_the_same_again(launch, reward_model, gens, tmp_path, monkeypatch, capsys):
    """Once as processes of their own, once within this one."""
    verdicts = [
        JudgedRow(f"p{place}", side, None, None, "", ("AB"[(place + side) % 2],))
        for place in range(5)
        for side in (0, 1)
    ]
    tiny.write_rows(tmp_path / "verdicts.jsonl", [row.to_json() for row in verdicts])
    rated = [{"prompt": f"p{place // 3}", "response": f"r{place}", "helpfulness": place % 4, "verbosity": 4 - place % 3}
             for place in range(30)]  # fmt: skip
    tiny.write_rows(tmp_path / "rated.jsonl", rated)
    pages = []
    for run in ("one", "two"):
        place = tmp_path / run
        place.mkdir()
        os.symlink(tmp_path / "verdicts.jsonl", place / "verdicts.jsonl")
        os.symlink(tmp_path / "rated.jsonl", place / "rated.jsonl")
        for argv in (
            ["armorm", "--model", reward_model, "--gens", *gens, "--out", "scores"],
            ["armorm", "--model", reward_model, "--gens", *gens, "--out", "short", "--max_length", "40"],
            ["report", "--scores", "scores", "--labels", *LABELS, "--reference", "sft", "--x", "helpsteer-helpfulness",
             "--y", "helpsteer-verbosity", "--minimise", "helpsteer-verbosity", "--show", "helpsteer-coherence",
             "--weights", "w0.2=0.2", "w0.8=0.8", "--out", "report"],
            ["compare-runs", "--old", "scores", "--new", "short", "--reference", "sft", "--out", "comparison"],
            ["conflicts", "--data", "rated.jsonl", "--style", "helpsteer", "--objectives", "helpfulness", "verbosity",
             "--out", "conflicts"],
            ["conflicts", "--scores", "scores/sft.jsonl", "scores/w0.8.jsonl", "--out", "moved"],
            ["win-rate", "--verdicts", "verdicts.jsonl", "--names", "w0.8", "sft", "--out", "wins"],
            ["paper-report", ".", "--out", "paper.html"],
        ):  # fmt: skip
            if run == "one":
                done = launch(*argv, cwd=place)
                assert done.returncode == 0, done.stderr
                printed = done.stdout
            else:
                monkeypatch.chdir(place)
                assert main(argv) == 0
                printed = capsys.readouterr().out
        assert "win_rate.json: Win rate" in printed and "left out" not in printed
        pages.append((place / "paper.html").read_bytes())
    assert pages[0] == pages[1]
    files = [{str(file.relative_to(tmp_path / run)): file.read_bytes() for file in sorted((tmp_path / run).rglob("*"))
              if file.is_file() and not file.name.startswith(".")} for run in ("one", "two")]  # fmt: skip
    assert files[0] == files[1] and len(files[0]) > 20
    page = self_contained(pages[0].decode())
    for text in (
        "Two objectives", "minus helpsteer-verbosity against helpsteer-helpfulness", "Reward model heads",
        "Two runs compared", "Win rate", "w0.8 against sft", "Conflicts of objectives", "w0.8 - sft", "helpfulness, verbosity",
    ):  # fmt: skip
        assert text in page.text
    summary = json.loads(files[0]["scores/summary.json"])["rows"]
    mean = next(row["mean"] for row in summary if (row["label"], row["head"]) == ("w0.8", "helpsteer-coherence"))
    assert f"{mean:.4g}".replace("-", "−") in page.text
    assert page.links.count(f"data:image/png;base64,{base64.b64encode(files[0]['report/tradeoff.png']).decode()}") == 1


def test_the_armorm_path_with_the_models_own_code(launch, gens, tmp_path):
    """Its outputs `rewards` are taken, not the gated score; its code runs only when asked."""
    import torch
    from transformers import LlamaConfig

    from tests.launch.scores.gated_model import GatedReward

    folder = tmp_path / "gated"
    tiny.build_classifier(folder, labels=19)
    config = LlamaConfig.from_pretrained(folder)
    config.attributes = [f"head{place}" for place in range(19)]
    GatedReward.register_for_auto_class("AutoModelForSequenceClassification")
    torch.manual_seed(0)
    model = GatedReward(config).eval()
    torch.nn.init.normal_(model.regression_layer.weight)
    model.save_pretrained(folder)
    argv = ["armorm", "--model", folder, "--gens", gens[0], "--out", tmp_path / "out", "--heads", "head7", "head18"]
    refused = launch(*argv)
    assert refused.returncode == 2 and "brings Python code ('auto_map')" in refused.stderr
    done = launch(*argv, "--trust_remote_code", HF_MODULES_CACHE=str(tmp_path / "modules"))
    assert done.returncode == 0, done.stderr
    assert "head names: config.attributes" in done.stdout
    from launch.answers.records import read_generations
    from launch.scores.multi_head import MultiHeadReward

    reader = MultiHeadReward(tiny.build_classifier(tmp_path / "reader", labels=19).as_posix())
    rows = [json.loads(line) for line in (tmp_path / "out/sft.jsonl").read_text().splitlines()]
    for record, row in zip(read_generations(gens[0]), rows, strict=True):
        with torch.no_grad():
            expected = model(torch.tensor([reader.encode_record(record)[0]["input_ids"]])).rewards[0]
        assert list(row["scores"].values()) == pytest.approx([expected[7].item(), expected[18].item()], abs=1e-5)


@pytest.fixture
def results(tmp_path):
    """A folder with a result of an unknown kind, pictures, and things that are no results."""
    (tmp_path / "deep/run").mkdir(parents=True)
    (tmp_path / "deep/run/metrics.json").write_text(
        json.dumps({"label": "<script>alert(1)</script>", "accuracy": {"value": 0.75, "low": 0.7, "high": 0.8, "n": 40},
                    "parts": {"<b>hard</b>": {"value": None, "low": None, "high": None, "n": 0}}})
    )  # fmt: skip
    (tmp_path / "deep/run/curve.png").write_bytes(PNG)
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "large.json").write_text(json.dumps({"x": "y" * 2_000_001}))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    (tmp_path / "adapter/trainer_state.json").write_text('{"kind": "win_rate"}')
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work/state.json").write_text("{}")
    return tmp_path


def test_other_results_are_shown_and_what_is_left_out_is_counted(results, capsys):
    out = results / "paper.html"
    assert main(["paper-report", str(results), str(results / "deep"), "--out", str(out), "--title", "A & B <i>"]) == 0
    page = self_contained(out.read_text())
    assert "<i>" in page.text and "<script>alert(1)</script>" in page.text  # as text
    assert "0.75" in page.text and "0.7 to 0.8" in page.text and "parts <b>hard</b>" in page.text
    assert page.tags.count("img") == 1  # the second root lies below the first and counts once
    assert "folder of a model: 1; json above 2,000,000 bytes: 1; json that is no object: 1" in page.text
    printed = capsys.readouterr().out
    assert "metrics.json: other" in printed and "left out, folder of a model: 1" in printed


def test_a_damaged_result_and_empty_folders_are_errors(results, tmp_path, capsys):
    (results / "broken.json").write_text('{"a": ')
    out = ["--out", str(results / "paper.html")]
    assert main(["paper-report", str(results), *out]) == 2
    assert re.search(r"broken\.json: not JSON", capsys.readouterr().err)
    assert main(["paper-report", str(results / "adapter"), *out]) == 2
    assert "no results (JSON objects) found" in capsys.readouterr().err
    assert main(["paper-report", str(results / "nowhere"), *out]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (results / "paper.html").exists()


def test_kinds(scores, tmp_path):
    assert kind_of({"kind": "win_rate"}) == "win_rate" and kind_of({"kind": "new"}) is None
    assert kind_of(json.loads((scores[0] / "summary.json").read_text())) == "head_summary"
    assert kind_of(dict.fromkeys(("full", "uncapped", "reference", "x", "y"))) == "trade_off"
    shutil.copy(scores[0] / "summary.json", tmp_path / "summary.json")
    from launch.compare.gather import gather

    folders, left_out = gather([str(tmp_path)])
    assert render(folders, left_out, "t").count("<table>") == 2


def test_a_folder_that_holds_itself_is_read_once(tmp_path, capsys):
    """Two links back make 2^40 paths when they are followed blindly."""
    (tmp_path / "runs/below").mkdir(parents=True)
    for link in ("one", "two"):
        (tmp_path / "runs/below" / link).symlink_to(tmp_path / "runs")
    for name in ("runs/a.json", "runs/below/b.json"):
        (tmp_path / name).write_text('{"value": 1}')
    assert main(["paper-report", str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if ".json" in line] == [
        f"{tmp_path}/runs/a.json: other", f"{tmp_path}/runs/below/b.json: other",
    ]  # fmt: skip
