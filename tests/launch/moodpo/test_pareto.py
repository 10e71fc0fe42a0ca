"""One picture of several policies: who is asked what, what a rerun draws again, and what stands in the files."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from launch.__main__ import main as launch
from launch.answers.prompts import read_prompts
from launch.answers.records import prompt_id
from launch.moodpo import pareto
from launch.moodpo.points import Point, all_points, asked_weights, parse_policies, points_of, read_points, write_points
from tests.launch.moodpo.conftest import NAMES, mark
from trl_ext.moodpo.rewards import RewardBundle, get_reward_specs

VECTORS = [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]


@pytest.fixture(scope="session")
def policies(base, plain_adapters, tmp_path_factory):
    """A fixed-weight policy of this pack, one of another trainer, and a soup."""
    folder = tmp_path_factory.mktemp("policies")
    first, second = plain_adapters
    even = mark(shutil.copytree(second, folder / "even"), fixed=[0.5, 0.5])
    argv = ["soup", "--base", str(base), "--adapters", f"{NAMES[0]}={first}", f"{NAMES[1]}={second}", "--grid", "3"]
    assert launch([*argv, "--out", str(folder / "soup")]) == 0
    return {"even": even, "foreign": first, "soup": folder / "soup"}


def run(base, out, prompts, *more):
    argv = ["pareto", "--model", str(base), "--prompts", str(prompts), "--out", str(out), "--max_new_tokens", "8"]
    return launch([*argv, "--objectives", *NAMES, *map(str, more)])


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="session")
def finished(base, steered, policies, tmp_path_factory):
    """One run with every kind of policy."""
    out = tmp_path_factory.mktemp("pareto") / "out"
    prompts = out.parent / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Name {n} animals."}) + "\n" for n in (1, 2, 3, 3)))
    more = ["--policy", f"even=fixed:{policies['even']}", "--policy", f"foreign=fixed:{policies['foreign']}"]
    more += ["--policy", f"soup=soup:{policies['soup']}", "--policy", "prompted=moodpo", "--steps", "2"]
    assert run(base, out, prompts, "--adapter", steered, *more) == 0
    return out, prompts, ["--adapter", steered, *more]


LABELS = [
    "untouched", "moodpo_100-0", "moodpo_50-50", "moodpo_0-100", "even_50-50", "foreign", "soup_100-0", "soup_50-50",
    "soup_0-100", "prompted_100-0", "prompted_50-50", "prompted_0-100",
]  # fmt: skip


def test_the_files_hold_every_point_once(finished):
    out, _, _ = finished
    summary = json.loads((out / "summary.json").read_text())
    labels = [point["label"] for point in summary["points"]]
    assert sorted(labels) == sorted("even" if label == "even_50-50" else label for label in LABELS)
    assert list(summary["policies"]) == ["untouched", "moodpo", "even", "foreign", "soup", "prompted"]
    assert summary["prompts"] == 3 and summary["samples"] == 2 and summary["prompts_left_out"] == 0
    with open(out / "summary.csv", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert [row["label"] for row in table] == labels
    chosen = next(row for row in table if row["label"] == "moodpo_0-100")
    assert (chosen["weight_brevity"], chosen["weight_rich_vocabulary"]) == ("0.0", "1.0")
    scores = [row["scores"]["brevity"] for row in rows(out / "scores" / "moodpo_0-100.jsonl")]
    assert float(chosen["brevity_mean"]) == pytest.approx(sum(scores) / 6)
    assert (out / "summary.md").read_text().count("\n| ") >= 16
    assert (out / "pareto.png").read_bytes()[:4] == b"\x89PNG"


def test_who_is_asked_what(finished, steered):
    out, _, _ = finished

    def settings(label):
        return json.loads((out / "generations" / label / "generate.json").read_text())

    assert settings("untouched")["instruction"] == [] and settings("untouched")["weights"] is None
    assert settings("moodpo_50-50")["instruction"] == list(NAMES) and settings("moodpo_50-50")["weights"] == [0.5, 0.5]
    assert settings("even")["instruction"] == list(NAMES) and settings("even")["weights"] == [0.5, 0.5]
    assert settings("foreign")["instruction"] == settings("soup_50-50")["instruction"] == []
    assert settings("untouched")["adapter_fingerprint"] is None is settings("prompted_50-50")["adapter_fingerprint"]
    assert len({settings(f"soup_{ends}")["adapter_fingerprint"] for ends in ("100-0", "50-50", "0-100")}) == 3


def test_the_answers_of_a_soup_vertex_are_those_of_its_policy(finished):
    """`foreign` is the adapter that the first end of the soup is made of: same draws, same answers."""
    out, _, _ = finished
    answers = {
        label: [row["response"] for row in rows(out / "generations" / label / "00001-of-00001.jsonl")]
        for label in LABELS
        if label != "even_50-50"
    }
    assert answers["foreign"] == answers["soup_100-0"] != answers["soup_0-100"]
    assert answers["untouched"] != answers["foreign"] != answers["moodpo_100-0"] != answers["moodpo_0-100"]
    assert answers["untouched"] != answers["prompted_100-0"]


def test_scores_are_raw_and_of_the_prompt_without_weights(finished):
    out, _, _ = finished
    bundle = RewardBundle(get_reward_specs(NAMES))
    for label in ("moodpo_100-0", "even"):
        answers = rows(out / "generations" / label / "00001-of-00001.jsonl")
        assert all(answer["messages"] == [{"role": "user", "content": answer["prompt"]}] for answer in answers)
        raw = bundle.score(
            [answer["messages"] for answer in answers],
            [answer["response"] for answer in answers],
            response_tokens=[answer["response_tokens"] for answer in answers],
        )
        found = [list(row["scores"].values()) for row in rows(out / "scores" / f"{label}.jsonl")]
        assert found == raw.tolist()


def test_a_rerun_draws_and_scores_nothing_and_the_picture_is_the_same(finished, base, capsys):
    out, prompts, more = finished
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(base, out, prompts, *more) == 0
    printed = capsys.readouterr().out
    assert "answers scored" not in printed and "of 6 answers" not in printed
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.fixture
def copied(finished, tmp_path):
    out, prompts, more = finished
    return shutil.copytree(out, tmp_path / "out"), prompts, more


def test_what_is_missing_is_drawn_again_and_comes_out_the_same(copied, base, capsys):
    out, prompts, more = copied
    answers = out / "generations" / "moodpo_50-50" / "00001-of-00001.jsonl"
    text, score = answers.read_text(), (out / "scores" / "even.jsonl").read_text()
    answers.unlink()
    (out / "scores" / "even.jsonl").unlink()
    assert run(base, out, prompts, *more) == 0
    printed = capsys.readouterr().out
    assert answers.read_text() == text and (out / "scores" / "even.jsonl").read_text() == score
    assert printed.count("6 of 6 answers") == 1 and printed.count("answers scored") == 1


def test_scores_of_other_answers_or_objectives_are_not_kept(copied, base, capsys):
    out, prompts, more = copied
    answers = out / "generations" / "foreign" / "00001-of-00001.jsonl"
    changed = rows(answers)
    changed[0]["response"] = "one two three four five six seven eight nine ten"
    answers.write_text("".join(json.dumps(row) + "\n" for row in changed))
    assert run(base, out, prompts, *more) == 0
    assert rows(out / "scores" / "foreign.jsonl")[0]["scores"]["brevity"] == -10.0
    assert "foreign.jsonl: 6 answers scored" in (printed := capsys.readouterr().out) and printed.count("scored") == 1


def test_another_source_behind_a_name_is_scored_on_the_prompt_without_weights(copied, base, capsys):
    out, prompts, more = copied
    argv = ["pareto", "--model", str(base), "--prompts", str(prompts), "--out", str(out), "--max_new_tokens", "8"]
    objectives = ["brevity=tests.launch.moodpo.functions:prompt_length", "rich_vocabulary"]
    assert launch([*argv, "--objectives", *objectives, *map(str, more)]) == 0
    assert capsys.readouterr().out.count("6 answers scored") == len(LABELS)
    for label in ("untouched", "moodpo_50-50", "even"):
        found = {row["scores"]["brevity"] for row in rows(out / "scores" / f"{label}.jsonl")}
        assert found == {float(len("Name 1 animals."))}


def test_answers_of_other_settings_are_refused(copied, base, capsys):
    out, prompts, more = copied
    assert run(base, out, prompts, *more, "--seed", "1") == 2
    assert "seed" in capsys.readouterr().err


def test_drawing_needs_no_model_and_follows_its_flags(copied, capsys):
    out, _, _ = copied
    shutil.rmtree(out / "generations")
    assert (
        launch(["pareto-draw", "--out", str(out), "--hv_reference=-20,-1", "--resamples", "100", "--title", "Mine"])
        == 0
    )
    summary = json.loads((out / "summary.json").read_text())
    assert summary["hv_reference"]["raw"] == pytest.approx([-20, -1]) and summary["resamples"] == 100
    assert "<h1>Mine</h1>" in (out / "pareto.html").read_text()
    assert all(policy["hypervolume"]["value"] > 0 for policy in summary["policies"].values())
    assert launch(["pareto-draw", "--out", str(out), "--resamples", "10"]) == 0  # too few for an interval
    assert "NaN" not in (out / "summary.json").read_text() and "nan" not in (out / "summary.md").read_text()
    assert launch(["pareto-draw", "--out", str(out), "--hv_reference", "1"]) == 2
    assert "--hv_reference has 1 numbers" in capsys.readouterr().err


def test_a_prompt_without_a_finite_score_is_left_out_everywhere(copied, capsys):
    out, _, _ = copied
    file = out / "scores" / "soup_50-50.jsonl"
    changed = rows(file)
    changed[0]["scores"]["brevity"] = None
    file.write_text("".join(json.dumps(row) + "\n" for row in changed))
    assert launch(["pareto-draw", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["prompts"], summary["prompts_left_out"]) == (2, 1)
    assert "1 prompts left out" in capsys.readouterr().out
    assert "1 prompts left out" in (out / "pareto.html").read_text()
    kept = [
        row["scores"]["brevity"]
        for row in rows(out / "scores" / "untouched.jsonl")
        if row["prompt_id"] != changed[0]["prompt_id"]
    ]
    assert summary["points"][0]["scores"]["brevity"]["value"] == pytest.approx(sum(kept) / 4)
    for row in changed:
        row["scores"]["brevity"] = None
    file.write_text("".join(json.dumps(row) + "\n" for row in changed))
    assert launch(["pareto-draw", "--out", str(out)]) == 2
    assert "every prompt has an answer with a score that is not finite" in capsys.readouterr().err


def test_drawing_refuses_what_is_not_there(copied, tmp_path, capsys):
    out, _, _ = copied
    file = out / "scores" / "moodpo_0-100.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    assert launch(["pareto-draw", "--out", str(out)]) == 2
    assert "'moodpo_0-100' and 'untouched' answer different prompts" in capsys.readouterr().err
    file.unlink()
    assert launch(["pareto-draw", "--out", str(out)]) == 2
    assert "no scores of 'moodpo_0-100'" in capsys.readouterr().err
    assert launch(["pareto-draw", "--out", str(tmp_path)]) == 2
    assert "no points.json" in capsys.readouterr().err


def test_policies_are_read():
    specs = parse_policies(["ours=moodpo:/a=b/c", "even=fixed:x", "mix=soup:y", "prompted=moodpo"])
    assert [(spec.name, spec.kind, spec.path) for spec in specs] == [
        ("ours", "moodpo", "/a=b/c"), ("even", "fixed", "x"), ("mix", "soup", "y"), ("prompted", "moodpo", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "hint"),
    [
        (["ours"], "write NAME=KIND:PATH"),
        (["ours=dpo:x"], "write NAME=KIND:PATH with KIND one of moodpo, fixed, soup"),
        (["even=fixed"], "fixed needs a path"),
        (["a/b=moodpo:x"], "label 'a/b'"),
        (["a=moodpo", "a=moodpo"], "'a' is used twice"),
        (["untouched=moodpo"], "names the base model without weights"),
    ],
)
def test_policies_that_cannot_be_read(texts, hint):
    with pytest.raises(ValueError, match=hint.replace("(", r"\(")):
        parse_policies(texts)


def test_weights_go_to_the_objective_they_are_for(steered, policies):
    """The order of --objectives is the run's own; the instruction keeps the order of training."""
    turned = tuple(reversed(NAMES))
    point = points_of(parse_policies([f"ours=moodpo:{steered}"])[0], turned, [(0.9, 0.1)])[0]
    assert point == Point("ours_90-10", "ours", "moodpo", (0.9, 0.1), str(steered), NAMES)
    assert asked_weights(point, turned) == (0.1, 0.9)
    soup = points_of(parse_policies([f"soup=soup:{policies['soup']}"])[0], turned, VECTORS)
    assert [(point.weights, Path(point.path).name) for point in soup] == [
        ((0.0, 1.0), "100-0"), ((0.5, 0.5), "50-50"), ((1.0, 0.0), "0-100"),
    ]  # fmt: skip


