"""The builder of pairwise rows: both orders of a pair, the split, what is left out and counted, and its settings."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_builders.fields import RowError
from datasets_builders.helpsteer2_pairwise import build as build_files
from datasets_builders.judging.helpsteer2 import read_pair
from datasets_builders.judging.prompt import Example, PairwisePrompt
from datasets_builders.judging.rows import SWAPPED
from datasets_builders.judging.settings import Settings
from datasets_builders.judging.split import train_prompts
from datasets_builders.judging.turns import parse_turns
from datasets_builders.readers.base import Filtered
from tests.datasets_builders.helpers import build, dump, hub_copy, load

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "helpsteer2_pairwise.json").read_text(encoding="utf-8"))
PROMPT = PairwisePrompt()
COLUMNS = [
    *("messages", "pair_id", "side", "ground_truth", "preference_strength", "subset", "data_source"),
    *("prompt", "ability", "reward_model", "extra_info"),
]


def judged(prompt="q", strength=-1, first="one", second="two", split="train"):
    return {
        "split": split, "prompt": prompt, "response_1": first, "response_2": second, "preference_strength": strength
    }  # fmt: skip


def exchanged(row):
    """The same judgement, written down with the responses in the other order."""
    strength = None if row["preference_strength"] is None else -row["preference_strength"]
    return row | {
        "response_1": row["response_2"], "response_2": row["response_1"], "preference_strength": strength
    }  # fmt: skip


def numbered(count, **more):
    return [judged(f"q{number}", number % 7 - 3, **more) for number in range(count)]


def pairwise(capsys, path, out, *more, formats="jsonl"):
    fixed = ("--path", path, "--output_dir", out, "--formats", formats)
    code, printed, error = build(capsys, "helpsteer2-pairwise", *fixed, *more)
    return code, json.loads(printed) if code == 0 else None, error


def sides(out, stem="preference"):
    """Rows of both files; an absent one has none."""
    files = (out / f"{stem}_train.jsonl", out / f"{stem}_test.jsonl")
    return tuple(load(file) if file.exists() else [] for file in files)


def built(folder, rows, **more):
    """(train rows, test rows) of rows in a file."""
    source = dump(folder / "preference.jsonl", rows)
    build_files(Settings(path=str(source), output_dir=str(folder / "out"), formats=("jsonl",), **more))
    return sides(folder / "out")


# --- the two rows of a pair -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["converter"], ids=lambda case: str(case["preference_strength"]))
def test_recorded_labels(case):
    row = judged(strength=case["preference_strength"], first="r1", second="r2")
    if case["samples"] is None:
        with pytest.raises(RowError, match="missing field 'preference_strength'"):
            read_pair(row)
        return
    rows = read_pair(row).rows(PROMPT)
    assert [row["ground_truth"] for row in rows] == [sample["preferred"] for sample in case["samples"]]
    for made, sample in zip(rows, case["samples"], strict=True):
        shown = PROMPT([{"role": "user", "content": "q"}], sample["response_A"], sample["response_B"])
        assert made["messages"] == [{"role": "user", "content": shown}]
    # The reference keeps the sign of the strength on the swapped row; here it holds in the row's own order.
    assert [row["preference_strength"] for row in rows] == [case["preference_strength"], -case["preference_strength"]]


def test_every_column(tmp_path, capsys):
    prompt = "Hi\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nWhy?"
    source = dump(tmp_path / "preference.jsonl", [judged("q", 0), judged(prompt, 2)])
    assert pairwise(capsys, source, tmp_path / "out")[0] == 0
    rows, test = sides(tmp_path / "out")
    assert test == [] and len(rows) == 4
    first, second = rows[2:]
    turns = [("user", "Hi"), ("assistant", "Hello."), ("user", "Why?")]
    conversation = [{"role": role, "content": content} for role, content in turns]
    assert list(first) == list(second) == COLUMNS
    shown = [{"role": "user", "content": PROMPT(conversation, "one", "two")}]
    assert first == {
        "messages": shown,
        "pair_id": first["pair_id"],
        "side": 0,
        "ground_truth": "B",
        "preference_strength": 2.0,
        "subset": "multi_turn",
        "data_source": "nvidia/HelpSteer2",
        "prompt": shown,
        "ability": "pairwise_judging",
        "reward_model": {"style": "rule", "ground_truth": "B"},
        "extra_info": {
            "index": 2, "split": "train", "pair_id": first["pair_id"], "side": 0, "preference_strength": 2.0
        },
    }  # fmt: skip
    assert second["messages"] == [{"role": "user", "content": PROMPT(conversation, "two", "one")}]
    assert (second["side"], second["ground_truth"], second["preference_strength"]) == (1, "A", -2.0)
    assert second["reward_model"]["ground_truth"] == "A" and second["extra_info"]["preference_strength"] == -2.0
    assert second["extra_info"]["index"] == 3 and second["extra_info"]["side"] == 1
    # Of a tie neither order has a sign.
    assert [row["preference_strength"] for row in rows[:2]] == [0.0, 0.0]
    assert "-0.0" not in (tmp_path / "out" / "preference_train.jsonl").read_text()
    assert [row["subset"] for row in rows[:2]] == ["single_turn"] * 2


def test_ids_are_of_the_content_and_stay(tmp_path):
    (first, _), _ = built(tmp_path, [judged("q", -1)])
    # Written down, so that a change of the recipe, which would part old runs from new data, does not go unnoticed.
    assert first["pair_id"] == "acb88e221d614ff6"
    same = [judged(" q\n", -1), judged("q", 3, "two\n", "one "), judged("q", 0, split="validation")]
    assert {read_pair(row).pair_id for row in same} == {first["pair_id"]}
    others = [judged("p"), judged(first="one!"), judged(second="three")]
    assert len({read_pair(row).pair_id for row in others} | {first["pair_id"]}) == 4


def test_a_prompt_is_its_whole_conversation():
    continued = "q\n<extra_id_1>Assistant\na\n<extra_id_1>User\nb"
    rows = [judged("q"), judged("q", 2, "three"), judged(continued), judged(continued.replace("\na\n", "\nc\n"))]
    found = [read_pair(row).prompt_id for row in rows]
    assert found[0] == found[1] and len(set(found)) == 3


def test_a_tie_has_no_sign_however_it_is_written():
    for strength in (0, 0.0, -0.0):
        rows = read_pair(judged(strength=strength)).rows(PROMPT)
        assert [repr(row["preference_strength"]) for row in rows] == ["0.0", "0.0"]


strengths = st.one_of(st.integers(-3, 3), st.sampled_from([-0.5, 1.5, 0.0]))
rows_strategy = st.lists(
    st.builds(
        judged,
        prompt=st.sampled_from(["a", "b", "c", "d é", "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc"]),
        strength=strengths,
        first=st.sampled_from(["one", "two", "three"]),
        second=st.sampled_from(["one", "two", "four 🙂"]),
        split=st.sampled_from(["train", "train", "validation", "test"]),
    ),
    min_size=1,
    max_size=14,
)


def attempt(folder, rows, **more):
    """The rows of both files, or the sentence that refuses them."""
    try:
        return built(folder, rows, **more)
    except ValueError as error:
        return str(error).split("; ")[0]


@settings(deadline=None, max_examples=60)
@given(rows_strategy, st.sampled_from([None, (0.5, 0.5)]), st.sampled_from(["keep", "drop"]))
def test_exchanged_responses_give_the_same_rows_with_the_sides_exchanged(tmp_path_factory, rows, ratio, ties):
    folders = [tmp_path_factory.mktemp("rows") for _ in range(2)]
    given_order = attempt(folders[0], rows, split_ratio=ratio, ties=ties)
    other_order = attempt(folders[1], [exchanged(row) for row in rows], split_ratio=ratio, ties=ties)
    if isinstance(given_order, str):
        assert given_order.replace(str(folders[0]), str(folders[1])) == other_order
        return

    def placeless(row, side):
        extra = {key: value for key, value in row["extra_info"].items() if key not in ("index", "side")}
        return row | {"side": side, "extra_info": extra}

    for rows_of_file, others in zip(given_order, other_order, strict=True):
        assert len(rows_of_file) == len(others)
        for position in range(0, len(others), 2):
            first, second = rows_of_file[position : position + 2]
            assert [placeless(one, 0) for one in (second, first)] == [
                placeless(one, 0) for one in others[position : position + 2]
            ]


@settings(deadline=None, max_examples=60)
@given(rows_strategy, st.sampled_from([None, (0.5, 0.5), (0.8, 0.2), (1.0, 0.0)]), st.integers(0, 3))
def test_pairs_are_whole_and_no_prompt_is_on_two_sides(tmp_path_factory, rows, ratio, seed):
    found = attempt(tmp_path_factory.mktemp("rows"), rows, split_ratio=ratio, seed=seed)
    if isinstance(found, str):
        return
    assert found[0], "nothing to train on must be refused"
    conversations = []
    for split, rows_of_file in zip(("train", "test"), found, strict=True):
        assert [row["extra_info"]["index"] for row in rows_of_file] == list(range(len(rows_of_file)))
        assert {row["extra_info"]["split"] for row in rows_of_file} <= {split}
        assert [row["side"] for row in rows_of_file] == [0, 1] * (len(rows_of_file) // 2)
        for first, second in zip(rows_of_file[::2], rows_of_file[1::2], strict=True):
            assert first["pair_id"] == second["pair_id"]
            assert second["ground_truth"] == SWAPPED[first["ground_truth"]]
            assert second["preference_strength"] == -first["preference_strength"]
            sign = {"A": -1, "B": 1, "tie": 0}[first["ground_truth"]]
            assert (first["preference_strength"] > 0) - (first["preference_strength"] < 0) == sign
        texts = [row["messages"][0]["content"] for row in rows_of_file]
        conversations.append({text.split("<conversation>")[1].split("</conversation>")[0] for text in texts})
    assert not conversations[0] & conversations[1]
    ids = [row["pair_id"] for rows_of_file in found for row in rows_of_file]
    assert set(Counter(ids).values()) == {2}
    if ratio == (1.0, 0.0):
        assert not found[1]
    elif ratio is not None:
        assert found[1]


# --- the split --------------------------------------------------------------------------------------------------------


def test_the_published_split_is_kept_by_default(tmp_path, capsys):
    splits = ["train", "validation", "train", "test", "val"]
    source = dump(tmp_path / "preference.jsonl", [judged(f"q{n}", split=split) for n, split in enumerate(splits)])
    code, report, _ = pairwise(capsys, source, tmp_path / "out")
    assert code == 0 and report["split"] == "published" and "note" not in report
    train, test = sides(tmp_path / "out")
    shown = [[f"q{n}" for n in range(5) if f"User: q{n}\n" in row["messages"][0]["content"]] for row in train + test]
    assert shown == [[f"q{n}"] for n in (0, 0, 2, 2, 1, 1, 3, 3, 4, 4)]
    assert report["train"] == {
        "pairs": 2, "rows": 4, "prompts": 2, "multi_turn": 0, "labels": {"A": 2, "B": 0, "tie": 0}
    }  # fmt: skip
    assert (report["test"]["pairs"], report["files"]) == (3, {"preference_train.jsonl": 4, "preference_test.jsonl": 6})


def test_a_prompt_that_is_published_on_both_sides_is_not_trained_on(tmp_path, capsys):
    rows = [judged("q", -1), judged("p", -1), judged("q", 2, "three", "four", split="validation")]
    _, report, _ = pairwise(capsys, dump(tmp_path / "preference.jsonl", rows), tmp_path / "out")
    assert report["filtered"]["prompt_in_test"] == 1
    assert (report["train"]["pairs"], report["test"]["pairs"]) == (1, 1)
    # A split of one's own does not look at the published one, and needs no pair left out.
    _, report, _ = pairwise(capsys, tmp_path / "preference.jsonl", tmp_path / "own", "--split_ratio", 0.5, 0.5)
    assert "prompt_in_test" not in report["filtered"] and report["pairs"] == 3


def test_the_recorded_sizes_of_a_seeded_split(tmp_path, capsys):
    # Only the sizes are those of the reference: it shuffles the pairs with a generator, here the prompts are ordered by
    # a hash, which keeps the pairs of a prompt together and does not depend on the order of the input.
    recorded = VECTORS["split"]
    source = dump(tmp_path / "preference.jsonl", numbered(recorded["n_pairs"]))
    ratio = ("--split_ratio", recorded["train_ratio"], 1 - recorded["train_ratio"])
    _, report, _ = pairwise(capsys, source, tmp_path / "out", *ratio)
    train, test = sides(tmp_path / "out")
    assert (len(train), len(test)) == (recorded["train_rows"], recorded["test_rows"])
    assert {row["pair_id"] for row in train}.isdisjoint(row["pair_id"] for row in test)
    assert report["split"]["train"] == 0.8 and report["split"]["seed"] == 42
    small = dump(tmp_path / "small.jsonl", numbered(5))
    _, report, _ = pairwise(capsys, small, tmp_path / "out", *ratio)
    assert (report["train"]["rows"], report["test"]["rows"]) == (8, 2)

    pairwise(capsys, source, tmp_path / "other", *ratio, "--seed", 43)
    assert sides(tmp_path / "other")[1] != test, "the seed decides"
    dump(source, reversed(numbered(recorded["n_pairs"])))
    pairwise(capsys, source, tmp_path / "reversed", *ratio)
    assert {row["pair_id"] for row in sides(tmp_path / "reversed")[1]} == {row["pair_id"] for row in test}


@given(
    st.dictionaries(st.text(max_size=4), st.integers(1, 9), min_size=2, max_size=20),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_the_train_side_is_as_near_to_its_share_as_whole_prompts_allow(pairs_of, share, seed):
    taken = train_prompts(pairs_of, share, seed)
    assert 0 < len(taken) < len(pairs_of)
    total, pairs = sum(pairs_of.values()), sum(pairs_of[name] for name in taken)
    largest = max(pairs_of.values())
    # One prompt more or less would be further away, unless a side would have none then.
    assert abs(pairs - share * total) <= largest / 2 + 1e-9 or len(taken) in (1, len(pairs_of) - 1)


def test_a_ratio_that_moves_published_validation_into_training_says_so(tmp_path, capsys):
    source = dump(tmp_path / "preference.jsonl", numbered(20, split="validation"))
    code, _, error = pairwise(capsys, source, tmp_path / "out")
    assert code == 2 and "all 20 pairs are on the published test side" in error and not (tmp_path / "out").exists()
    _, report, _ = pairwise(capsys, source, tmp_path / "out", "--split_ratio", 0.75, 0.25)
    assert "15 pairs of the train side are published for validation" in report["note"]


def test_one_prompt_cannot_be_split(tmp_path, capsys):
    rows = [judged("q", -1, "one", other) for other in ("two", "three", "four")]
    source = dump(tmp_path / "preference.jsonl", rows)
    code, _, error = pairwise(capsys, source, tmp_path / "out", "--split_ratio", 0.8, 0.2)
    assert code == 2 and "3 pairs of 1 prompt cannot be split 0.8 to 0.2" in error
    assert not (tmp_path / "out").exists()
    _, report, _ = pairwise(capsys, source, tmp_path / "out", "--split_ratio", 1, 0)
    assert report["files"] == {"preference_train.jsonl": 6}


# --- what is left out -------------------------------------------------------------------------------------------------


def test_filters_count_pairs_and_the_counts_add_up(tmp_path, capsys):
    rows = [
        judged("q1", -2),
        judged("q1", -1),  # the same pair and label
        exchanged(judged("q1", -3)),  # the same, written down in the other order
        judged("q2", -2),
        judged("q2", 2),  # the same pair, another label
        judged("q3", 0),
        exchanged(judged("q3", -1)),  # also a tie beside a preference
        judged("q4", 1, "same", " same\n"),
        judged("q5", 0),
        judged("q6", 1, "a" * 500),
        judged("q7", 3),
        judged("q8", 3),
        judged("q1", -2, "another", "two"),
    ]
    source = dump(tmp_path / "preference.jsonl", rows)
    expected = {"identical_responses": 1, "prompt_in_test": 0, "contradictory_duplicates": 4, "duplicates": 2}
    code, report, _ = pairwise(capsys, source, tmp_path / "keep")
    assert code == 0 and report["filtered"] == expected
    train, _ = sides(tmp_path / "keep")
    assert [row["preference_strength"] for row in train[::2]] == [-2, 0, 1, 3, 3, -2], "the first copy is kept"
    more = ("--ties", "drop", "--max_prompt_chars", 700, "--limit", 2)
    code, report, _ = pairwise(capsys, source, tmp_path / "drop", *more)
    expected |= {"ties": 1, "prompt_too_long": 1, "beyond_limit": 2}
    assert code == 0 and report["filtered"] == expected
    assert report["rows"] == len(rows) == report["pairs"] + sum(expected.values())
    assert [row["ground_truth"] for row in sides(tmp_path / "drop")[0]] == ["A", "B", "B", "A"]


def test_a_prompt_of_exactly_so_many_characters_is_kept(tmp_path, capsys):
    source = dump(tmp_path / "preference.jsonl", [judged()])
    length = len(PROMPT([{"role": "user", "content": "q"}], "one", "two"))
    assert pairwise(capsys, source, tmp_path / "out", "--max_prompt_chars", length)[0] == 0
    code, _, error = pairwise(capsys, source, tmp_path / "out", "--max_prompt_chars", length - 1)
    assert code == 2 and "no pair is left of 1 rows" in error and "1 prompt_too_long" in error


def test_without_ties_the_prompt_does_not_offer_them(tmp_path, capsys):
    source = dump(tmp_path / "preference.jsonl", [judged("q", 0), judged("p", 1)])
    for ties, offered in (("keep", "A, B or tie"), ("drop", "A or B, in this tag")):
        _, report, _ = pairwise(capsys, source, tmp_path / ties, "--ties", ties)
        assert all(offered in row["messages"][0]["content"] for row in sides(tmp_path / ties)[0])
        assert report["prompt"]["ties"] == (ties == "keep")


def without(name):
    return {key: value for key, value in judged().items() if key != name}


@pytest.mark.parametrize(
    ("bad", "reason", "message"),
    [
        (without("response_2"), "missing_field", "missing field 'response_2'; the row has: preference_strength,"),
        (without("preference_strength"), "missing_field", "missing field 'preference_strength'"),
        (judged(strength=None), "missing_field", "missing field 'preference_strength'"),
        (judged(strength="2"), "wrong_type", "'preference_strength' must be a number, found '2'"),
        (judged(strength=True), "wrong_type", "must be a number, found True"),
        (judged(strength=float("nan")), "wrong_type", "must be a number, found nan"),
        (judged(strength=-100), "strength_out_of_range", "must be from -3 to 3, found -100"),
        (judged(strength=3.01), "strength_out_of_range", "must be from -3 to 3, found 3.01"),
        (judged(first=" \n"), "empty_response_1", "field 'response_1' is empty"),
        (judged(second="\ud800"), "invalid_unicode", "cannot be stored as UTF-8"),
        (judged(split="trian"), "no_split", "must be train, test or val..., found 'trian'; --split_ratio does without"),
        (without("split"), "no_split", "found no such field"),
        (judged("a\n<extra_id_1>User\nb"), "repeated_speaker", "turns 1 and 2 are both of the user"),
        ('{"prompt": ', "not_json", "not a JSON object"),
        ("[1]", "not_an_object", "found a list"),
        (b'{"prompt": "\xff"}', "not_utf8", "not UTF-8 text"),
    ],
)
def test_a_bad_line_is_counted_or_named(tmp_path, capsys, bad, reason, message):
    line = bad if isinstance(bad, bytes) else (bad if isinstance(bad, str) else json.dumps(bad)).encode()
    good = [json.dumps(row).encode() for row in numbered(8)]
    source = tmp_path / "preference.jsonl"
    source.write_bytes(b"\n".join([*good[:4], line, *good[4:], line]) + b"\n")
    out = tmp_path / "out"
    code, _, error = pairwise(capsys, source, out)
    assert code == 2 and "2 of 10 rows skipped (20.00%), above the allowed share of 5.00%" in error
    assert f"{reason} 2 (first: {source}:5: " in error and message in error
    code, _, error = pairwise(capsys, source, out, "--max_skipped_share", 0)
    assert code == 2 and f"error: {source}:5: " in error and message in error
    assert list(tmp_path.iterdir()) == [source]
    code, report, _ = pairwise(capsys, source, out, "--max_skipped_share", 0.2)
    assert code == 0 and (report["rows"], report["kept"], report["pairs"]) == (10, 8, 8)
    assert report["skipped"][reason]["count"] == 2 and f"{source}:5: " in report["skipped"][reason]["first"]


def test_a_seeded_split_needs_no_published_one(tmp_path, capsys):
    rows = [{key: value for key, value in row.items() if key != "split"} for row in numbered(4)]
    source = dump(tmp_path / "preference.jsonl", rows)
    assert pairwise(capsys, source, tmp_path / "out", "--split_ratio", 0.5, 0.5)[1]["skipped"] == {}


def test_nothing_left_says_what_was_removed(tmp_path, capsys):
    source = dump(tmp_path / "preference.jsonl", [judged("q", 0), judged("p", 1, "same", "same")])
    code, _, error = pairwise(capsys, source, tmp_path / "out", "--ties", "drop")
    assert code == 2 and "no pair is left of 2 rows" in error
    assert "removed by filters: 1 identical_responses, 1 ties; unusable rows: none" in error
    assert not (tmp_path / "out").exists()


# --- turns ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        ("Hello", ["Hello"]),
        ("  a\nb \n", ["a\nb"]),
        ("a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc", ["a", "b", "c"]),
        ("a\r\n<extra_id_1>Assistant \r\nb\n\nb\n<extra_id_1>User\nc\n", ["a", "b\n\nb", "c"]),
        ("<extra_id_1>User\na", ["a"]),
        ("a<extra_id_1>Assistant\nb<extra_id_1>User\nc", ["a", "b", "c"]),
        ("User: a\nAssistant: b", ["User: a\nAssistant: b"]),
    ],
)
def test_markers_become_turns(prompt, turns):
    found = parse_turns(prompt)
    assert [turn["content"] for turn in found] == turns
    assert [turn["role"] for turn in found] == [("user", "assistant")[place % 2] for place in range(len(turns))]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a\n<extra_id_1>User\nb", "repeated_speaker"),
        ("a\n<extra_id_1>Assistant\nb\n<extra_id_1>Assistant\nc\n<extra_id_1>User\nd", "repeated_speaker"),
        ("a\n<extra_id_1>Assistant\nb", "assistant_last"),
        ("a\n<extra_id_1>Assistant\n \n<extra_id_1>User\nc", "empty_turn"),
        ("a\n<extra_id_1>Assistant\nb\n<extra_id_1>User", "empty_turn"),
        ("<extra_id_1>Assistant\nb\n<extra_id_1>User\nc", "empty_turn"),
        ("<extra_id_1>User\n", "empty_turn"),
        ("a\n<extra_id_1>System\nb", "unknown_marker"),
        ("a\n<extra_id_1>Assistant: b\n<extra_id_1>User\nc", "unknown_marker"),
        ("a\n<extra_id_1>", "unknown_marker"),
    ],
)
def test_malformed_conversations_are_refused_by_reason(prompt, reason):
    with pytest.raises(RowError) as caught:
        parse_turns(prompt)
    assert caught.value.reason == reason


# --- inputs and outputs -----------------------------------------------------------------------------------------------


def test_every_input_format_gives_the_same_bytes(tmp_path, capsys):
    import pyarrow
    import pyarrow.parquet

    rows, written = numbered(6), set()
    dump(tmp_path / "a.jsonl", rows)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
    (tmp_path / "d.json").write_text(json.dumps(rows, indent=1))
    dump(tmp_path / "e.json", rows)
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "d.json", "e.json"):
        assert pairwise(capsys, tmp_path / name, tmp_path / "out")[0] == 0
        written.add((tmp_path / "out" / f"{name[0]}_train.jsonl").read_bytes())
    assert len(written) == 1


def test_a_bad_element_of_a_json_array_has_its_number(tmp_path, capsys):
    source = tmp_path / "preference.json"
    source.write_text("\ufeff" + json.dumps([*numbered(2), 7, judged("p")]), encoding="utf-8")
    code, _, error = pairwise(capsys, source, tmp_path / "out")
    assert code == 2 and f"not_an_object 1 (first: {source}:3: expected objects in the array, found a int)" in error
    source.write_text('[\n{"a": 1},\n')
    code, _, error = pairwise(capsys, source, tmp_path / "out", "--max_skipped_share", 1)
    assert code == 2 and f"{source}:3: not a JSON array" in error


def test_the_output_formats_hold_the_same_rows_and_repeat_byte_for_byte(tmp_path, capsys):
    import pyarrow.parquet

    source = dump(tmp_path / "preference.jsonl", [*numbered(1100), judged("\u2028 é 🙂", 1, split="validation")])
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        flags = ("--path", source, "--output_dir", folder, "--formats", "parquet", "jsonl", "json")
        code, printed, _ = build(capsys, "helpsteer2-pairwise", *flags)
        assert code == 0
        assert json.loads((folder / "__reports__" / "helpsteer2_pairwise.report.json").read_text()) == json.loads(
            printed
        )
    names = sorted(str(file.relative_to(folders[0])) for file in folders[0].rglob("*.*"))
    assert len(names) == 7
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    for side, count in (("train", 2200), ("test", 2)):
        rows = load(folders[0] / f"preference_{side}.jsonl")
        assert len(rows) == count
        written = {file: rows for file, rows in json.loads(printed)["files"].items() if f"_{side}." in file}
        assert written == {f"preference_{side}.{name}": count for name in ("parquet", "jsonl", "json")}
        assert json.loads((folders[0] / f"preference_{side}.json").read_text()) == rows
        table = pyarrow.parquet.read_table(folders[0] / f"preference_{side}.parquet")
        assert table.column_names == COLUMNS and table.to_pylist() == rows


def test_several_files_keep_apart_or_become_one(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    dump(tmp_path / "in" / "a.jsonl", numbered(3))
    repeated = [judged("q0", -3), judged("q9", 2), judged("q8", 1, split="validation")]
    dump(tmp_path / "in" / "b.jsonl", repeated)
    code, report, _ = pairwise(capsys, tmp_path / "in", tmp_path / "out")
    assert code == 0
    assert report["files"] == {"a_train.jsonl": 6, "b_train.jsonl": 2, "b_test.jsonl": 2}
    # A pair that two files hold is written once.
    assert report["filtered"]["duplicates"] == 1
    parts = [load(tmp_path / "out" / name) for name in report["files"]]
    assert [[row["extra_info"]["index"] for row in part] for part in parts] == [[0, 1, 2, 3, 4, 5], [0, 1], [0, 1]]

    merged = ("--preserve_structure", "false", "--name", "both")
    code, report, _ = pairwise(capsys, tmp_path / "in" / "*.jsonl", tmp_path / "merged", *merged)
    assert code == 0 and report["files"] == {"both_train.jsonl": 8, "both_test.jsonl": 2}
    assert [row["pair_id"] for row in sides(tmp_path / "merged", "both")[0]] == [
        row["pair_id"] for row in parts[0] + parts[1]
    ]
    assert (tmp_path / "merged" / "__reports__" / "both.report.json").exists()


def test_files_of_one_name_in_two_folders_keep_their_folders(tmp_path, capsys):
    for place, name in enumerate("xy"):
        (tmp_path / "in" / name).mkdir(parents=True)
        dump(tmp_path / "in" / name / "preference.jsonl", [judged(f"q{place}")])
    code, report, _ = pairwise(capsys, tmp_path / "in" / "**" / "*.jsonl", tmp_path / "out")
    assert code == 0 and list(report["files"]) == ["x/preference_train.jsonl", "y/preference_train.jsonl"]
    assert len(load(tmp_path / "out" / "x" / "preference_train.jsonl")) == 2
    # A file and its unpacked copy would have one name, and the second would overwrite the first.
    dump(tmp_path / "in" / "x" / "preference.json", [judged("q")])
    code, _, error = pairwise(capsys, tmp_path / "in" / "x" / "*", tmp_path / "out2")
    assert code == 2 and "x/preference.json and " in error and "would both be written as preference" in error
    assert pairwise(capsys, tmp_path / "in" / "x" / "*", tmp_path / "out2", "--preserve_structure", "false")[0] == 0
    assert pairwise(capsys, tmp_path / "in" / "x", tmp_path / "out3", "--preserve_structure", "false")[0] == 2


def test_neither_an_input_nor_a_file_of_another_run_is_mistaken_for_an_output(tmp_path, capsys):
    source = dump(tmp_path / "a_train.jsonl", numbered(3))
    source.rename(tmp_path / "a.jsonl")
    both = dump(tmp_path / "a_train.jsonl", numbered(3))
    before = both.read_bytes()
    code, _, error = pairwise(capsys, tmp_path / "a*.jsonl", tmp_path)
    assert code == 2 and "a_train.jsonl is an input and would be overwritten" in error
    assert both.read_bytes() == before

    out = tmp_path / "out"
    assert pairwise(capsys, both, out, "--split_ratio", 0.5, 0.5)[0] == 0
    code, _, error = pairwise(capsys, both, out)
    assert code == 2 and "a_train_test.jsonl is of an earlier run" in error


def test_a_tilde_is_the_home_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    dump(tmp_path / "preference.jsonl", numbered(2))
    (tmp_path / "rubric.txt").write_text("be kind\n")
    config = {"dataset": {"configs": {"path": "~/preference.jsonl"}, "export": {"output_dir": "~/out"}}}
    (tmp_path / "data_config.yaml").write_text(json.dumps(config))
    flags = ("--config", "~/data_config.yaml", "--formats", "jsonl", "--rubric", "~/rubric.txt")
    code, printed, _ = build(capsys, "helpsteer2-pairwise", *flags)
    assert code == 0 and len(sides(tmp_path / "out")[0]) == 4
    assert json.loads(printed)["prompt"]["rubric"] == ["be kind"]


def test_the_hub_is_read_from_its_preference_folder(tmp_path, capsys, monkeypatch):
    rows = {"train": [*numbered(3), judged("p", None)], "other": numbered(2)}
    cache = hub_copy(monkeypatch, tmp_path, "nvidia/HelpSteer2", rows, data_dir="preference")
    dump(tmp_path / "nvidia" / "HelpSteer2" / "train.jsonl", numbered(9))  # the ratings, which are no preferences
    flags = ("--output_dir", tmp_path / "out", "--formats", "jsonl", "--max_skipped_share", 0.25)
    code, printed, _ = build(capsys, "helpsteer2-pairwise", *flags)
    report = json.loads(printed)
    assert code == 0 and report["source"] == "nvidia/HelpSteer2/preference[train]"
    assert "nvidia/HelpSteer2/preference[train]:4: " in report["skipped"]["missing_field"]["first"]
    assert report["files"] == {"preference_train.jsonl": 6}
    assert not list(cache.rglob("*.arrow"))
    more = ("--type", "huggingface", "--streaming", "false", "--huggingface_split", "other")
    code, printed, _ = build(capsys, "helpsteer2-pairwise", *flags, *more)
    assert code == 0 and json.loads(printed)["files"] == {"preference_train.jsonl": 4}
    assert list(cache.rglob("*.arrow"))


def test_an_unreachable_hub_is_exit_code_1_with_a_way_out(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and HF_HUB_OFFLINE is set
    code, _, error = build(capsys, "helpsteer2-pairwise", "--output_dir", tmp_path / "out")
    assert code == 1 and "Couldn't reach 'nvidia/HelpSteer2' on the Hub" in error
    assert "; a local copy can be given with --path" in error


# --- prompt and settings ----------------------------------------------------------------------------------------------


def test_rubric_examples_and_thinking_reach_the_prompt(tmp_path, capsys):
    source = dump(tmp_path / "preference.jsonl", [judged()])
    (tmp_path / "rubric.txt").write_text("correct\n\n  complete  \n")
    example = {"prompt": "2+2?", "response_a": "4", "response_b": "5", "label": "A", "reason": "B is wrong."}
    multi = {"prompt": "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc", "response_a": "x", "response_b": "y"}
    dump(tmp_path / "examples.jsonl", [example, multi | {"label": "tie"}])
    flags = ("--rubric", tmp_path / "rubric.txt", "--examples", tmp_path / "examples.jsonl", "--thinking", "true")
    _, report, _ = pairwise(capsys, source, tmp_path / "out", *flags)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    examples = (
        Example(({"role": "user", "content": "2+2?"},), "4", "5", "A", "B is wrong."),
        Example(tuple(turns), "x", "y", "tie"),
    )
    prompt = PairwisePrompt(("correct", "complete"), examples, thinking=True)
    (first, _), _ = sides(tmp_path / "out")
    assert first["messages"][0]["content"] == prompt([{"role": "user", "content": "q"}], "one", "two")
    assert report["prompt"] == {
        "rubric": ["correct", "complete"], "examples": 2, "thinking": True, "ties": True, "max_chars": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ('{"prompt": "q"}\n', (), "examples.jsonl:1: missing field 'response_a'"),
        ('{"promt": "q"}\n', (), "unknown field 'promt' of an example; did you mean 'prompt'?"),
        ('{"prompt":"q","response_a":"x","response_b":"y","label":"C"}\n', (), "examples.jsonl:1: the label of an"),
        ('{"prompt":"q","response_a":"x","response_b":"y","label":"tie"}\n', ("--ties", "drop"), "ties are not off"),
        ("\n", (), "no example in it"),
    ],
)
def test_a_wrong_example_is_named(tmp_path, capsys, text, flags, message):
    source = dump(tmp_path / "preference.jsonl", [judged()])
    (tmp_path / "examples.jsonl").write_text(text)
    flags = ("--examples", tmp_path / "examples.jsonl", *flags)
    code, _, error = pairwise(capsys, source, tmp_path / "out", *flags)
    assert code == 2 and message in error


def test_an_empty_rubric_is_an_error(tmp_path, capsys):
    source = dump(tmp_path / "preference.jsonl", [judged()])
    (tmp_path / "rubric.txt").write_text(" \n")
    code, _, error = pairwise(capsys, source, tmp_path / "out", "--rubric", tmp_path / "rubric.txt")
    assert code == 2 and "rubric.txt: no line to judge by" in error


GUIDE = """
dataset:
  name: helpsteer2_pairwise
  configs:
    type: local
    source: helpsteer2_pairwise
    path: {folder}/preference.jsonl
    limit: 30
  prompt: {{ties: drop, thinking: true, max_prompt_chars: 2000}}
  export:
    output_dir: {folder}/yaml
    formats: ["parquet", "jsonl"]
    preserve_structure: true
    split_ratio: {{train: 0.8, test: 0.2}}
    seed: -1
