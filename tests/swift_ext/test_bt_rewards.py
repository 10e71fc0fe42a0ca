"""The seven rewards: worked numbers, ordering under every setting, swapped sides, and what they refuse."""

import itertools
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("swift")

from datasets_builders.scoring.parsers import get_parser
from swift_ext.bt_grpo.rewards import COUNTS, REWARDS, BTPairShared, PairReward, metrics_of

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bt_rewards.json").read_text())["rewards"]
PAIR_REWARDS = {name: one for name, one in REWARDS.items() if issubclass(one, PairReward)}
RUN_FILES = sorted((Path(__file__).parents[2] / "launch" / "runs" / "bt_grpo").glob("*.yaml"))
PRESETS = [path for path in RUN_FILES if "rlhf_type" in yaml.safe_load(path.read_text())]
CASES = [(name, case) for name, cases in VECTORS.items() for case in cases]


def make(monkeypatch, name: str, **settings) -> PairReward:
    for variable, value in settings.items():
        monkeypatch.setenv(variable, str(value))
    return REWARDS[name](args=None)


def call(reward, completions, pair_id, side, preferred_side, **columns):
    return reward(completions=completions, pair_id=pair_id, side=side, preferred_side=preferred_side, **columns)


def tags(*scores) -> list[str]:
    return ["nothing" if score is None else f"<s>{score}</s>" for score in scores]


def one_pair(reward, first, second, preferred=0):
    """Rewards of one pair, side 0 and side 1."""
    completions = tags(*first, *second)
    side = [0] * len(first) + [1] * len(second)
    rewards = call(reward, completions, [0] * len(side), side, [preferred] * len(side))
    return rewards[: len(first)], rewards[len(first) :]


# --- worked numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_vectors(monkeypatch, name, case):
    """The recorded rewards, except where the reference is wrong:

    - an answer without a score had -1 although wrong answers went lower: the value is set by hand here;
    - a tie was worth as much as a wrong answer in the binary and graded rewards: likewise;
    - a pair of which a side is missing was punished: it is an error;
    - hard mining with eps 0 made an answer without a score the best of its pair, with 0: it is the worst.
    """
    environment = dict(case["env"])
    if case.get("raises"):
        with pytest.raises(KeyError, match="score5_first"):
            make(monkeypatch, name, **environment)
        return
    if name in ("bt_pointwise_binary", "bt_pointwise_graded", "bt_pointwise_graded_hardpair"):
        wrong = "BT_REWARD_NEG" if name.endswith("binary") else "BT_REWARD_WRONG"
        environment["BT_REWARD_TIE"] = environment.get(wrong, -1.0 if name.endswith("binary") else 0.0)
        malformed = environment.get("BT_REWARD_NEG", -1.0) if name.endswith("binary") else -0.5
    else:
        malformed = -1.0
    environment.setdefault("BT_REWARD_PARSE_FAIL", malformed)
    reward = make(monkeypatch, name, **environment)
    rows = {key: case[key] for key in ("completions", "pair_id", "side", "preferred_side")}
    if len(set(case["side"])) < 2:
        with pytest.raises(ValueError, match="only side"):
            call(reward, **rows)
        return
    expected = list(case["rewards"])
    if environment.get("BT_HARD_EPS") == 0:
        parser = get_parser(environment["BT_SCORE_PARSER"])
        expected = [
            -1.0 if parser(text) is None else one for text, one in zip(case["completions"], expected, strict=True)
        ]
    assert call(reward, **rows) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_an_answer_without_a_score_is_at_the_bottom_by_default(monkeypatch):
    reward = make(monkeypatch, "bt_pointwise_baseline", BT_SCORE_PARSER="score100_last", BT_DELTA_TEMP=1,
                  BT_DELTA_NEG_CLIP=1.1, BT_REWARD_SCALE=14.4, BT_REWARD_OFFSET=10)  # fmt: skip
    (malformed, wrong), _ = one_pair(reward, [None, 0], [100, 100])
    assert wrong == pytest.approx(-9.97763, abs=1e-4) and malformed <= wrong


