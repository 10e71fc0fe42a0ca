"""The builder of pointwise rows: what it writes, reports and refuses."""

import gzip
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datasets_builders import get_prompt
from datasets_builders.comparisons import SETS, Comparison
from datasets_builders.io import LINE_ENDS
from datasets_builders.pointwise import encoded, pair_lines
from datasets_builders.scoring.prompts import PROMPTS, dataset_of
from tests.datasets_builders.helpers import build, dialogue, dump, hub_copy, load

TLDR, HH = "summarize_from_feedback", "anthropic_hh"


def hh(count):
    return [{"chosen": dialogue(f"q{n}", "good"), "rejected": dialogue(f"q{n}", "bad")} for n in range(count)]


def tldr(count):
    return [
        {"info": {"post": f"p{n}"}, "summaries": [{"text": "s0"}, {"text": "s1"}], "choice": n % 2}
        for n in range(count)
    ]


def pointwise(capsys, source, out, *more, dataset=HH, prompt="hh_score100_v1", split="test"):
    fixed = ("--dataset", dataset, "--prompt", prompt, "--split", split, "--source", source, "--out", out)
    return build(capsys, "pointwise", *fixed, *more)


def test_two_rows_a_pair_side_0_first(tmp_path, capsys):
    source, out = dump(tmp_path / "in.jsonl", tldr(3)), tmp_path / "made" / "out.jsonl"
    code, printed, _ = pointwise(capsys, source, out, dataset=TLDR, prompt="score5_v2", split="validation")
    assert code == 0
    prompt = get_prompt("score5_v2")
    assert load(out) == [
        {
            "messages": [{"role": "user", "content": prompt(f"p{pair}", f"s{side}")}],
            "pair_id": pair,
            "side": side,
            "preferred_side": pair % 2,
        }
        for pair in range(3)
        for side in (0, 1)
    ]
    report = json.loads(printed)
    assert report == json.loads(
        (tmp_path / "made" / "__reports__" / "out.jsonl.report.json").read_text(encoding="utf-8")
    )
    assert report == {
        "prompt_name": "score5_v2",
        "parser_name": "score5_first",
        "dataset": "openai/summarize_from_feedback:comparisons",
        "split": "validation",
        "shuffle_sides": None,
        "rows": 3,
        "pairs": 3,
        "preferred_side": {"0": 2, "1": 1},
        "kept": 3,
        "skipped": {},
        "written": 6,
        "limit_reached": False,
    }


def test_meta(tmp_path, capsys):
    source, out = dump(tmp_path / "in.jsonl", hh(1)), tmp_path / "out.jsonl"
    assert pointwise(capsys, source, out, "--add_meta", prompt="hh_score5_v3", split="train")[0] == 0
    for row in load(out):
        assert list(row)[:4] == ["messages", "pair_id", "side", "preferred_side"]
        assert {name: row[name] for name in list(row)[4:]} == {
            "prompt_name": "hh_score5_v3",
            "parser_name": "score5_last",
            "dataset": "Anthropic/hh-rlhf",
            "split": "train",
        }


def test_a_constant_side_is_said_in_words_and_shuffling_balances_it(tmp_path, capsys):
    source, out = dump(tmp_path / "in.jsonl", hh(200)), tmp_path / "out.jsonl"
    _, printed, _ = pointwise(capsys, source, out)
    report = json.loads(printed)
    assert report["preferred_side"] == {"0": 200, "1": 0}
    assert "every preferred_side is 0" in report["note"] and "--shuffle_sides SEED" in report["note"]
    plain = load(out)

    _, printed, _ = pointwise(capsys, source, out, "--shuffle_sides", 3)
    report, rows = json.loads(printed), load(out)
    assert "note" not in report and report["shuffle_sides"] == 3
    assert 70 < report["preferred_side"]["1"] < 130
    assert report["preferred_side"]["1"] == sum(row["preferred_side"] for row in rows) / 2
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (first["side"], second["side"]) == (0, 1) and first["pair_id"] == second["pair_id"]
        assert first["preferred_side"] == second["preferred_side"]
        preferred = (first, second)[first["preferred_side"]]
        assert preferred["messages"][0]["content"].endswith("RESPONSE:\ngood")
    by_pair = {row["pair_id"]: row["messages"] for row in plain if row["side"] == 0}
    assert all((row["messages"] == by_pair[row["pair_id"]]) == (row["side"] == row["preferred_side"]) for row in rows)


