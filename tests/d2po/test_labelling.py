"""What happens to one window, with a gold function and a discriminator whose every number is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from trl_ext.d2po.gold_labels import GoldLabels, Request
from trl_ext.d2po.judge import WindowJudge
from trl_ext.d2po.labelling import Window, decide_by_gold, decide_by_scores, decide_with_labels, score_all
from trl_ext.d2po.ledger import Ledger
from trl_ext.d2po.shaping import Shaping, ShapingSettings


class Gold:
    """The number that an answer ends with is its gold score."""

    name, costs_money = "number", False

    def __init__(self):
        self.asked = []

    def __call__(self, prompts, responses, metadata=None):
        self.asked += responses
        return [float(text.split()[-1]) for text in responses]


class Learner:
    """Scores by a table; after an update by another one."""

    def __init__(self, before: dict[str, float], after: dict[str, float] | None = None):
        self.table, self.after, self.updates = before, after or before, []

    def score(self, prompts, responses):
        return [self.table[text] for text in responses]

    def update(self, pairs, number):
        self.updates.append((number, [tuple(pair) for pair in pairs]))
        self.table = self.after
        return {"pairs": float(len(pairs))}


PLAIN = ShapingSettings()


def window(*rows: list[str]) -> Window:
    return Window(
        [f"q{i}" for i in range(len(rows))], list(rows), np.full((len(rows), len(rows[0])), 5), [{}] * len(rows)
    )


@pytest.fixture
def gold(tmp_path):
    def make(max_labels=None) -> GoldLabels:
        return GoldLabels(Gold(), Ledger(tmp_path, max_labels))

    return make


def decide(rows: Window, learner: Learner, gold: GoldLabels, budget: int, shaping=PLAIN, update=True):
    return decide_with_labels(
        rows, score_all(rows, learner.score), Shaping(shaping), gold, budget=budget, selection="confidence",
        generator=np.random.default_rng(0), discriminator=learner if update else None, number=7, where={"window": 3},
    )  # fmt: skip


THREE = window(["a 1", "b 2"], ["c 5", "d 4"], ["e 0", "f 9"])
SCORES = {"a 1": 0.5, "b 2": 0.4, "c 5": 1.0, "d 4": 3.0, "e 0": 2.0, "f 9": 2.3}


def test_labels_go_to_the_smallest_gaps_and_the_rest_is_scored_anew(gold):
    after = {"a 1": 0.0, "b 2": -1.0, "c 5": 4.0, "d 4": 3.0, "e 0": 6.0, "f 9": 5.0}
    learner, labels = Learner(SCORES, after), gold()
    decision = decide(THREE, learner, labels, budget=2)
    assert learner.updates == [(7, [("q0", "b 2", "a 1", 1.0), ("q2", "f 9", "e 0", 9.0)])]
    assert decision.labelled.tolist() == [True, False, True] and decision.places.tolist() == [[0, 1]] * 3
    # the labelled pairs by gold with the new scores, the other one by the new scores alone
    assert decision.scores.tolist() == [[-1.0, 0.0], [4.0, 3.0], [5.0, 6.0]] and decision.weights.tolist() == [1, 1, 1]
    expected = {
        "labels": 2,
        "labelled": 2 / 3,
        "updates": 8,
        "accuracy_before": 0.5,
        "ties": 0,
        "label_ties": 0,
        "discriminator_pairs": 2,
    }
    assert decision.metrics == pytest.approx(expected | {"silver_gold_agreement": 1.0})


def test_without_an_update_the_old_scores_decide(gold):
    learner = Learner(SCORES, {})
    decision = decide(THREE, learner, gold(), budget=1, update=False)
    assert not learner.updates and decision.scores.tolist() == [[0.4, 0.5], [1.0, 3.0], [2.0, 2.3]]
    assert decision.metrics["updates"] == 7 and decision.metrics["silver_gold_agreement"] == 0.5


def test_equal_answers_are_never_bought_and_train_nothing(gold):
    rows = window(["a 1", "a 1"], ["c 5", "d 4"])
    labels = gold()
    decision = decide(rows, Learner(SCORES), labels, budget=2)
    assert labels.spent == 1 and decision.labelled.tolist() == [False, True] and decision.weights.tolist() == [0, 1]


def test_a_tie_of_gold_is_spent_and_teaches_nothing(gold):
    rows = window(["a 1", "x 1"], ["c 5", "d 4"])
    learner = Learner(SCORES | {"x 1": 0.45})
    decision = decide(rows, learner, gold(), budget=2)
    assert [pair[0] for pair in learner.updates[0][1]] == ["q1"]  # the tied pair is not learnt from
    assert decision.labelled.tolist() == [True, True] and decision.scores[0].tolist() == [0.5, 0.45]
    assert decision.metrics["label_ties"] == 0.5
    learner = Learner(SCORES | {"x 1": 0.45})
    assert decide(window(["a 1", "x 1"]), learner, gold(), budget=1).metrics["updates"] == 7 and not learner.updates


def test_ties_of_gold_are_counted_among_the_labels_that_were_bought_alone(gold):
    rows = window(["a 1", "x 1"], ["c 5", "d 4"], ["e 0", "f 0"])
    decision = decide_by_gold(rows, gold(max_labels=2), Shaping(PLAIN), {})
    assert decision.labelled.tolist() == [True, True, False] and decision.metrics["label_ties"] == 0.5


def test_a_label_decides_a_pair_that_the_discriminator_ties(gold):
    decision = decide(window(["a 1", "b 2"]), Learner({"a 1": 1.0, "b 2": 1.0}), gold(), budget=1)
    assert decision.weights.tolist() == [1] and decision.scores[0, 1] > decision.scores[0, 0] == 1.0


def test_a_labelled_pair_stays_the_pair_that_was_labelled(gold):
    """Of three or more answers the new scores may prefer another pair; gold knows nothing about that one."""
    rows = window(["a 1", "b 2", "c 5", "d 4"])
    before = {"a 1": 0.0, "b 2": 1.0, "c 5": 0.5, "d 4": 0.5}
    after = {"a 1": 3.0, "b 2": 2.0, "c 5": 9.0, "d 4": -9.0}
    decision = decide(rows, Learner(before, after), gold(), budget=1)
    assert decision.places.tolist() == [[0, 1]] and decision.scores.tolist() == [[2.0, 3.0]]
    free = decide(rows, Learner(before, after), gold(), budget=0)
    assert free.places.tolist() == [[0, 1]]  # nothing was learnt, so nothing is scored anew


def test_shaping_acts_before_pairs_and_beside_labels(gold):
    rows = window(["long enough 1", "b 2", "and another 0", "d 4"])
    scores = {"long enough 1": 0.0, "b 2": 5.0, "and another 0": 1.0, "d 4": 6.0}
    decision = decide(rows, Learner(scores), gold(), budget=1, shaping=ShapingSettings(keep_long=3))
    assert decision.places.tolist() == [[1, 2]]  # the worst of the shaped ones is the short answer with the lower score
    assert decision.scores.tolist() == [[5.0 - 20.0, 1.0]]  # gold agrees with the raw order 5 > 1; brevity costs 20


def test_the_budget_of_the_book_ends_labels_in_the_middle_of_a_window(gold):
    labels = gold(max_labels=1)
    learner = Learner(SCORES)
    assert decide(THREE, learner, labels, budget=2).labelled.tolist() == [True, False, False]
    decision = decide(window(["n 3", "m 8"]), Learner({"n 3": 2.0, "m 8": 1.0}), labels, budget=2)
    assert not decision.labelled.any() and np.isnan(decision.metrics["accuracy_before"]) and labels.spent == 1


def test_a_known_label_is_free(gold):
    labels = gold(max_labels=1)
    first = decide(THREE, Learner(SCORES), labels, budget=1)
    labels.gold.asked.clear()
    again = decide(THREE, Learner(SCORES), labels, budget=1)
    assert again.labelled.tolist() == first.labelled.tolist() and labels.spent == 1
    assert again.scores.tolist() == first.scores.tolist()


def test_gold_alone_trains_only_what_was_bought_whatever_the_shaping(gold):
    rows = window(["a 1", "b 2"], ["c 5", "d 4 4 4"])
    decision = decide_by_gold(rows, gold(max_labels=1), Shaping(ShapingSettings(keep_long=3)), {"window": 0})
    assert decision.weights.tolist() == [1, 0] and decision.labelled.tolist() == [True, False]
    assert decision.scores[0].tolist() == [-19.0, -18.0]


def test_scores_alone_buy_nothing():
    decision = decide_by_scores(THREE, score_all(THREE, Learner(SCORES).score), Shaping(PLAIN))
    assert decision.scores.tolist() == [[0.5, 0.4], [1.0, 3.0], [2.0, 2.3]] and not decision.labelled.any()


def test_a_score_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match=r"the score nan of 'd 4' is not finite"):
        score_all(THREE, Learner(SCORES | {"d 4": float("nan")}).score)


class Paid(Gold):
    name, costs_money = "paid", True

    def __call__(self, prompts, responses, metadata=None):
        return [float("nan") if "?" in text else float(text.split()[-1]) for text in responses]

    def score_pairs(self, prompts, first, second, metadata=None):
        return [(None, None) if "?" in a else (1.0, 4.0) for a in first]

    def keep_answers(self, folder, retry_failed=False):
        self.kept_in = folder


def test_what_is_paid_for_is_kept_beside_the_book(tmp_path):
    """A label of two answers is eight requests; those that came before one fails must not be paid for again."""
    paid = Paid()
    args = SimpleNamespace(
        shaping=PLAIN, gold="paid", build_gold=lambda: paid, eval_gold=None, output_dir=str(tmp_path), max_labels=5
    )
    WindowJudge(args, SimpleNamespace(is_main_process=True, num_processes=1), Learner({}))
    assert paid.kept_in == tmp_path / "d2po_gold_answers"


def test_paid_pairs_are_asked_together_and_never_peeked_at(tmp_path):
    labels = GoldLabels(Paid(), Ledger(tmp_path, 5))
    rows = window(["a", "b"], ["c?", "d"])
    decision = decide(rows, Learner({"a": 0.0, "b": -1.0, "c?": 0.5, "d": 0.0}), labels, budget=2)
    assert not labels.gold.asked and labels.spent == 2 and "silver_gold_agreement" not in decision.metrics
    assert decision.scores.tolist() == [[-1.0, 0.0], [0.5, 0.0]]  # what could not be rated stays as it was


@pytest.mark.parametrize(
    ("answers", "gold"),
    [
        (["a 3", "b? 9", "c 1"], [3.0, 2.0, 1.0]),
        (["a? 3", "b 4", "c? 1"], [4.0, 4.0, 4.0]),
        (["a? 3", "b? 4", "c? 1"], [0.0, 0.0, 0.0]),
    ],
)
def test_what_a_paid_gold_cannot_rate_alone_never_decides_a_pair_and_never_ends_the_run(tmp_path, answers, gold):
    """Seen before: one unreadable rating ended the run, and each restart met it again in the answers that are kept."""
    labels = GoldLabels(Paid(), Ledger(tmp_path))
    decision = decide_by_gold(window(answers, ["d 5", "e 1", "f 2"]), labels, Shaping(PLAIN), {"window": 0})
    assert labels.get([Request("q0", answers, {})], {}) == [gold]
    assert decision.weights.tolist() == [float(len(set(gold)) > 1), 1.0]
    assert decision.scores.tolist() == [[max(gold), min(gold)], [5.0, 1.0]]


def test_an_infinite_rating_of_a_paid_gold_is_still_refused(tmp_path):
    labels = GoldLabels(Paid(), Ledger(tmp_path))
    with pytest.raises(ValueError, match=r"one finite number each is valid"):
        labels.get([Request("q", ["a 1", "b inf", "c 2"], {})], {})
