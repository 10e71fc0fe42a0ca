"""The claim about MODPO's front: worked numbers of three seeds, what every arm is told to do, and whose CPU seconds are whose."""

import pytest

pytest.importorskip("doit")
pytest.importorskip("moocore")

from launch.common.statistics import student_mean
from launch.reproduce.claim import Place
from launch.reproduce.claims.modpo_front import CLAIM, GROUP, PAIRS_A_STEP, ROLLOUTS, SCALE, STEPS, stages
from launch.reproduce.fronts import FRONTS, TITLES, WEIGHTS, compared
from launch.reproduce.trade_off import worth
from launch.reproduce.words import reward_a, reward_b, words_a, words_b

SEEDS = (2, 3, 4)
# Words of A and of B at w = 0.2, 0.5, 0.8, and nats at each.
POINTS = {
    "untouched": ([(1.0, 1.0)] * 3, 0.0),
    "morl": ([(1.0, 1.5), (1.25, 1.25), (1.5, 1.0)], 0.25),
    "modpo": ([(1.0, 1.25), (1.125, 1.125), (1.25, 1.0)], 0.125),
    "function": ([(1.0, 1.25), (1.125, 1.125), (1.25, 1.0)], 0.125),
    "soup": ([(1.0, 1.25), (1.0, 1.0), (1.25, 1.0)], 0.125),
    "mixed": ([(1.0, 1.0), (1.0, 1.0), (0.0, 0.0)], 1.0),
    "optimum": ([(0.75, 2.5), (1.5, 1.5), (2.5, 0.75)], 0.5),
    "unadvised": ([(1.0, 1.0)] * 3, 0.5),
}
TAKEN = {
    "morl": [180.0, 200.0, 220.0],
    "modpo": [200.0] * 3,
    "function": [100.0] * 3,
    "soup": [110.0] * 3,
    "mixed": [115.0] * 3,
    "ends": [72.0] * 3,
}


def measured(seed: int) -> dict:
    """What `trade_off` writes: seeds differ by a 64th of a word in all of A."""
    policies, optimum = {}, {}
    for arm, (points, kl) in POINTS.items():
        for w, (a, b) in zip(WEIGHTS, points, strict=True):
            means = {"a": a + seed / 64, "b": b, "kl": kl}
            j = {f"{asked:g}": worth(means, asked, 2.0, 1.0) for asked in WEIGHTS}
            if arm == "optimum":
                optimum[f"{w:g}"] = {**means, "j": j[f"{w:g}"]}
            else:
                policies["untouched" if arm == "untouched" else f"{arm}{w:g}"] = {**means, "j": j}
    return {"policies": policies, "optimum": optimum}


@pytest.fixture(scope="module")
def found():
    return compared({seed: measured(seed) for seed in SEEDS}, TAKEN)


def test_what_is_worth_more_to_its_weights_wins_seed_by_seed(found):
    """J of MODPO over the untouched: 2 (0.8 / 4 + 1 / 8 + 0.8 / 4) / 3 - 1 / 8 in words and nats, the same in every seed."""
    gain = 2 * (0.2 + 0.125 + 0.2) / 3 - 0.125
    assert found.holds and found.estimate.value == pytest.approx(gain)
    assert found.estimate.high - found.estimate.low == pytest.approx(0, abs=1e-9)
    reinforced = 2 * (0.4 + 0.25 + 0.4) / 3 - 0.25
    assert found.others[f"MODPO by adapter minus: {TITLES['morl']}"].value == pytest.approx(gain - reinforced)
    assert set(found.arms) == {*TITLES} - {"mixed"}
    assert [w for w, _ in found.arms["morl"].curves[3]] == list(WEIGHTS)