def test_the_same_options_write_the_same_bytes_and_a_limit_is_a_beginning(tmp_path, capsys):
    bad = {"chosen": "x", "rejected": "y"}
    source, out = dump(tmp_path / "in.jsonl", [*hh(300), bad, *hh(300)]), tmp_path / "out.jsonl"
    written = []
    for more in ([], [], ["--limit", 301], ["--limit", 601]):
        code, printed, _ = pointwise(capsys, source, out, "--shuffle_sides", 1, *more)
        assert code == 0
        written.append((out.read_bytes(), json.loads(printed)))
    (whole, report), (again, _), (limited, limited_report), (more_than_all, all_report) = written
    assert whole == again == more_than_all
    assert whole.startswith(limited) and limited.count(b"\n") == 602
    assert (report["pairs"], report["rows"], report["limit_reached"]) == (600, 601, False)
    assert (limited_report["pairs"], limited_report["written"], limited_report["limit_reached"]) == (301, 602, True)
    assert limited_report["rows"] == 302 and not all_report["limit_reached"]
    # The numbers of the pairs have no gap where a row was left out.
    assert [row["pair_id"] for row in load(out)] == [pair for pair in range(600) for _ in (0, 1)]
    assert report["skipped"]["no_turns"]["count"] == 1 and "in.jsonl:301:" in report["skipped"]["no_turns"]["first"]


def test_unusable_rows_above_the_share_leave_no_file(tmp_path, capsys):
    bad = {"chosen": dialogue("a", "b"), "rejected": dialogue("a", "b")}
    source, out = dump(tmp_path / "in.jsonl", [*hh(18), bad]), tmp_path / "out.jsonl"
    code, _, error = pointwise(capsys, source, out)
    assert code == 2 and "1 of 19 rows skipped" in error and "identical_replies 1" in error
    code, _, error = pointwise(capsys, source, out, "--max_skipped_share", 0)
    assert code == 2 and "in.jsonl:19: both replies have the same text" in error
    # Also where the limit ends the reading before the file does.
    source = dump(tmp_path / "in.jsonl", [bad, *hh(9)])
    code, _, error = pointwise(capsys, source, out, "--limit", 2)
    assert code == 2 and "1 of 3 rows skipped" in error
    assert list(tmp_path.iterdir()) == [source]
    assert pointwise(capsys, source, out, "--max_skipped_share", 0.1)[0] == 0


def test_nothing_to_write_is_an_error(tmp_path, capsys):
    source, out = dump(tmp_path / "in.jsonl", []), tmp_path / "out.jsonl"
    code, _, error = pointwise(capsys, source, out)
    assert code == 2 and "no usable row among 0" in error and not out.exists()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"prompt": "hh_score10_v1"}, "did you mean 'hh_score100_v1'?"),
        ({"prompt": "hh_score100_pairwise_v1"}, "unknown value 'hh_score100_pairwise_v1'"),
        ({"dataset": "anthropic"}, "did you mean 'anthropic_hh'?"),
        ({"split": "validation"}, "unknown split 'validation' of anthropic_hh; Valid: train, test"),
        ({"prompt": "score100_v1"}, "--prompt score100_v1 judges a summary of summarize_from_feedback, not a reply of"),
    ],
)
def test_misspelt_and_mismatched_options(tmp_path, capsys, arguments, hint):
    source, out = dump(tmp_path / "in.jsonl", hh(1)), tmp_path / "out.jsonl"
    code, _, error = pointwise(capsys, source, out, **arguments)
    assert code == 2 and hint in error and not out.exists()


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        (["--limit", "0"], "'0' is not a whole number of at least 1"),
        (["--max_skipped_share", "2"], "'2' is not a number from 0 to 1"),
        (["--shuffle_side", "1"], "did you mean '--shuffle_sides'?"),
        (["--out", "rows.parquet"], "--out rows.parquet: the output is plain JSONL"),
    ],
)
def test_wrong_values(tmp_path, capsys, option, hint):
    source = dump(tmp_path / "in.jsonl", hh(1))
    code, _, error = pointwise(capsys, source, tmp_path / "out.jsonl", *option)
    assert code == 2 and hint in error