def test_the_bottom_is_under_wrong_answers_of_heavier_pairs(monkeypatch):
    """With lambda 3 a wrong answer in a barely right pair is worth three times that of a wrong pair."""
    reward = make(monkeypatch, "bt_pointwise_baseline_hardmine", BT_SCORE_PARSER="score100_last", BT_DELTA_TEMP=100,
                  BT_HARD_LAMBDA=3)  # fmt: skip
    (wrong, right, malformed), _ = one_pair(reward, [0, 100, None], [49, 49, 49])
    assert malformed <= wrong < -2.5 < right


# --- order ------------------------------------------------------------------------------------------------------------


def assert_ordered(reward, scale):
    """malformed <= wrong < tie < right among the completions of one side, close to the other side's mean and far off."""
    middle = (scale.low + scale.high) / 2
    if isinstance(reward, BTPairShared):  # compares completion with completion, so each gap needs a pair of its own

        def rewards_at(*gaps):
            return [one_pair(reward, [scale.write(middle + gap)], [scale.write(middle)])[0][0] for gap in gaps]
    else:

        def rewards_at(*gaps):
            own = [scale.write(middle + gap) for gap in gaps]
            return one_pair(reward, own, [scale.write(middle)] * len(own))[0]

    for gap in (10**-scale.decimals, scale.high - middle):
        right, tie, wrong = rewards_at(gap, 0, -gap)
        malformed = one_pair(reward, [None, scale.write(middle)], [scale.write(middle)] * 2)[0][0]
        assert malformed <= wrong < tie < right, (gap, malformed, wrong, tie, right)
    lowest, malformed = one_pair(reward, [scale.write(scale.low), None], [scale.write(scale.high)] * 2)[0]
    assert malformed <= lowest


@pytest.mark.parametrize("name", sorted(PAIR_REWARDS))
@pytest.mark.parametrize("parser", ["score100_last", "score5_last"])
def test_order_with_defaults(monkeypatch, name, parser):
    reward = make(monkeypatch, name, BT_SCORE_PARSER=parser)
    assert_ordered(reward, get_parser(parser).scale)


def test_presets_are_shipped():
    assert len(PRESETS) >= 20


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_order_under_every_preset(monkeypatch, preset):
    run = yaml.safe_load(preset.read_text())
    names = run["reward_funcs"] if isinstance(run["reward_funcs"], list) else [run["reward_funcs"]]
    (name,) = [one for one in names if one in PAIR_REWARDS]
    environment = {key: value for key, value in run["ENV"].items() if key.startswith("BT_")}
    assert_ordered(make(monkeypatch, name, **environment), get_parser(environment["BT_SCORE_PARSER"]).scale)


@given(
    name=st.sampled_from(sorted(PAIR_REWARDS)),
    temperature=st.sampled_from([0.3, 1.0, 5.0, 20.0]),
    negative_clip=st.sampled_from([0.0, 1.1, 2.0]),
    offset=st.sampled_from([0.0, 0.693, 10.0]),
    first=st.lists(st.integers(0, 100), min_size=2, max_size=2),
    second=st.lists(st.integers(0, 100), min_size=2, max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_malformed_is_never_above_a_scored_answer(name, temperature, negative_clip, offset, first, second):
    with pytest.MonkeyPatch.context() as monkeypatch:
        environment = {"BT_SCORE_PARSER": "score100_first", "BT_DELTA_TEMP": temperature, "BT_SCORE_TEMP": temperature,
                       "BT_DELTA_NEG_CLIP": negative_clip, "BT_REWARD_OFFSET": offset}  # fmt: skip
        reward = make(monkeypatch, name, **environment)
        ours, theirs = one_pair(reward, [*first, None], [*second, None])
        assert ours[2] <= min(ours[:2]) and theirs[2] <= min(theirs[:2])


@given(
    name=st.sampled_from(sorted(PAIR_REWARDS)),
    first=st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=3, max_size=3),
    second=st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=3, max_size=3),
    preferred=st.integers(0, 1),
)
@settings(max_examples=300, deadline=None)
def test_swapping_sides_and_label_changes_nothing(name, first, second, preferred):
    with pytest.MonkeyPatch.context() as monkeypatch:
        reward = make(monkeypatch, name, BT_SCORE_PARSER="score100_last", BT_DELTA_TEMP=20)
        there = one_pair(reward, first, second, preferred)
        back = one_pair(reward, second, first, 1 - preferred)
        assert there == (back[1], back[0])
        if there[0] != there[1] and None not in first + second and sorted(first) != sorted(second):
            flipped = one_pair(reward, first, second, 1 - preferred)
            assert flipped != there