def test_the_weights_of_a_soup_of_three_are_put_into_the_order_of_the_run(tmp_path):
    note = {"objectives": ["a", "b", "c"], "mixtures": [{"weights": [0.5, 0.3, 0.2], "folder": "."}]}
    (tmp_path / "soup.json").write_text(json.dumps(note))
    point = points_of(parse_policies([f"mix=soup:{tmp_path}"])[0], ("c", "a", "b"), [])[0]
    assert point.weights == (0.2, 0.5, 0.3) and point.label == "mix_20-50-30"


def test_a_fixed_policy_reads_the_weights_it_was_trained_with(policies, tmp_path):
    spec = parse_policies([f"even=fixed:{policies['even']}"])[0]
    assert points_of(spec, NAMES, VECTORS) == [Point("even", "even", "fixed", (0.5, 0.5), spec.path, NAMES)]
    uneven = mark(shutil.copytree(policies["even"], tmp_path / "uneven"), fixed=[0.2, 0.8])
    point = points_of(parse_policies([f"uneven=fixed:{uneven}"])[0], tuple(reversed(NAMES)), VECTORS)[0]
    assert point.weights == (0.8, 0.2) and asked_weights(point, tuple(reversed(NAMES))) == (0.2, 0.8)
    spec = parse_policies([f"foreign=fixed:{policies['foreign']}"])[0]
    assert points_of(spec, NAMES, VECTORS) == [Point("foreign", "foreign", "fixed", None, spec.path, ())]


