import base64
import json
import random
import re
import statistics
from html.parser import HTMLParser

import pytest

from launch.common.page import number, signed
from launch.compare import report
from launch.compare.report_page import summary_table
from launch.compare.tradeoff import default_hv_reference, monotonicity
from launch.compare.tradeoff_picture import SOUPS, draw_tradeoff, tradeoff_figure

LABELS = ["sft", "w0.2", "w0.8"]
N = 30
XSS = "<script>alert('x')</script> & <img src=http://example.com/a.png>"


def generator(label):
    return random.Random(f"report {label}")


def rows(label, shift_x, shift_y):
    draw = generator(label)
    return [
        {
            "prompt_id": f"{index:016x}",
            "sample": 0,
            "scores": {"help": shift_x + draw.gauss(0, 1), "short": shift_y + draw.gauss(0, 1)},
            "response_tokens": 5,
            "words": 4,
            "capped": label == "w0.2" and index == 3,
            "prompt_truncated": index == 7,
        }
        for index in range(N)
    ]


TABLE = {"sft": rows("sft", 0, 0), "w0.2": rows("w0.2", 1, 6), "w0.8": rows("w0.8", 5, 2)}


@pytest.fixture
def scores(write_rows, tmp_path):
    for label, content in TABLE.items():
        # Another order of rows must not matter: they are aligned by key.
        write_rows(f"scores/{label}.jsonl", content[::-1] if label == "w0.8" else content)
    return str(tmp_path / "scores")


@pytest.fixture
def run(scores, tmp_path, capsys):
    def call(*extra, labels=LABELS, reference="sft"):
        base = ["--scores", scores, "--labels", *labels, "--reference", reference, "--x", "help", "--y", "short"]
        assert report.main([*base, "--out", str(tmp_path / "out"), *extra]) == 0
        return json.loads((tmp_path / "out/report.json").read_text()), capsys.readouterr().out

    return call


def column(label, name, keep=lambda index: True):
    return [row["scores"][name] for index, row in enumerate(TABLE[label]) if keep(index)]


def reference_interval(values):
    """The reference convention, written out again."""
    draw = random.Random(0)
    means = []
    for _ in range(1000):
        means.append(statistics.fmean([values[draw.randrange(len(values))] for _ in values]))
    means.sort()
    return means[25], means[974]


def test_numbers_equal_an_independent_computation(run):
    outcome, _ = run("--weights", "w0.2=0.2", "w0.8=0.8")
    for part, keep in (("full", lambda index: True), ("uncapped", lambda index: index not in (3, 7))):
        summary = outcome[part]
        assert summary["n"] == (N if part == "full" else N - 2)
        for label in LABELS:
            for name in ("help", "short"):
                values, baseline = column(label, name, keep), column("sft", name, keep)
                cell = summary["labels"][label][name]
                assert cell["n"] == len(values)
                assert cell["mean"] == pytest.approx(statistics.fmean(values))
                differences = [a - b for a, b in zip(values, baseline, strict=True)]
                assert cell["difference"] == pytest.approx(statistics.fmean(differences))
                if label == "sft":
                    assert cell["difference_low"] == cell["difference_high"] == 0
                else:
                    half = 1.96 * statistics.pstdev(differences) / len(differences) ** 0.5
                    assert cell["difference_low"] == pytest.approx(cell["difference"] - half, abs=0.12)
                    assert cell["difference_high"] == pytest.approx(cell["difference"] + half, abs=0.12)
    # The bootstrap draws from the order of the first label's file, so it can be repeated for that label exactly.
    cell = outcome["full"]["labels"]["sft"]["help"]
    assert (cell["low"], cell["high"]) == pytest.approx(reference_interval(column("sft", "help")))


def test_front_and_hypervolume(run):
    outcome, printed = run("--hv_reference=-1,-2")
    means = {label: [statistics.fmean(column(label, name)) for name in ("help", "short")] for label in LABELS}
    assert outcome["full"]["pareto"] == ["w0.2", "w0.8"]
    (x2, y2), (x8, y8) = means["w0.2"], means["w0.8"]
    # Two rectangles from the corner (-1, -2): the taller one, and what the wider one adds to the right of it.
    area = (x2 + 1) * (y2 + 2) + (x8 - x2) * (y8 + 2)
    assert outcome["full"]["hypervolume"] == pytest.approx(area)
    assert outcome["full"]["hv_reference"] == [-1, -2]
    assert "help = −1, short = −2" in printed
    default, _ = run()
    expected = [min(c) - 0.1 * (max(c) - min(c)) for c in zip(*means.values(), strict=True)]
    assert default["full"]["hv_reference"] == pytest.approx(expected)
    assert default_hv_reference([(0, 5), (10, 5)]) == (-1, 5)