@pytest.mark.parametrize("name", sorted(PAIR_REWARDS))
def test_a_pair_has_the_same_rewards_in_any_company(monkeypatch, name):
    """Interleaved rows of three pairs, one malformed throughout, get what each pair gets alone."""
    reward = make(monkeypatch, name, BT_SCORE_PARSER="score100_last", BT_DELTA_TEMP=20)
    pairs = {"a": ([80, 60], [40, 50], 0), "b": ([30, 30], [70, 90], 1), "c": ([None, None], [40, 50], 0)}
    rows = [
        (key, side, pairs[key][side][k], pairs[key][2]) for k, side, key in itertools.product((0, 1), (0, 1), pairs)
    ]
    together = call(reward, tags(*(row[2] for row in rows)), *([row[i] for row in rows] for i in (0, 1)),
                    [row[3] for row in rows])  # fmt: skip
    for key, (first, second, preferred) in pairs.items():
        alone = one_pair(reward, first, second, preferred)
        for row, value in zip(rows, together, strict=True):
            if row[0] == key:
                assert value in alone[row[1]]
        assert sum(v for r, v in zip(rows, together, strict=True) if r[0] == key) == pytest.approx(sum(map(sum, alone)))


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_counts_become_shares(monkeypatch):
    reward = make(monkeypatch, "bt_pointwise_baseline", BT_SCORE_PARSER="score100_last", BT_DELTA_TEMP=20)
    one_pair(reward, [80, 50], [50, None])  # margins 30 and 0 against the mean 50, then 15
    one_pair(reward, [10, 10], [90, 90])  # wrong by 80, four times, past three temperatures
    metrics = metrics_of(reward.take_counts())
    assert metrics == pytest.approx({
        "bt/parse_failure": 1 / 8, "bt/correct": 2 / 7, "bt/tie": 1 / 7, "bt/saturated": 4 / 7,
        "bt/margin": (15 - 80) / 2, "bt/pair_weight": 1.0,
    })  # fmt: skip
    assert reward.take_counts() == [0.0] * len(COUNTS)


def test_garbage_only_and_empty_batches_divide_by_nothing(monkeypatch):
    reward = make(monkeypatch, "bt_pointwise_graded", BT_SCORE_PARSER="score100_last")
    one_pair(reward, [None, None], [None, None])
    assert metrics_of(reward.take_counts()) == {"bt/parse_failure": 1.0}
    assert metrics_of(reward.take_counts()) == {}
    one_pair(reward, [50, 50], [50, 50])
    assert metrics_of(reward.take_counts())["bt/tie"] == 1.0


# --- refusals and settings --------------------------------------------------------------------------------------------


def test_rows_of_another_scale_are_refused(monkeypatch):
    reward = make(monkeypatch, "bt_pointwise_baseline", BT_SCORE_PARSER="score100_last")
    with pytest.raises(ValueError, match=r"score100_last reads score100, but the rows were made for score5_last"):
        call(reward, tags(3, 4), [0, 0], [0, 1], [0, 0], parser_name=["score5_last"] * 2)


def test_the_rows_say_how_scores_are_read(monkeypatch):
    reward = make(monkeypatch, "bt_pointwise_baseline", BT_DELTA_TEMP=20)
    assert reward.parser(["score100_first"] * 2).name == "score100_first"
    assert reward.parser().name == "score5_last"
    with pytest.raises(ValueError, match="several parsers"):
        reward.parser(["score100_first", "score5_first"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([0, 0], [0, 0], [0, 0]), "only side 0"),
        (([0, 0], [0, 1], [0, 1]), "preferred_side 0 and rows with preferred_side 1"),
        (([0, 0], [0, 2], [0, 0]), "must be 0 or 1"),
        (([0], [0, 1], [0, 0]), "needs these three columns"),
    ],
)
def test_rows_that_are_no_pairs_are_refused(monkeypatch, rows, message):
    reward = make(monkeypatch, "bt_pointwise_baseline", BT_SCORE_PARSER="score100_last")
    with pytest.raises(ValueError, match=message):
        call(reward, tags(1, 2), *rows)