"""


def test_yaml_and_flags_write_the_same_bytes_and_a_flag_goes_first(tmp_path, capsys):
    source = dump(tmp_path / "preference.jsonl", numbered(50))
    config = tmp_path / "data_config.yaml"
    config.write_text(GUIDE.format(folder=tmp_path))
    flags = [
        *("--type", "local", "--path", source, "--limit", 30, "--ties", "drop", "--thinking", "true"),
        *("--max_prompt_chars", 2000, "--formats", "parquet", "jsonl", "--preserve_structure", "true"),
        *("--split_ratio", 0.8, 0.2, "--seed=-1", "--name", "helpsteer2_pairwise"),
    ]
    assert build(capsys, "helpsteer2-pairwise", "--config", config)[0] == 0
    assert build(capsys, "helpsteer2-pairwise", *flags, "--output_dir", tmp_path / "flags")[0] == 0
    names = sorted(str(file.relative_to(tmp_path / "yaml")) for file in (tmp_path / "yaml").rglob("*.*"))
    endings = ("_test.jsonl", "_test.parquet", "_train.jsonl", "_train.parquet")
    assert names == ["__reports__/helpsteer2_pairwise.report.json", *(f"preference{ending}" for ending in endings)]
    for name in names:
        assert (tmp_path / "yaml" / name).read_bytes() == (tmp_path / "flags" / name).read_bytes(), name
    over = ("--config", config, "--output_dir", tmp_path / "over", "--formats", "json", "--limit", 5)
    code, printed, _ = build(capsys, "helpsteer2-pairwise", *over)
    assert code == 0 and json.loads(printed)["files"] == {"preference_train.json": 8, "preference_test.json": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("dataset:", "datset:"), "unknown key 'datset' in the file; did you mean 'dataset'?"),
        (("name:", "nmae:"), "unknown key 'nmae' in dataset; did you mean 'name'?"),
        (("limit:", "limt:"), "unknown key 'limt' in dataset.configs; did you mean 'limit'?"),
        (("split_ratio:", "split_ration:"), "unknown key 'split_ration' in dataset.export; did you mean 'split_ratio'"),
        (("test: 0.2", "tset: 0.2"), "unknown key 'tset' in dataset.export.split_ratio; did you mean 'test'?"),
        (("source: helpsteer2_pairwise", "source: helpsteer2_pairwse"), "did you mean 'helpsteer2_pairwise'?"),
        (("type: local", "type: locl"), "type: unknown value 'locl'; did you mean 'local'?"),
        (('"parquet", ', '"parqet", '), "formats: unknown value 'parqet'; did you mean 'parquet'?"),
        (("ties: drop", "ties: dorp"), "ties: unknown value 'dorp'; did you mean 'drop'?"),
        (("thinking: true", "thinking: ture"), "thinking: unknown value 'ture'; did you mean 'true'?"),
        (("limit: 30", "limit: 0"), "limit: '0' is not a whole number of at least 1"),
        (("limit: 30", "limit: [3]"), "limit must be one value; found [3]"),
        (("test: 0.2", "test: 0.1"), "--split_ratio 0.8 0.1: must sum to 1"),
        (("train: 0.8, test: 0.2", "train: 0, test: 1"), "--split_ratio 0 1: must sum to 1 and leave something to"),
        ((", test: 0.2", ""), "split_ratio needs train and test; found {'train': 0.8}"),
        (("type: local", "type: huggingface"), "has no meaning with --type huggingface"),
        (("limit: 30", "streaming: true"), "--streaming has no meaning for local files"),
        (("name: helpsteer2_pairwise", "name: a/b"), "--name 'a/b' becomes part of file names"),
        (("  configs:", "  annotation: {}\n  configs:"), "unknown key 'annotation' in dataset; "),
        (("dataset:", "dataset: ["), "not YAML"),
    ],
)
def test_a_wrong_config_is_named_and_nothing_is_written(tmp_path, capsys, change, message):
    dump(tmp_path / "preference.jsonl", numbered(10))
    config = tmp_path / "data_config.yaml"
    text = GUIDE.format(folder=tmp_path)
    assert text.count(change[0]) >= 1
    config.write_text(text.replace(*change, 1))
    code, _, error = build(capsys, "helpsteer2-pairwise", "--config", config)
    assert code == 2 and message in error
    assert "--" in message or "data_config.yaml: " in error
    assert not (tmp_path / "yaml").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tie", "keep"], "unknown option '--tie'; did you mean '--ties'?"),
        (["--ties", "class"], "unknown value 'class'; Valid: keep, drop"),
        (["--formats", "csv"], "unknown value 'csv'"),
        (["--type", "local"], "--type local needs --path"),
        ([], "--output_dir is needed (in YAML: dataset.export.output_dir)"),
        (["--path", "nowhere.jsonl", "--output_dir", "out"], "nowhere.jsonl: no such file"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_flags(capsys, flags, message):
    flags = ["--output_dir", "out", *flags] if flags[:1] == ["--type"] else flags
    code, _, error = build(capsys, "helpsteer2-pairwise", *flags)
    assert code == 2 and message in error


# --- the trainers' readers --------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("format_name", ["parquet", "jsonl", "json"])
def test_ms_swift_hands_every_column_to_the_reward(warm_swift, tmp_path, capsys, format_name, streaming):
    source = dump(tmp_path / "preference.jsonl", numbered(3))
    for name in {format_name, "jsonl"}:
        assert pairwise(capsys, source, tmp_path / "out", formats=name)[0] == 0
    rows, _ = sides(tmp_path / "out")
    file = tmp_path / "out" / f"preference_train.{format_name}"
    done = warm_swift.run("tests.datasets_builders.swift_rows", [file, streaming], dict(os.environ), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("ROWS "))[5:])
    assert [{name: row[name] for name in COLUMNS} for row in seen] == rows


@pytest.mark.parametrize("format_name", ["parquet", "jsonl", "json"])
def test_datasets_gives_trl_and_verl_what_was_written(tmp_path, capsys, format_name):
    import datasets

    source = dump(tmp_path / "preference.jsonl", numbered(3))
    for name in {format_name, "jsonl"}:
        assert pairwise(capsys, source, tmp_path / "out", formats=name)[0] == 0
    file = str(tmp_path / "out" / f"preference_train.{format_name}")
    kind = "parquet" if format_name == "parquet" else "json"
    loaded = datasets.load_dataset(kind, data_files=file, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == sides(tmp_path / "out")[0]


def test_identical_texts_are_filtered_and_not_skipped():
    assert read_pair(judged(first="a", second="a\n")) == Filtered("identical_responses")