def test_policies_that_contradict_the_run(steered, policies):
    for text, names, hint in (
        (f"ours=moodpo:{steered}", ("brevity", "humor"), r"knows the objectives \['brevity', 'rich_vocabulary'\]"),
        (f"mix=soup:{policies['soup']}", ("brevity",), "knows the objectives"),
        (f"ours=fixed:{steered}", NAMES, "was trained for many weights .* its kind is moodpo"),
        ("ours=moodpo:no/such", NAMES, "no/such is no folder"),
        (f"mix=soup:{steered}", NAMES, r"no soup\.json"),
    ):
        with pytest.raises(ValueError, match=hint):
            all_points(parse_policies([text]), names, VECTORS)
    with pytest.raises(ValueError, match=r"two points are called 'a_50-50'"):
        all_points(parse_policies(["a=moodpo"]), NAMES, [(0.501, 0.499), (0.5, 0.5)])


def test_points_are_read_back(tmp_path, steered, policies):
    points = all_points(parse_policies([f"ours=moodpo:{steered}", f"x=fixed:{policies['foreign']}"]), NAMES, VECTORS)
    write_points(tmp_path, NAMES, VECTORS, points)
    assert read_points(tmp_path) == (list(NAMES), VECTORS, points)


def test_full_checkpoints_answer_for_themselves_and_adapters_on_the_base(base, steered):
    assert pareto.place_of(Point("a", "a", "fixed", None, str(base), ()), "BASE") == (str(base), None)
    assert pareto.place_of(Point("a", "a", "fixed", None, str(steered), ()), "BASE") == ("BASE", str(steered))
    assert pareto.place_of(Point("a", "a", "untouched", None, None, ()), "BASE") == ("BASE", None)