@pytest.mark.parametrize("dataset", [TLDR, HH])
def test_every_prompt_goes_with_its_own_data_set_only(tmp_path, capsys, dataset):
    source, out = dump(tmp_path / "in.jsonl", {TLDR: tldr, HH: hh}[dataset](1)), tmp_path / "out.jsonl"
    for name, prompt in PROMPTS.items():
        code, _, _ = pointwise(capsys, source, out, dataset=dataset, prompt=name, split="train")
        assert code == (0 if dataset_of(prompt) == dataset else 2)


def test_gzip_and_parquet_give_the_same_rows(tmp_path, capsys):
    import pyarrow
    import pyarrow.parquet

    rows, written = tldr(3), []
    dump(tmp_path / "a.jsonl", rows)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet"):
        out = tmp_path / "out" / "x.jsonl"
        assert pointwise(capsys, tmp_path / name, out, dataset=TLDR, prompt="score5_v1", split="train")[0] == 0
        written.append(out.read_bytes())
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize(
    ("dataset", "prompt", "rows", "hub_name", "config"),
    [
        (HH, "hh_score5_v1", hh, "Anthropic/hh-rlhf", None),
        (TLDR, "score5_v1", tldr, "openai/summarize_from_feedback", "comparisons"),
    ],
)
def test_hub_rows_are_streamed_from_the_named_split(
    tmp_path, capsys, monkeypatch, dataset, prompt, rows, hub_name, config
):
    cache = hub_copy(monkeypatch, tmp_path, hub_name, {"train": rows(3), "test": rows(8)[3:]}, config=config)
    named = ("--dataset", dataset, "--prompt", prompt, "--split", "train")
    assert build(capsys, "pointwise", *named, "--out", tmp_path / "out.jsonl")[0] == 0
    local = dump(tmp_path / "train.jsonl", rows(3))
    assert pointwise(capsys, local, tmp_path / "local.jsonl", dataset=dataset, prompt=prompt, split="train")[0] == 0
    assert len(load(tmp_path / "out.jsonl")) == 6 and load(tmp_path / "out.jsonl") == load(tmp_path / "local.jsonl")
    assert not list(cache.rglob("*.arrow"))
    # The set's own loading script is not run any more; the hub keeps its rows as Parquet at this revision.
    assert SETS[TLDR].hub_options == {"name": "comparisons", "revision": "refs/convert/parquet"}


any_text = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('\\"\n\t\r\x00\x7f\x85\u2028é<s>'))
)


@given(any_text)
@example("\x85")
@example("\u2028")
@example("\u2029")
def test_an_encoded_text_is_the_text_in_json_on_one_line(text):
    line = encoded(text).decode("utf-8")
    assert json.loads(f'"{line}"') == text
    assert len(f"x{line}x".splitlines()) == 1 and not any(end in line for end in LINE_ENDS)
    if not any(end in text for end in LINE_ENDS):
        assert f'"{line}"' == json.dumps(text, ensure_ascii=False)


@given(any_text, any_text, any_text, st.sampled_from(sorted(PROMPTS)), st.integers(0, 1), st.booleans())
def test_lines_hold_what_the_prompt_says(context, first, second, name, preferred, with_meta):
    prompt, counts = PROMPTS[name], [0, 0]
    meta = {"split": "train", "dataset": 'a "b"'} if with_meta else {}
    one = Comparison(context, (first, second), preferred, 5)
    (lines,) = pair_lines([one], prompt, meta, counts)
    assert [json.loads(line) for line in lines.splitlines()] == [
        {
            "messages": [{"role": "user", "content": prompt(context, response)}],
            "pair_id": 0,
            "side": side,
            "preferred_side": preferred,
            **meta,
        }
        for side, response in enumerate((first, second))
    ]
    assert counts == [1 - preferred, preferred]
