"""The claim about one policy for all weights: what its files say, what its warm-up shows, and a rehearsal of all its runs."""

import json
import os
import random

import pytest

pytest.importorskip("doit")

from launch.common.statistics import student_mean
from launch.reproduce.claim import Place
from launch.reproduce.claims.moodpo_steering import CLAIM, ENDS, FULL, SHARES, measure, stages
from launch.reproduce.sentences import make_tokenizer
from launch.reproduce.steered_fronts import STEERED, TITLES
from launch.reproduce.steered_rows import continued
from launch.reproduce.words import TOPICS, words_a, words_b
from tests.conftest import REPOSITORY
from trl_ext.moodpo.instruction import annotate

SEEDS, FIXED = (0, 1, 2), FULL.fixed
EVENLY = [share / 10 for share in range(11)]


def cell(value):
    return {"value": value, "low": None, "high": None, "n": 8}


def store(place, seed, correlations):
    """A steered policy that scores 3 w in the sea and 3 (1 - w) in the garden, `long` with twice as many, one of each elsewhere."""
    times = {"steered": 3.0, "long": 6.0}

    def row(label, arm, w):
        sea, garden = (times[arm] * w, times[arm] * (1 - w)) if arm in times else (1.0, 1.0)
        return {"label": label, "scores": {"sea": cell(sea), "garden": cell(garden)}}

    rows = [row("untouched", "untouched", 0), *(row(f"fixed{100 * w:g}", "fixed", w) for w in FIXED)]
    rows += [
        row(f"{arm}_{round(100 * w)}-{round(100 - 100 * w)}", arm, w) for arm in (*STEERED, "soup") for w in EVENLY
    ]
    policies = {arm: {"spearman": [cell(None), cell(0.5)]} for arm in (*STEERED, "soup")}
    policies["steered"] = {"spearman": [cell(value) for value in correlations]}
    folder = place.of(seed, "pareto")
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(
        json.dumps({"points": rows, "policies": policies, "hv_reference": {"raw": [0.0, 0.0]}})
    )
    place.of(seed, "distances.json").write_text(json.dumps({row["label"]: 2.0 + seed for row in rows}))


@pytest.mark.parametrize(("garden", "holds"), [(0.95, True), (0.85, False)])
def test_both_scores_must_follow_the_weights_and_fronts_are_compared_at_the_five_weights(tmp_path, garden, holds):
    place = Place(tmp_path, SEEDS)
    for seed in SEEDS:
        store(place, seed, (1.0, garden + seed / 100))
    found = measure(place)
    assert found.holds is holds
    assert found.estimate == student_mean([garden + seed / 100 - 0.9 for seed in SEEDS])
    curves = {arm: [value for _, value in found.arms[arm].curves[1]] for arm in TITLES}
    assert curves["steered"] == pytest.approx([3 * (w * w + (1 - w) ** 2) for w in sorted(FIXED)], abs=1e-9)
    assert curves["fixed"] == curves["untouched"] == pytest.approx([1.0] * 5)

    def other(text):
        (one,) = [estimate for phrase, estimate in found.others.items() if phrase.startswith(text)]
        return one.value

    assert other(f"share of the way between the ends that lies from 20 to 80, evenly 0.6: {TITLES['steered']}") == (
        pytest.approx(0.6)
    )
    # Steps at (3, 0), (2.4, 0.6), (1.5, 1.5), (0.6, 2.4) and (0, 3): 0.6 x 2.4 + 0.9 x 1.5 + 0.9 x 0.6.
    assert other(f"hypervolume: {TITLES['steered']}") == pytest.approx(3.33)
    assert other(f"hypervolume, {TITLES['long']} minus: {TITLES['fixed']}") == pytest.approx(4 * 3.33 - 1)
    assert other(f"smaller of the two Spearman correlations: {TITLES['unprepared']}") == 0.0
    assert other(f"KL from the untouched model in nats: {TITLES['soup']}") == pytest.approx(3.0)