def test_the_old_name_means_what_it_meant_for_each_reward(monkeypatch):
    with pytest.MonkeyPatch.context() as other:
        new = make(other, "bt_pointwise_graded_hardpair", BT_HARD_TEMP=2)
        expected = one_pair(new, [80], [40])
    with pytest.MonkeyPatch.context() as other:
        new = make(other, "bt_pointwise_baseline_hardmine", BT_HARD_THRESHOLD=2, BT_SCORE_PARSER="score100_last",
                   BT_DELTA_TEMP=20)  # fmt: skip
        threshold = one_pair(new, [80], [60]), one_pair(new, [80], [30])
    monkeypatch.setenv("BT_HARD_TAU", "2")
    assert one_pair(make(monkeypatch, "bt_pointwise_graded_hardpair"), [80], [40]) == expected
    old = make(monkeypatch, "bt_pointwise_baseline_hardmine", BT_SCORE_PARSER="score100_last", BT_DELTA_TEMP=20)
    assert (one_pair(old, [80], [60]), one_pair(old, [80], [30])) == threshold


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"BT_DELTA_TMEP": 5}, "did you mean.*BT_DELTA_TEMP|BT_DELTA_TEMP"),
        ({"BT_DELTA_TEMP": 0}, "BT_DELTA_TEMP"),
        ({"BT_REWARD_POS": -2}, "BT_REWARD_NEG"),
        ({"BT_REWARD_LOW": 2}, "BT_REWARD_HIGH"),
        ({"BT_HARD_TAU": 1, "BT_HARD_TEMP": 1}, "old name"),
        ({"BT_SCORE_PARSER": "score100_frist"}, "score100_first"),
        ({"BT_MIN_REWARD_STD_MODE": "zero"}, "BT_MIN_REWARD_STD is not"),
    ],
)
def test_bad_settings_are_named(monkeypatch, environment, message):
    with pytest.raises(ValueError, match=message):
        make(monkeypatch, "bt_pointwise_baseline", **environment)


@pytest.mark.parametrize(
    ("parser", "text", "expected"),
    [
        ("score100_first", "<s>75</s>\nClear.", 1.0),
        ("score100_first", "Clear. <s>75</s>", 0.0),
        ("score100_last", "Clear.\n<s>75</s>\n", 1.0),
        ("score100_last", "<s>75</s> Clear.", 0.0),
        ("score100_last", "<s>70</s> no, <s>75</s>", 0.0),
        ("score100_last", "Clear. <s>750</s>", 0.0),
        ("score100_last", "", 0.0),
    ],
)
def test_format_reward(monkeypatch, parser, text, expected):
    reward = make(monkeypatch, "bt_format", BT_SCORE_PARSER=parser)
    assert reward(completions=[text]) == [expected]


def test_weight_moves_from_the_reward_to_the_advantage(monkeypatch):
    weighted = make(monkeypatch, "bt_pointwise_graded_hardpair")
    plain = make(monkeypatch, "bt_pointwise_graded")
    in_reward = one_pair(weighted, [80, 60], [40, 50])
    outside = make(monkeypatch, "bt_pointwise_graded_hardpair", BT_PAIR_WEIGHT_ON="advantage")
    assert one_pair(outside, [80, 60], [40, 50]) == one_pair(plain, [80, 60], [40, 50])
    rows = tags(80, 60, 40, 50), [0] * 4, [0, 0, 1, 1], [0] * 4
    weights = outside.pair_weights(*rows)
    assert len(set(weights)) == 1 and 0 < weights[0] < 0.5
    assert in_reward[0][0] == pytest.approx(weights[0] * 1.4)