def test_monotonicity_is_stated(run):
    outcome, printed = run("--weights", "w0.2=0.2", "w0.8=0.8")
    assert outcome["full"]["monotonicity"]["short"] == {
        "order": ["w0.2", "w0.8"],
        "direction": "falls",
        "ends_overlap": False,
    }
    assert "Mean short falls monotonically with w; the intervals of w0.2 and w0.8 do not overlap." in printed
    assert "Mean help rises monotonically with w" in printed
    _, printed = run()
    assert "fewer than two weights" in printed


def test_page_and_terminal_open_with_what_happened_in_two_sentences(run, tmp_path):
    outcome, printed = run("--weights", "w0.2=0.2", "w0.8=0.8")
    against = "On 30 prompts, against sft: w0.2 and w0.8 are better in help and short."
    cells = [
        [outcome["full"]["labels"][label][name]["mean"] for label in ("w0.2", "w0.8")] for name in ("help", "short")
    ]
    (a, b), (c, d) = [[number(value) for value in pair] for pair in cells]
    along = f"From w = 0.2 to w = 0.8, help goes from {a} to {b} (intervals apart) and short goes from {c} to {d} (intervals apart)."
    assert printed.startswith(f"{against} {along}\n")
    page = (tmp_path / "out/report.html").read_text()
    assert page.index(f"<p>{against} {along}</p>") < page.index("<img")
    _, printed = run(reference="w0.8")
    assert printed.splitlines()[0] == (
        "On 30 prompts, against w0.8: sft is worse in help and short; w0.2 is better in short, worse in help."
    )


def test_monotonicity_of_three_weights_is_ordered_by_weight_not_by_name():
    def cells(*means):
        return {label: {"y": {"mean": m, "low": m - 1, "high": m + 1}} for label, m in zip("abc", means, strict=True)}

    weights = {"a": 0.9, "b": 0.1, "c": 0.5}
    assert monotonicity(cells(3, 1, 2), weights, "y") == {
        "order": ["b", "c", "a"],
        "direction": "rises",
        "ends_overlap": True,
    }
    assert monotonicity(cells(2, 1, 3), weights, "y")["direction"] == "neither"
    assert monotonicity(cells(1, 1, 1), weights, "y")["direction"] == "flat"
    assert monotonicity(cells(1, 4, 2), weights, "y")["ends_overlap"] is False
    assert monotonicity(cells(4, 1, 2), weights, "y")["ends_overlap"] is False


def test_samples_of_one_prompt_count_once(write_rows, tmp_path):
    def row(key, sample, value):
        flags = {"capped": False, "prompt_truncated": False}
        return {"prompt_id": key, "sample": sample, "scores": {"help": value, "short": 0.0}, **flags}

    for label in ("a", "b"):
        write_rows(f"s/{label}.jsonl", [row("p", 0, 1.0), row("p", 1, 3.0), row("q", 0, 10.0), row("q", 1, 10.0)])
    base = ["--scores", str(tmp_path / "s"), "--labels", "a", "b", "--reference", "a", "--x", "help", "--y", "short"]
    report.main([*base, "--out", str(tmp_path / "out")])
    cell = json.loads((tmp_path / "out/report.json").read_text())["full"]["labels"]["a"]["help"]
    assert (cell["n"], cell["mean"], cell["low"], cell["high"]) == (2, 6.0, 2.0, 10.0)