def test_seeds_share_the_language_alone_and_all_but_one_policy_start_at_their_seeds_warm_up(tmp_path):
    found = stages(Place(tmp_path, (0, 1)))
    one, two = ([stage for stage in found if stage.name.partition("_s")[2][:1] == seed] for seed in "01")
    assert len(found) == 2 + 2 * len(one) and len(one) == len(two)
    trained = 0
    for stage in one:
        (command,) = stage.commands
        assert "seed1" not in command.printable()
        if "trl_ext.moodpo.script" in command.argv:
            trained += 1
            prepared = (
                command.argv[command.argv.index("--model_path") + 1 :][:1] == [f"{tmp_path}/seed0/warmup"]
                if ("--model_path" in command.argv)
                else False
            )
            assert prepared is not stage.name.startswith("unprepared")
    assert trained == 3 + len(FIXED)
    names = {stage.name.partition("_s0")[0] for stage in one}
    assert set(CLAIM.shared) <= set(TITLES) and {name for needed in CLAIM.shared.values() for name in needed} <= names


def test_every_share_of_an_objective_is_one_token_and_no_other_text_is_read_otherwise():
    tokenizer, plain = make_tokenizer(SHARES), make_tokenizer()
    for share in range(11):
        asked = annotate(
            [{"role": "user", "content": "the boat saw"}],
            ["sea", "garden"],
            [share / 10, 1 - share / 10],
            system_role=True,
        )
        ids = tokenizer(tokenizer.apply_chat_template(asked, tokenize=False))["input_ids"]
        words = tokenizer.convert_ids_to_tokens(ids)
        assert [word for word in words if "%" in word] == [f"{10 * share}% sea", f"{100 - 10 * share}% garden"]
        assert words[-3:] == ["the", "boat", "saw"]
    for text in ("the basket of a boat .", "as sea %"):
        assert tokenizer(text)["input_ids"] == plain(text)["input_ids"]
    with pytest.raises(ValueError, match="'boat' is known already"):
        make_tokenizer(["50% sea", "boat"])


@pytest.mark.parametrize(("weights", "sea", "garden"), [((1.0, 0.0), 3.0, 0.2), ((0.0, 1.0), 0.2, 3.0)])
def test_rows_of_the_warm_up_keep_to_what_is_asked_and_their_prompts_tell_nothing(weights, sea, garden):
    generator = random.Random(0)
    rows = [continued(generator, ["a", "b"], weights, 20) for _ in range(400)]
    assert {(len(prompt), len(answer)) for prompt, answer in rows} == {(6, 20)}
    prompts, answers = ([" ".join(words) for words in side] for side in zip(*rows, strict=True))
    means = [sum(score([""] * 400, answers)) / 400 for score in (words_a, words_b)]
    more, less = sorted(means, reverse=True)
    assert (means[0] > means[1]) is (sea > garden) and more > 2 and less < 0.5
    beginnings = [sum(score([""] * 400, prompts)) for score in (words_a, words_b)]
    assert abs(beginnings[0] - beginnings[1]) < 60 and {"a", "b"} < set(TOPICS)


@pytest.mark.integration
def test_a_rehearsal_runs_all_of_it_and_decides_nothing(warm_trl, tmp_path):
    argv = ["reproduce", "moodpo-steering", "--out", tmp_path / "out", "--seeds", "0", "--rehearsal"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = warm_trl.server.run("launch", list(map(str, argv)), env, REPOSITORY, warm_children=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    found = json.loads((tmp_path / "out" / "claim.json").read_text())
    assert found["rehearsal"] and set(found["arms"]) == set(TITLES)
    assert all([w for w, _ in arm["curves"]["0"]] == sorted(ENDS) for arm in found["arms"].values())
    nats = json.loads((tmp_path / "out" / "seed0" / "distances.json").read_text())
    assert nats.pop("untouched") == pytest.approx(0, abs=1e-5) and min(nats.values()) > 1e-5
    assert len(nats) == len(ENDS) * (len(STEERED) + 2)