def test_a_hypervolume_is_over_no_words_at_all_with_the_divergence_beside_it(found):
    """By hand, a step of words of A at a time, 3 / 64 more of A in the middle seed, which is the mean."""
    more = 3 / 64
    areas = {
        "untouched": 1 + more,
        "soup": 1.25 + 0.25 + more * 1.25,
        "modpo": (1 + more) * 1.25 + 0.125 * 1.125 + 0.125 * 1,
        "morl": (1 + more) * 1.5 + 0.25 * 1.25 + 0.25 * 1,
        "optimum": (0.75 + more) * 2.5 + 0.75 * 1.5 + 1 * 0.75,
        "mixed": 1 + more,  # a run without the words of either list adds nothing and takes nothing
    }
    for arm, area in areas.items():
        assert found.others[
            f"hypervolume above no word at all, words of A x words of B: {TITLES[arm]}"
        ].value == pytest.approx(area), arm
    nats = {
        arm: found.others[f"KL from the untouched model in nats: {TITLES[arm]}"].value for arm in (*FRONTS, "optimum")
    }
    assert nats == {arm: POINTS[arm][1] for arm in (*FRONTS, "optimum")}


def test_a_larger_w_has_more_of_a_and_fewer_of_b(found):
    """MODPO's points: an eighth of a word of A more at each step, and an eighth of B fewer."""
    steps = {phrase: one.value for phrase, one in found.others.items() if " words of " in phrase and "from w" in phrase}
    assert len(steps) == 4 and sum(": more words of A" in phrase for phrase in steps) == 2
    assert set(steps.values()) == {0.125}


def test_costs_are_of_whole_fronts_and_their_ratio_is_paired(found):
    told = {phrase: one for phrase, one in found.others.items() if "CPU seconds" in phrase or "not run" in phrase}
    assert sum(phrase.startswith("CPU seconds of a whole front") for phrase in told) == len(FRONTS)
    by_adapter, by_function, learnt = list(told.values())[-3:]
    assert by_adapter == student_mean([0.9, 1.0, 1.1]) and by_function == student_mean([1.8, 2.0, 2.2])
    assert learnt == student_mean([252 / 200, 272 / 200, 292 / 200])


def test_the_two_dpo_ends_count_for_both_arms_that_need_them(tmp_path):
    costs = {stage.name: {"cpu_seconds": 1.0} for stage in stages(Place(tmp_path, (1, 12)))}
    wanted = {"modpo": 3 + 2, "soup": 3 + 2, "function": 3, "mixed": 3, "morl": 3, "ends": 2}
    for seed in (1, 12):
        assert {arm: CLAIM.cpu_seconds(costs, arm, seed) for arm in wanted} == wanted
    assert CLAIM.cpu_seconds(costs, "modpo") == 10 and CLAIM.cpu_seconds(costs, "untouched") == 0


def test_reinforcement_learning_has_the_same_objective_and_sees_as_many_answers(tmp_path):
    by_name = {stage.name: stage.commands[0].argv for stage in stages(Place(tmp_path, (2,)))}
    for w in WEIGHTS:
        argv = by_name[f"morl_s2_morl{w:g}"]
        assert argv[:3] == ["python", "-m", "trl.scripts.grpo"]

        def value(flag, many=1, argv=argv):
            at = argv.index(f"--{flag}")
            return argv[at + 1 : at + 1 + many]

        assert [float(text) for text in value("reward_weights", 2)] == pytest.approx([SCALE * w, SCALE * (1 - w)])
        assert value("reward_funcs", 2) == [f"launch.reproduce.words.reward_{name}" for name in "ab"]
        assert value("beta") == ["1.0"] and value("scale_rewards") == ["none"]
        offline = by_name["ends_s2_end_a"]
        for flag in ("learning_rate", "lora_r", "lora_alpha", "max_steps", "beta"):
            assert value(flag) == value(flag, argv=offline)
    assert ROLLOUTS * STEPS == 2 * PAIRS_A_STEP * STEPS == 3840 and ROLLOUTS % GROUP == 0


def test_rewards_are_the_counts_that_label_the_pairs():
    texts = ["the boat and the boat saw a tulip", "no word", "wave tide rose."]
    asked = {"prompts": ["p"] * 3, "completions": texts, "completion_ids": [[1]] * 3, "trainer_state": None}
    assert reward_a(**asked) == words_a(["p"] * 3, texts) == [1.0, 0.0, 2.0]
    assert reward_b(**asked) == words_b(["p"] * 3, texts) == [1.0, 0.0, 1.0]
