"""HelpSteer: which pairs are made, in which order, what is counted, and that memory does not grow."""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_builders.helpsteer import ATTRIBUTES, new_report, parse_row, rated_pairs
from datasets_builders.scratch import scratch_database
from tests.datasets_builders.helpers import VECTORS, build, dump, load, rated


def pairs_of(rows, attribute, min_gap=1):
    report = new_report(attribute, "train", min_gap)
    with scratch_database() as database:
        found = rated_pairs(map(parse_row, rows), attribute, min_gap, database, report)
        return [(pair.prompt[0]["content"], pair.chosen, pair.rejected) for pair in found], report


def helpsteer(capsys, source, out, *more, attribute="helpfulness"):
    given_options = ["--attribute", attribute, "--split", "train", "--source", source, "--out", out]
    if "--format" not in more:
        more = ("--format", "trl", *more)
    return build(capsys, "helpsteer", *given_options, *more)


@pytest.mark.parametrize("attribute", [*ATTRIBUTES, "overall"])
def test_recorded_pairs_are_found_and_those_of_the_returning_prompt_too(attribute):
    # The recorded pairs were made by grouping neighbours, which loses the last row: prompt A stands at the beginning.
    # Grouping over the whole split finds all recorded pairs, and those of a4 in addition.
    recorded = set()
    for pair in VECTORS["helpsteer_pairs"]["pairs"]:
        chosen = pair[f"{attribute}_chosen_id"]
        if chosen != -1:
            recorded.add((pair["prompt"], pair[f"response_{chosen}"], pair[f"response_{1 - chosen}"]))
    found, _ = pairs_of(VECTORS["helpsteer_pairs"]["rows"], attribute)
    assert recorded < set(found)
    added = set(found) - recorded
    assert all("a4" in pair for pair in added)
    # a4 has the highest rating everywhere; in coherence it ties with a1 and a2.
    assert added == {("A", "a4", other) for other in (["a3"] if attribute == "coherence" else ["a1", "a2", "a3"])}


def brute_force(rows, attribute, min_gap):
    """An independent reference: look at every pair of the whole split, then sort."""
    first_row = {}
    for index, row in enumerate(rows):
        first_row.setdefault(row["prompt"], index)
    value = [sum(row[name] for name in ATTRIBUTES) if attribute == "overall" else row[attribute] for row in rows]
    found = []
    for j, k in combinations(range(len(rows)), 2):
        same = rows[j]["prompt"] == rows[k]["prompt"] and rows[j]["response"] != rows[k]["response"]
        if same and abs(value[j] - value[k]) >= min_gap:
            high, low = (j, k) if value[j] > value[k] else (k, j)
            sides = (rows[j]["prompt"], rows[high]["response"], rows[low]["response"])
            found.append(((first_row[rows[j]["prompt"]], j, k), sides))
    return [sides for _, sides in sorted(found)]