def test_prompts_of_a_csv_are_distinct_and_in_order(tmp_path):
    file = tmp_path / "prompts.csv"
    file.write_text('prompt,other\nWhy?,1\n"Two\nlines",2\nWhy?,3\nLast,5\n')
    texts = ["Why?", "Two\nlines", "Last"]
    found = read_prompts(file)
    assert [prompt.messages for prompt in found] == [[{"role": "user", "content": text}] for text in texts]
    assert found[0].prompt_id == prompt_id(found[0].messages)
    assert len(read_prompts(file, 2)) == 2
    file.write_text("prompt\n \n")
    with pytest.raises(ValueError, match=r"prompts\.csv:2: field 'prompt' is empty"):
        read_prompts(file)


def test_mistakes_of_the_command_line(base, prompts, tmp_path, capsys):
    for more, hint in (
        (["--weights", "brevity=0.5"], "sum to 0.5"),
        (["--temperature", "-1"], "--temperature is -1"),
        (["--temperature", "0"], "--temperature 0 has one answer a prompt: add --num_samples 1"),
    ):
        assert run(base, tmp_path / "out", prompts, *more) == 2
        assert hint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_three_objectives_make_three_panels(tmp_path, base, prompts):
    out = tmp_path / "out"
    more = ["--weights", "brevity=1", "--weights", "plain_words=1", "--policy", "prompted=moodpo", "--num_samples", "1"]
    argv = [
        "pareto",
        "--model",
        str(base),
        "--prompts",
        str(prompts),
        "--out",
        str(out),
        "--max_new_tokens",
        "4",
        *more,
    ]
    assert launch([*argv, "--objectives", *NAMES, "plain_words"]) == 0
    from PIL import Image

    assert Image.open(out / "pareto.png").width > 2 * 7.6 * 160
    summary = json.loads((out / "summary.json").read_text())
    assert [point["label"] for point in summary["points"]] == ["untouched", "prompted_100-0-0", "prompted_0-0-100"]