def test_one_prompt_tells_nothing_apart(write_rows, tmp_path, capsys):
    for label, value in (("a", 0.0), ("b", 5.0)):
        row = {"prompt_id": "p", "sample": 0, "scores": {"help": value, "short": -value}, "capped": False}
        write_rows(f"s/{label}.jsonl", [row | {"prompt_truncated": False}])
    base = ["--scores", str(tmp_path / "s"), "--labels", "a", "b", "--reference", "a", "--x", "help", "--y", "short"]
    assert report.main([*base, "--weights", "a=0.1", "b=0.9", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "On 1 prompt, against a: b is not told apart" in said
    assert "help goes from 0 to 5 (no interval)" in said and "need more than one prompt" in said
    page = (tmp_path / "out/report.html").read_text()
    assert "0 to 0" not in page and "5 to 5" not in page
    cell = json.loads((tmp_path / "out/report.json").read_text())["full"]["labels"]["b"]["help"]
    assert cell["low"] is cell["difference_high"] is None


def test_no_prompt_left_is_said_not_hidden(write_rows, tmp_path, capsys):
    row = {"prompt_id": "p", "sample": 0, "scores": {"help": 1.0, "short": 2.0}, "prompt_truncated": False}
    for label, capped in (("a", True), ("b", False)):
        write_rows(f"s/{label}.jsonl", [row | {"capped": capped}])
    base = ["--scores", str(tmp_path / "s"), "--labels", "a", "b", "--reference", "a", "--x", "help", "--y", "short"]
    assert report.main([*base, "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/report.json").read_text())["uncapped"] is None
    said = "(prompts cut off, of 1: a 1, b 0). Answers end at --max_new_tokens"
    page = (tmp_path / "out/report.html").read_text()
    assert "No prompt is left" in page and said in page
    assert said in capsys.readouterr().out
    old = json.loads((tmp_path / "out/report.json").read_text())
    assert old.pop("cut_off") == {"a": 1, "b": 0}
    assert "No prompt is left: every one was truncated" in summary_table(old, None, {})  # of an earlier version


class Page(HTMLParser):
    """Collects what a page would load, its tags and its text."""

    def __init__(self):
        super().__init__()
        self.tags, self.loads, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_self_contained_and_escapes_every_answer(run, write_rows, record, tmp_path):
    for label in LABELS:
        records = [record(f"{XSS} {index}", f"{label} {XSS} {index}", label=label) for index in range(12)]
        write_rows(f"gens/{label}/00001-of-00001.jsonl", records)
    run("--gens", str(tmp_path / "gens"), "--title", "Short <or> helpful", "--weights", "w0.2=0.2")
    text = (tmp_path / "out/report.html").read_text()
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.tags.count("img") == 1
    narrow, source = page.loads
    assert source.startswith("data:image/png;base64,") and narrow.startswith("data:image/png;base64,")
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert base64.b64decode(narrow.split(",")[1]) == draw_tradeoff(found, found["units"], narrow=True)
    titled, untitled = (draw_tradeoff(found, found["units"], title) for title in ("Short <or> helpful", ""))
    assert base64.b64decode(source.split(",")[1]) == untitled  # the page has the title itself
    assert (tmp_path / "out/tradeoff.png").read_bytes() == titled != untitled
    # The answers hold an address, escaped; outside them there is none at all.
    outside = re.sub(r"&lt;.*?&gt;", "", text)
    assert not re.search(r"https?:|url\(|@import|(src|href)\s*=\s*[\"']?\s*//", outside)
    assert "prefers-color-scheme: dark" in text
    joined = "".join(page.text)
    assert "Short <or> helpful" in joined
    # Columns that share the width: a fourth one was cut off at 1280 pixels. Seven models fit into 72rem.
    assert "table-layout: fixed; width: 100%" in text and "min-width: 36rem" in text
    for label in LABELS:
        assert f"{label} {XSS} 9" in joined
        assert f"{label} {XSS} 10" not in joined


def test_the_picture_is_a_png_of_a_useful_size(run, tmp_path):
    run("--weights", "w0.2=0.2", "--title", r"$\frac{ costs $5")
    data = (tmp_path / "out/tradeoff.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20], "big") >= 1000


def test_the_reference_is_named_as_what_it_is_in_the_picture(run):
    outcome, _ = run(reference="w0.8")
    (axes,) = tradeoff_figure(outcome, {}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()][1:] == ["reference: w0.8"]


def test_soups_are_a_series_of_their_own(run, capsys):
    outcome, printed = run("--weights", "w0.2=0.2", "--soups", "w0.8=0.8")
    (axes,) = tradeoff_figure(outcome, {}).axes
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"policies trained for a w", SOUPS, "reference: sft"} <= set(legend)
    assert {text.get_text() for text in axes.texts} >= {"w = 0.2", "soup 0.8", "sft"}
    assert outcome["full"]["monotonicity"] == {
        "help": None,
        "short": None,
    }  # a soup has no place in the order of the policies
    assert outcome["ended"] == {"sft": 1.0, "w0.2": 1 - 1 / N, "w0.8": 1.0}
    assert f"ended by themselves: sft 1, w0.2 {number(1 - 1 / N)}, w0.8 1." in " ".join(printed.split())


@pytest.mark.parametrize(
    "given, said",
    [("w0.9=0.9", "label 'w0.9' is not among"), ("w0.2=0.2", "'w0.2' stands in --weights and in --soups")],
)
def test_a_soup_is_one_of_the_labels_and_no_policy(run, given, said):
    with pytest.raises(ValueError, match=said):
        run("--weights", "w0.2=0.2", "--soups", given)


def test_only_the_reference_has_no_difference_to_itself(run):
    outcome, _ = run(reference="w0.8")
    table = str(summary_table(outcome, outcome["full"], {}))
    told = {row.split("</td>")[0].split(">")[-1]: "<td>reference</td>" in row for row in table.split("<tr>")[2:]}
    assert told == {"sft": False, "w0.2": False, "w0.8": True}
    assert f"<td>{signed(outcome['full']['labels']['sft']['help']['difference'])}<small>" in table


def test_the_terminal_says_what_its_columns_and_its_star_mean(run):
    _, printed = run()
    assert "difference to sft" in printed and "minus sft" not in printed
    assert "* on the front" in printed


def test_units_come_from_the_scores_and_can_be_overridden(run, scores, tmp_path):
    with open(f"{scores}/score.json", "w") as handle:
        json.dump({"rewards": {"help": {"unit": "nats"}, "short": {"unit": "minus words"}}}, handle)
    outcome, _ = run("--units", "help=points")
    assert outcome["units"] == {"help": "points", "short": "minus words"}
    assert "minus words" in (tmp_path / "out/report.html").read_text()


def test_a_missing_row_is_an_error_that_names_label_and_prompt(scores, write_rows, tmp_path):
    write_rows("scores/w0.2.jsonl", TABLE["w0.2"][:-1])
    base = ["--scores", scores, "--labels", *LABELS, "--reference", "sft", "--x", "help", "--y", "short"]
    with pytest.raises(ValueError, match=rf"'w0\.2' lacks 1 of 30 answers: prompt {N - 1:016x} sample 0"):
        report.main([*base, "--out", str(tmp_path / "out")])
    # The other way round too: a label may not bring an answer that the first one lacks.
    write_rows("scores/w0.2.jsonl", TABLE["w0.2"])
    write_rows("scores/sft.jsonl", TABLE["sft"][:-1])
    with pytest.raises(ValueError, match="'sft' lacks 1"):
        report.main([*base, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--reference", "base"], "'base' is not among"),
        (["--weights", "w9=0.2"], "'w9' is not among"),
        (["--weights", "w0.2"], "NAME=VALUE"),
        (["--weights", "w0.2=much"], "'much' is not a finite number"),
        (["--hv_reference", "1"], "write X,Y"),
        (["--labels", "sft", "sft"], "twice"),
        (["--labels", "sft", "other"], "no scores of label 'other'"),
        (["--y", "help"], "both 'help'"),
        (["--y", "longer"], "'longer' was not scored"),
    ],
)
def test_mistakes_on_the_command_line_are_named(scores, tmp_path, extra, message):
    base = ["--scores", scores, "--labels", *LABELS, "--reference", "sft", "--x", "help", "--y", "short"]
    with pytest.raises(ValueError, match=message):
        report.main([*base, "--out", str(tmp_path / "out"), *extra])


def test_help_needs_no_heavy_import():
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from launch.answers import generate, validate_eval_set\nfrom launch.compare import report\nfrom launch.scores import check_margin, score\n"
        "heavy = {'torch', 'swift', 'transformers', 'matplotlib', 'numpy', 'openai', 'moocore', 'rich', 'peft'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "for tool in (check_margin, generate, report, score, validate_eval_set):\n"
        "    try:\n"
        "        tool.main(['--help'])\n"
        "    except SystemExit as stop:\n"
        "        assert stop.code == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