# NUL and emoji, because rows travel through a database; "a " and "a", because prompts must not be stripped together.
row_strategy = st.builds(
    rated,
    st.sampled_from(["a", "a ", "b\x00", "b", "c🙂"]),
    st.sampled_from(["r1", "r2", "r3", "r4\x00", "r5ü"]),
    *[st.integers(0, 4)] * 5,
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(row_strategy, max_size=25).flatmap(st.permutations),
    st.sampled_from([*ATTRIBUTES, "overall"]),
    st.integers(1, 5),
)
def test_grouping_equals_brute_force_on_shuffled_rows(rows, attribute, min_gap):
    found, report = pairs_of(rows, attribute, min_gap)
    assert found == brute_force(rows, attribute, min_gap)
    sizes = [sum(row["prompt"] == prompt for row in rows) for prompt in {row["prompt"] for row in rows}]
    assert report["prompts"] == len(sizes)
    assert report["pairs"] + sum(report["filtered"].values()) == sum(size * (size - 1) // 2 for size in sizes)


def test_command_line_writes_both_formats_and_a_report(tmp_path, capsys):
    source = dump(tmp_path / "in.jsonl", VECTORS["helpsteer_pairs"]["rows"])
    out = tmp_path / "pairs.jsonl"
    code, printed, _ = helpsteer(capsys, source, out, "--format", "swift", "--min_gap", 2)
    assert code == 0
    assert load(out)[0] == {
        "messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "a1"}],
        "rejected_response": "a3",
    }
    report = json.loads((tmp_path / "__reports__" / "pairs.jsonl.report.json").read_text())
    assert report == json.loads(printed)
    assert (report["rows"], report["prompts"], report["pairs"], report["written"]) == (7, 3, 3, 3)
    # A: a1-a2 is a tie, a1-a4 and a2-a4 differ by 1; C: c1-c2 is a tie.
    assert report["filtered"] == {"ties": 2, "below_gap": 2, "identical_responses": 0}
    assert helpsteer(capsys, source, out, "--limit", 1)[0] == 0
    assert load(out) == [
        {
            "prompt": [{"role": "user", "content": "A"}],
            "chosen": [{"role": "assistant", "content": "a1"}],
            "rejected": [{"role": "assistant", "content": "a3"}],
        }
    ]


def test_sft_writes_each_prompt_and_chosen_reply_once(tmp_path, capsys):
    rows = VECTORS["helpsteer_pairs"]["rows"]
    out = tmp_path / "sft.jsonl"
    code, _, _ = helpsteer(capsys, dump(tmp_path / "in.jsonl", rows), out, "--sft", attribute="overall")
    assert code == 0
    # a1 wins once and a2 twice; a4 wins three times and is written once.
    assert [[message["content"] for message in row["messages"]] for row in load(out)] == [
        ["A", "a2"],
        ["A", "a1"],
        ["A", "a4"],
    ]


def without(name, row):
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("bad", "message", "reason"),
    [
        (without("response", rated("q", "r", 3)), "missing field 'response'; the row has: coherence", "missing_field"),
        (without("verbosity", rated("q", "r", 3)), "missing field 'verbosity'", "missing_field"),
        (rated("q", "r", 3, 5, 1), "'correctness' must be from 0 to 4, found 5", "rating_out_of_range"),
        (rated("q", "r", 3, 1.5, 1), "'correctness' must be a whole number, found 1.5", "wrong_type"),
        (rated("q", "r", True), "must be a whole number, found True", "wrong_type"),
        (rated("q", " \n", 3), "field 'response' is empty", "empty_response"),
        (rated("", "r", 3), "field 'prompt' is empty", "empty_prompt"),
        (rated("q", "\ud800", 3), "cannot be stored as UTF-8", "invalid_unicode"),
    ],
)
def test_an_unusable_row_is_named_or_counted(tmp_path, capsys, bad, message, reason):
    good = [rated("p", "one", 1), rated("p", "two", 2)]
    source, out = dump(tmp_path / "in.jsonl", [*good, *good, bad, *good, bad]), tmp_path / "out.jsonl"
    code, _, error = helpsteer(capsys, source, out)
    assert code == 2
    assert f"error: {source}:5: " in error and message in error, "a share of 0 fails at the first unusable row"
    assert not out.exists()

    code, _, error = helpsteer(capsys, source, out, "--max_skipped_share", 0.2)
    assert code == 2
    assert "2 of 8 rows skipped" in error and f"{reason} 2 (first: " in error and "in.jsonl:5" in error
    assert not out.exists()

    code, printed, _ = helpsteer(capsys, source, out, "--max_skipped_share", 0.25)
    assert code == 0
    counted = json.loads(printed)["skipped"]
    assert counted[reason]["count"] == 2
    assert "in.jsonl:5: " in counted[reason]["first"]


