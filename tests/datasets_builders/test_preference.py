"""The readers of published sets, and the rules and splits they share."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_builders.fields import RowError
from datasets_builders.pairs import PreferencePair, user
from datasets_builders.preference import content_bucket
from datasets_builders.readers import MODULES, Filtered, Rules, get_reader
from datasets_builders.readers.anthropic_hh import split_last_reply
from datasets_builders.readers.ultrafeedback import DIMENSIONS, parse_rating
from tests.datasets_builders.helpers import VECTORS, build, dialogue, dump, hub_copy, load


def read(name, row, **rules):
    return list(get_reader(name).read(row, Rules(**rules)))


def preference(capsys, dataset, source, out, *more):
    if "--split" not in more:
        more = ("--split", "all", *more)
    if "--format" not in more:
        more = ("--format", "trl", *more)
    return build(capsys, "preference", "--dataset", dataset, "--source", source, "--out", out, *more)


# HH-RLHF


@pytest.mark.parametrize("case", VECTORS["hh_rlhf_split"])
def test_hh_recorded_splits(case):
    (pair,) = read("anthropic_hh", {"chosen": case["chosen_raw"], "rejected": case["rejected_raw"]})
    # The recorded prompt is a text with markers; rebuilt from the messages it must be the same text.
    name = {"user": "Human", "assistant": "Assistant"}
    text = "".join(f"\n\n{name[message['role']]}:\n{message['content']}" for message in pair.prompt)
    assert text + "\n\nAssistant:\n" == case["prompt"]
    assert (pair.chosen, pair.rejected) == (case["chosen"], case["rejected"])


def test_hh_last_reply_is_found_by_position_not_by_text():
    # Every assistant turn has the same text; splitting at the first equal one would cut the conversation short.
    prompt, reply = split_last_reply(dialogue("a", "Sure.", "b", "Sure.", "c", "Sure."))
    assert [message["content"] for message in prompt] == ["a", "Sure.", "b", "Sure.", "c"]
    assert [message["role"] for message in prompt] == ["user", "assistant", "user", "assistant", "user"]
    assert reply == "Sure."


@pytest.mark.parametrize(
    ("text", "prompt", "reply"),
    [
        ("Human: a\n\nAssistant: b", ["a"], "b"),
        ("\n\nHuman:a\n\nAssistant:b", ["a"], "b"),
        ("\r\n\r\nHuman : a\r\n\r\nAssistant : b", ["a"], "b"),
        (dialogue("a", "b says\nHuman: hello", "c", "d"), ["a", "b says\nHuman: hello", "c"], "d"),
        (dialogue("I am Human: yes", "two\n\nparagraphs"), ["I am Human: yes"], "two\n\nparagraphs"),
        (dialogue("a", "", "b", "c"), ["a\n\nb"], "c"),
        (dialogue("a", "b") + "\n\nAssistant: c" + dialogue("d", "e"), ["a", "b\n\nc", "d"], "e"),
    ],
)
def test_hh_odd_markers(text, prompt, reply):
    messages, found = split_last_reply(text)
    assert ([message["content"] for message in messages], found) == (prompt, reply)
    roles = [message["role"] for message in messages]
    assert all(one != other for one, other in pairwise(roles))


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (dialogue("a", "b", "c", "d"), dialogue("a", "B", "c", "e"), "mismatched_prefix"),
        (dialogue("a", "b"), dialogue("a", "b", "c", "d"), "mismatched_prefix"),
        (dialogue("a", "b") + "\n\nAssistant: c", dialogue("a", "d"), "mismatched_prefix"),
        (dialogue("a", "b") + "\n\nAssistant: c", dialogue("a", "b") + "\n\nAssistant: d", "bad_prompt"),
        ("\n\nAssistant: a", "\n\nAssistant: b", "bad_prompt"),
        (dialogue("a", " "), dialogue("a", "b"), "empty_reply"),
        (dialogue("a", "b"), dialogue("a", ""), "empty_reply"),
        (dialogue("a", "b", "c"), dialogue("a", "b"), "ends_with_human_turn"),
        ("hello", "hello", "no_turns"),
        ("Once" + dialogue("a", "b"), dialogue("a", "c"), "text_before_first_turn"),
        ("", dialogue("a", "c"), "empty_chosen"),
    ],
)
def test_hh_unusable_rows(chosen, rejected, reason):
    with pytest.raises(RowError) as raised:
        read("anthropic_hh", {"chosen": chosen, "rejected": rejected})
    assert raised.value.reason == reason


words = st.text("abc .\n", min_size=1).map(str.strip).filter(lambda text: text and "\n\n" not in text)


@given(st.lists(words, min_size=1, max_size=7).filter(lambda turns: len(turns) % 2 == 1), words, words)
def test_hh_any_conversation_is_taken_apart_and_kept(turns, good, bad):
    (outcome,) = read("anthropic_hh", {"chosen": dialogue(*turns, good), "rejected": dialogue(*turns, bad)})
    if good == bad:
        assert outcome == Filtered("identical_responses")
    else:
        assert [message["content"] for message in outcome.prompt] == turns
        assert (outcome.chosen, outcome.rejected) == (good, bad)


# UltraFeedback

ULTRA = VECTORS["ultrafeedback_pairs"]


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("min_gap", [0.0, 1.0, 2.0])
def test_ultrafeedback_recorded_pairs(dimension, min_gap):
    expected = []
    for pair in ULTRA["pairs"]:
        chosen = pair[f"{dimension}_chosen_id"]
        if chosen != -1 and pair[f"{dimension}_gap"] >= min_gap:
            expected.append((pair[f"response_{chosen}"], pair[f"response_{1 - chosen}"], pair[f"{dimension}_gap"]))
    outcomes = read("ultrafeedback", ULTRA["row"], dimension=dimension, min_gap=min_gap)
    found = [(one.chosen, one.rejected, one.meta["margin"]) for one in outcomes if isinstance(one, PreferencePair)]
    assert len(outcomes) == len(ULTRA["pairs"]) == 6
    assert found == expected


@pytest.mark.parametrize("agreement", [None, "require", "forbid"])
@pytest.mark.parametrize("min_anchor_gap", [0.0, 2.0])
def test_ultrafeedback_anchor(agreement, min_anchor_gap):
    expected = []
    for pair in ULTRA["pairs"]:
        chosen, anchor = pair["truthfulness_chosen_id"], pair["helpfulness_chosen_id"]
        agrees = {None: True, "require": chosen == anchor, "forbid": chosen != anchor}[agreement]
        if -1 not in (chosen, anchor) and pair["helpfulness_gap"] >= min_anchor_gap and agrees:
            expected.append((pair[f"response_{chosen}"], pair[f"response_{1 - chosen}"]))
    rules = {"anchor_dimension": "helpfulness", "min_anchor_gap": min_anchor_gap, "agreement": agreement}
    outcomes = read("ultrafeedback", ULTRA["row"], dimension="truthfulness", min_gap=1.0, **rules)
    assert [(one.chosen, one.rejected) for one in outcomes if isinstance(one, PreferencePair)] == expected


@pytest.mark.parametrize("value", [None, "N/A", "", "five", True, [], "nan", "inf", {}])
def test_ultrafeedback_an_unparsable_rating_is_none(value):
    assert parse_rating(value) is None


def test_ultrafeedback_reasons_and_defects():
    def completion(text, rating):
        return {"response": text, "overall_score": 5, "annotations": {"honesty": {"Rating": rating}}}

    texts = [("x", "3"), ("", "4"), ("x", "1"), ("y", "3"), ("z", "N/A"), ("w", "2")]
    row = {"instruction": "q", "completions": [completion(*text) for text in texts]}
    outcomes = read("ultrafeedback", row, dimension="honesty", min_gap=2.0)
    reasons = [one.reason for one in outcomes if isinstance(one, Filtered)]
    counts = {reason: reasons.count(reason) for reason in set(reasons)}
    assert counts == {"empty_response": 5, "identical_responses": 1, "ties": 1, "no_label": 4, "below_gap": 3}
    assert [(one.chosen, one.rejected) for one in outcomes if isinstance(one, PreferencePair)] == [("y", "x")]
    with pytest.raises(RowError, match="missing field 'completions'"):
        read("ultrafeedback", {"instruction": "q"}, dimension="honesty")
    with pytest.raises(RowError, match="list of objects"):
        read("ultrafeedback", {"instruction": "q", "completions": "r"}, dimension="honesty")


# PKU-SafeRLHF and TL;DR

SAFE = {"prompt": "q", "response_0": "r0", "response_1": "r1", "better_response_id": 0, "safer_response_id": 1}


def test_beavertails_dimension_decides():
    for dimension, chosen in (("better", "r0"), ("safer", "r1")):
        (pair,) = read("beavertails", SAFE, dimension=dimension)
        assert (pair.prompt, pair.chosen, {pair.chosen, pair.rejected}) == ([user("q")], chosen, {"r0", "r1"})
    with pytest.raises(RowError, match="'safer_response_id' must be from 0 to 1, found 2"):
        read("beavertails", SAFE | {"safer_response_id": 2}, dimension="safer")
    assert read("beavertails", SAFE | {"response_1": "r0"}, dimension="safer") == [Filtered("identical_responses")]


def test_summarize_choice_decides_and_news_articles_are_filtered():
    row = {"info": {"post": " body {x} "}, "summaries": [{"text": " s0"}, {"text": " s1"}], "choice": 1}
    (pair,) = read("summarize_from_feedback", row)
    assert pair.prompt == [user("Paragraph:\nbody {x}\n\nTL;DR:")]
    assert (pair.chosen, pair.rejected) == ("s1", "s0")
    news = row | {"info": {"post": None, "article": "news"}}
    assert read("summarize_from_feedback", news) == [Filtered("news_articles")]
    with pytest.raises(RowError, match="missing field 'post'"):
        read("summarize_from_feedback", row | {"info": {}})
    with pytest.raises(RowError, match="list of two objects"):
        read("summarize_from_feedback", row | {"summaries": [{"text": "s0"}]})


# Splits, options and the command line


def conversations(count):
    return [{"chosen": dialogue(f"q{n}", "good"), "rejected": dialogue(f"q{n}", "bad")} for n in range(count)]


def test_the_split_is_disjoint_complete_and_about_ten_per_cent(tmp_path, capsys):
    source = dump(tmp_path / "in.jsonl", conversations(2000))
    prompts = {}
    for split in ("train", "validation", "all"):
        out = tmp_path / f"{split}.jsonl"
        code, printed, _ = preference(capsys, "anthropic_hh", source, out, "--split", split)
        assert code == 0
        report = json.loads(printed)
        assert report["rows"] == report["pairs"] + report["filtered"].get("other_split", 0) == 2000
        prompts[split] = [row["prompt"][0]["content"] for row in load(out)]
    assert set(prompts["train"]).isdisjoint(prompts["validation"])
    assert sorted(prompts["train"] + prompts["validation"]) == sorted(prompts["all"])
    assert 0.07 < len(prompts["validation"]) / 2000 < 0.13


def test_the_bucket_depends_on_the_text_only_and_never_changes():
    # Recorded once: another value would move rows between training and validation data of existing users.
    assert [content_bucket([user(text)]) for text in ("a", "b", "ü")] == [10, 47, 75]


def test_swift_format_sft_and_limit(tmp_path, capsys):
    source, out = dump(tmp_path / "in.jsonl", conversations(3) + conversations(3)), tmp_path / "out.jsonl"
    assert preference(capsys, "anthropic_hh", source, out, "--format", "swift", "--limit", 4)[0] == 0
    assert len(load(out)) == 4
    assert load(out)[0] == {
        "messages": [user("q0"), {"role": "assistant", "content": "good"}],
        "rejected_response": "bad",
    }
    assert preference(capsys, "anthropic_hh", source, out, "--sft")[0] == 0
    assert load(out) == [{"messages": [user(f"q{n}"), {"role": "assistant", "content": "good"}]} for n in range(3)]


def test_dropped_rows_are_counted_and_fail_above_the_share(tmp_path, capsys):
    bad = {"chosen": dialogue("a", "b"), "rejected": dialogue("other", "c")}
    source, out = dump(tmp_path / "in.jsonl", [*conversations(18), bad]), tmp_path / "out.jsonl"
    code, _, error = preference(capsys, "anthropic_hh", source, out)
    assert code == 2 and not out.exists()
    assert "1 of 19 rows skipped" in error and "mismatched_prefix 1" in error and "in.jsonl:19:" in error
    source = dump(tmp_path / "in.jsonl", [*conversations(19), bad])
    code, printed, _ = preference(capsys, "anthropic_hh", source, out)
    assert code == 0
    assert json.loads(printed)["skipped"]["mismatched_prefix"]["count"] == 1
    assert len(load(out)) == 19


def test_an_empty_result_says_why(tmp_path, capsys):
    source = dump(tmp_path / "in.jsonl", [ULTRA["row"]])
    code, _, error = preference(capsys, "ultrafeedback", source, tmp_path / "out.jsonl", "--min_gap", 4.5)
    assert code == 2
    assert "no pair is left of 1 rows" in error
    assert "5 below_gap" in error and "1 ties" in error


@pytest.mark.parametrize(
    ("dataset", "arguments", "hint"),
    [
        ("anthropic_h", [], "did you mean 'anthropic_hh'?"),
        ("ultrafeedback", ["--dimension", "honesti"], "did you mean 'honesty'?"),
        ("ultrafeedback", ["--anchor_dimension", "helpful"], "did you mean 'helpfulness'?"),
        ("ultrafeedback", ["--split", "tran"], "did you mean 'train'?"),
        ("ultrafeedback", ["--split", "test"], "Valid: train, validation, all"),
        ("ultrafeedback", ["--agreement", "forbit"], "did you mean 'forbid'?"),
        ("ultrafeedback", ["--agreement", "forbid"], "need --anchor_dimension"),
        ("ultrafeedback", ["--anchor_dimension", "helpfulness"], "same as --dimension"),
        ("ultrafeedback", ["--min_gap", "-1"], "'-1' is not a finite number"),
        ("ultrafeedback", ["--min_gap", "nan"], "'nan' is not a finite number"),
        ("beavertails", ["--min_gap", "1"], "needs ratings"),
        ("summarize_from_feedback", ["--dimension", "x"], "one judgement only"),
        ("anthropic_hh", ["--dimension", "helpful-base"], "with --source give the file of that folder"),
        ("beavertails", ["--dimenson", "safer"], "did you mean '--dimension'?"),
    ],
)
def test_misspelt_and_meaningless_options(tmp_path, capsys, dataset, arguments, hint):
    source = dump(tmp_path / "in.jsonl", [])
    code, _, error = preference(capsys, dataset, source, tmp_path / "out.jsonl", *arguments)
    assert code == 2
    assert hint in error


@pytest.mark.parametrize("name", sorted(MODULES))
def test_hub_rows_are_streamed_from_the_named_set(tmp_path, capsys, monkeypatch, name):
    rows = {
        "anthropic_hh": conversations(1)[0],
        "ultrafeedback": ULTRA["row"],
        "beavertails": SAFE,
        "summarize_from_feedback": {
            "info": {"post": "p"},
            "summaries": [{"text": "s0"}, {"text": "s1"}],
            "choice": 1,
        },
    }
    cache = hub_copy(
        monkeypatch, tmp_path, get_reader(name).hub_name, {"train": [rows[name]] * 3, "test": [rows[name]] * 5},
        data_dir="harmless-base" if name == "anthropic_hh" else "",
        config="comparisons" if name == "summarize_from_feedback" else None,
    )  # fmt: skip
    train = ["--split", "train", "--format", "trl", "--out", tmp_path / "out.jsonl"]
    code, printed, error = build(capsys, "preference", "--dataset", name, *train)
    assert json.loads(printed)["rows"] == 3 if code == 0 else "'rows': 3" in error and "other_split" in error, error
    assert not list(cache.rglob("*.arrow"))


def test_an_unreachable_hub_is_exit_code_1_and_a_refused_set_2(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and HF_HUB_OFFLINE is set
    train = ["--split", "train", "--format", "trl", "--out", tmp_path / "out.jsonl"]
    code, _, message = build(capsys, "preference", "--dataset", "beavertails", *train)
    assert code == 1 and "Couldn't reach 'PKU-Alignment/PKU-SafeRLHF' on the Hub" in message
    assert "a local copy can be given with --source" in message
    (tmp_path / "PKU-Alignment" / "PKU-SafeRLHF").mkdir(parents=True)
    (tmp_path / "PKU-Alignment" / "PKU-SafeRLHF" / "PKU-SafeRLHF.py").write_text("")
    code, _, message = build(capsys, "preference", "--dataset", "beavertails", *train)
    assert code == 2 and "Dataset scripts are no longer supported" in message


def test_importing_the_package_and_a_run_on_json_load_nothing_heavy(tmp_path):
    source = dump(tmp_path / "in.jsonl", conversations(3))
    code = (
        "import sys, datasets_builders\n"
        "assert 'datasets_builders.io' not in sys.modules\n"
        "from datasets_builders.__main__ import main\n"
        f"main(['preference', '--dataset', 'anthropic_hh', '--split', 'all', '--format', 'trl', '--sft',\n"
        f"      '--source', {str(source)!r}, '--out', {str(tmp_path / 'out.jsonl')!r}])\n"
        "heavy = {'torch', 'pyarrow', 'datasets', 'transformers', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert datasets_builders.read_rows and datasets_builders.PreferencePair\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