def test_a_malformed_line_is_exit_code_2_whatever_the_share(tmp_path, capsys):
    source = dump(tmp_path / "in.jsonl", [rated("p", "one", 1)])
    with open(source, "a") as handle:
        handle.write('{"prompt": "p",\n')
    code, _, error = helpsteer(capsys, source, tmp_path / "out.jsonl", "--max_skipped_share", 1)
    assert code == 2
    assert "in.jsonl:2: not a JSON object" in error
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_empty_result_says_which_filter_removed_what(tmp_path, capsys):
    rows = [rated("p", "one", 1), rated("p", "two", 2), rated("p", "three", 2), rated("p", "two", 0)]
    source = dump(tmp_path / "in.jsonl", rows)
    code, _, error = helpsteer(capsys, source, tmp_path / "out.jsonl", "--min_gap", 3)
    assert code == 2
    assert "no pair is left of 4 rows" in error
    assert "1 ties, 4 below_gap, 1 identical_responses" in error
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--attribute", "helpfullness"], "did you mean 'helpfulness'?"),
        (["--split", "vaildation"], "did you mean 'validation'?"),
        (["--format", "swft"], "did you mean 'swift'?"),
        (["--atribute", "helpfulness"], "did you mean '--attribute'?"),
        (["--min_gap", "0"], "'0' is not a whole number of at least 1"),
        (["--max_skipped_share", "5"], "'5' is not a number from 0 to 1"),
        (["--out", "pairs.jsonl.gz"], "the output is plain JSONL"),
    ],
)
def test_misspelt_and_impossible_options(tmp_path, capsys, arguments, hint):
    options = {"--attribute": "overall", "--split": "train", "--format": "trl", "--out": str(tmp_path / "out.jsonl")}
    options |= {"--source": str(dump(tmp_path / "in.jsonl", [])), arguments[0]: arguments[1]}
    code, _, error = build(capsys, "helpsteer", *[word for option in options.items() for word in option])
    assert code == 2
    assert hint in error


def test_an_unknown_builder_offers_the_nearest(capsys):
    code, _, error = build(capsys, "helpster")
    assert code == 2
    assert "did you mean 'helpsteer'?" in error


# Peak memory of this process image. The maximum of getrusage would also contain the parent at the time of the fork,
# which in a test session can be far larger than what is measured here.
MEASURE = """
import sys
from datasets_builders.__main__ import main
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from the Linux process table")
@pytest.mark.parametrize("mode", [[], ["--sft"]], ids=["pairs", "sft"])
def test_peak_memory_does_not_grow_with_the_rows(tmp_path, mode):
    """20 bytes a row would be seen; found: less than 3."""
    peaks = []
    for count in (20_000, 80_000):
        source = tmp_path / f"{count}.jsonl"
        with open(source, "w") as handle:
            for number in range(count):
                # The responses to one prompt stand as far apart as the file allows.
                row = rated(f"prompt {number % (count // 4)}", f"response {number} " + "x" * 150, number * 4 // count)
                handle.write(json.dumps(row) + "\n")
        options = ["--attribute", "overall", "--split", "train", "--format", "trl", "--source", source]
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, "helpsteer", *map(str, options), "--out", tmp_path / "out.jsonl", *mode],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows"] == count
        peaks.append(int(done.stderr))
        source.unlink()
    assert peaks[1] < 1.05 * peaks[0], f"peak memory in KiB: {peaks}"


def test_the_turns_of_helpsteer2_are_messages(tmp_path, capsys):
    """Its prompts hold a conversation with markers, which were words of the user."""
    prompt = "Hello\n<extra_id_1>Assistant\nHi\n<extra_id_1>User\nWhich?"
    source = dump(tmp_path / "rows.jsonl", [rated(prompt, "This.", 4), rated(prompt, "That.", 1)])
    flags = ["--attribute", "helpfulness", "--split", "train", "--format", "trl", "--source", source]
    assert build(capsys, "helpsteer", *flags, "--out", tmp_path / "o.jsonl")[0] == 0
    ((row),) = load(tmp_path / "o.jsonl")
    assert [(turn["role"], turn["content"]) for turn in row["prompt"]] == [
        ("user", "Hello"), ("assistant", "Hi"), ("user", "Which?"),
    ]  # fmt: skip
    broken = dump(tmp_path / "broken.jsonl", [rated("Hello\n<extra_id_1>Assistant\nHi", "This.", 4)])
    code, _, error = build(capsys, "helpsteer", *flags[:-1], broken, "--out", tmp_path / "b.jsonl")
    assert code == 2 and "broken.jsonl:1: the prompt ends with a turn of the assistant" in error
