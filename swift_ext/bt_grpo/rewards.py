"""The seven Bradley-Terry rewards and a format reward for ms-swift's `orms`: one scorer, thin registered classes.

A reward call holds every completion of a rank's generation batch, and, because `PairRepeatSampler` deals them so, both
sides of each of its pairs. Signs: higher is better; malformed <= wrong < tie < right within a pair, with the defaults and
in every shipped run file (set by hand, `BT_REWARD_PARSE_FAIL`, `BT_REWARD_TIE` or a weight of 0 can undo it).
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from swift.rewards import ORM
from swift.utils import get_logger

from datasets_builders.scoring.parsers import ScoreParser, get_parser
from swift_ext.settings import read_settings
from trl_ext.objectives.bradley_terry import (
    difference,
    directional_margins,
    log_sigmoid,
    mean,
    scaled_margin,
    sigmoid,
    softplus,
)

from .settings import BTSettings

logger = get_logger()


@dataclass
class Pair:
    """One pair of a reward call: which completions are on which side, and their scores."""

    preferred: list[int]
    other: list[int]
    scores_preferred: list[float | None]
    scores_other: list[float | None]

    @property
    def margin(self) -> float | None:
        """Mean score of the preferred side minus that of the other, None if a side has no score."""
        preferred, other = mean(self.scores_preferred), mean(self.scores_other)
        return None if preferred is None or other is None else difference(preferred, other)


def group_pairs(
    scores: Sequence[float | None],
    pair_id: Sequence[Hashable],
    side: Sequence[int],
    preferred_side: Sequence[int],
) -> dict[Hashable, Pair]:
    """The pairs of a reward call, in the order in which they appear.

    Raises:
        ValueError: a side that is neither 0 nor 1, rows of one pair that disagree on the preferred side, or a pair of
            which only one side is there.
    """
    pairs: dict[Hashable, tuple[int, dict[int, list[int]]]] = {}
    for row, (identity, where, preferred) in enumerate(zip(pair_id, side, preferred_side, strict=True)):
        if where not in (0, 1) or preferred not in (0, 1):
            raise ValueError(f"pair {identity}: side {where!r} and preferred_side {preferred!r} must be 0 or 1")
        known, sides = pairs.setdefault(identity, (preferred, {0: [], 1: []}))
        if known != preferred:
            raise ValueError(f"pair {identity} has rows with preferred_side 0 and rows with preferred_side 1")
        sides[where].append(row)
    grouped = {}
    for identity, (preferred, sides) in pairs.items():
        if not sides[0] or not sides[1]:
            raise ValueError(
                f"pair {identity} has only side {1 if sides[1] else 0} in this reward call: these rewards compare the two "
                "sides, which PairGRPOTrainer keeps together (--external_plugins $(python -m swift_ext bt_grpo))"
            )
        ours, theirs = sides[preferred], sides[1 - preferred]
        grouped[identity] = Pair(ours, theirs, [scores[row] for row in ours], [scores[row] for row in theirs])
    return grouped


class PairReward(ORM):
    """The scorer: parses the completions, forms the margins, and rewards each by `value(margin) * weight(pair)`.

    Raises:
        ValueError: a bad setting (see `BTSettings`), or, when called, rows that are no whole pairs or were written for
            a parser of another scale.
    """

    uses: ClassVar[frozenset[str]] = frozenset()
    default_parser: ClassVar[str] = "score5_last"
    malformed: ClassVar[float] = -1.0  # of the reference; lowered to the worst attainable value
    weighted: ClassVar[bool] = False
    slope: ClassVar[str] = ""  # what the value's changing slope says about pairs, where it has one

    def __init__(self, args=None, **kwargs):
        super().__init__(args, **kwargs)
        self.settings = read_settings(BTSettings)
        if self.settings.score_parser is not None:
            get_parser(self.settings.score_parser)
        if self.settings.hard_tau is not None and self.weighted:
            logger.warning(f"BT_HARD_TAU is an old name; for this reward set {self.old_tau}")
        self.counts: Counter[str] = Counter()

    old_tau: ClassVar[str] = ""

    def parser(self, parser_name: Sequence[str] | None = None) -> ScoreParser:
        """The parser of `BT_SCORE_PARSER`, else of the rows, else the reward's own.

        Raises:
            ValueError: rows of several parsers, or `BT_SCORE_PARSER` reads another scale than the rows were made for.
        """
        of_rows = sorted(set(parser_name or ()))
        if len(of_rows) > 1:
            raise ValueError(f"the rows were made for several parsers, {of_rows}: train on one prompt at a time")
        chosen = get_parser(self.settings.score_parser or (of_rows or [self.default_parser])[0])
        if of_rows and get_parser(of_rows[0]).scale != chosen.scale:
            raise ValueError(
                f"BT_SCORE_PARSER={chosen.name} reads {chosen.scale.name}, but the rows were made for {of_rows[0]}"
            )
        return chosen

    def value(self, margin: float) -> float:
        """The reward of one completion before the pair's weight; increasing in the margin (score points)."""
        raise NotImplementedError

    def weight(self, pair_margin: float) -> float:
        """The weight of a pair, at least 0, never increasing in its margin (score points)."""
        return 1.0

    def is_saturated(self, margin: float) -> bool:
        """Whether a larger margin would hardly change the value."""
        return False

    def failure(self, parser: ScoreParser) -> float:
        """The reward of an answer without a score: `BT_REWARD_PARSE_FAIL`, else at most the worst wrong one."""
        if self.settings.reward_parse_fail is not None:
            return self.settings.reward_parse_fail
        farthest = parser.scale.low - parser.scale.high
        heaviest = max(self.weight(pair_margin) for pair_margin in (farthest, 0.0, -farthest))
        return min(self.malformed, self.value(farthest), heaviest * self.value(farthest))

    def margins(self, pair: Pair) -> tuple[list[float | None], list[float | None]]:
        """The margins of the two sides' completions."""
        return directional_margins(pair.scores_preferred, pair.scores_other)

    def __call__(
        self,
        completions: Sequence[str],
        pair_id: Sequence[Hashable] = (),
        side: Sequence[int] = (),
        preferred_side: Sequence[int] = (),
        parser_name: Sequence[str] | None = None,
        **kwargs,
    ) -> list[float]:
        """A reward for each completion; see `group_pairs` for the rows."""
        if not len(completions) == len(pair_id) == len(side) == len(preferred_side):
            raise ValueError(
                f"{len(completions)} completions, but {len(pair_id)} values of pair_id, {len(side)} of side and "
                f"{len(preferred_side)} of preferred_side: the data set needs these three columns"
            )
        parser = self.parser(parser_name)
        scores = [parser(completion) for completion in completions]
        rewards = [self.failure(parser)] * len(completions)
        self.counts.update(completions=len(scores), unparsable=sum(score is None for score in scores))
        for pair in group_pairs(scores, pair_id, side, preferred_side).values():
            self._reward(pair, rewards)
        return rewards

    def _reward(self, pair: Pair, rewards: list[float]) -> None:
        pair_margin = pair.margin
        if pair_margin is None:
            return
        weight = self.weight(pair_margin)
        applied = weight if self.settings.pair_weight_on == "reward" else 1.0
        self.counts.update(pairs=1, pair_margin=pair_margin, pair_weight=weight)
        for rows, margins in zip((pair.preferred, pair.other), self.margins(pair), strict=True):
            for row, margin in zip(rows, margins, strict=True):
                if margin is not None:
                    rewards[row] = applied * self.value(margin)
                    self.counts.update(
                        scored=1, correct=margin > 0, tie=margin == 0, saturated=self.is_saturated(margin)
                    )

    def pair_weights(self, completions, pair_id, side, preferred_side, parser_name=None) -> list[float]:
        """The weight of each completion's pair; 1 where a side has no score."""
        parser = self.parser(parser_name)
        weights = [1.0] * len(completions)
        scores = [parser(completion) for completion in completions]
        for pair in group_pairs(scores, pair_id, side, preferred_side).values():
            if pair.margin is not None:
                for row in (*pair.preferred, *pair.other):
                    weights[row] = self.weight(pair.margin)
        return weights

    def take_counts(self) -> list[float]:
        """The counts since the last call, in the order of `COUNTS`, and forgets them."""
        taken, self.counts = self.counts, Counter()
        return [float(taken[name]) for name in COUNTS]


COUNTS = (
    "completions",
    "unparsable",
    "scored",
    "correct",
    "tie",
    "saturated",
    "pairs",
    "pair_margin",
    "pair_weight",
)


def metrics_of(counts: Sequence[float]) -> dict[str, float]:
    """Shares and means of summed `COUNTS`; a share of nothing is left out.

    `bt/correct` and `bt/tie` are shares of the completions that have a margin, `bt/margin` is in score points.
    """
    summed = dict(zip(COUNTS, counts, strict=True))
    shares = {
        "bt/parse_failure": ("unparsable", "completions"),
        "bt/correct": ("correct", "scored"),
        "bt/tie": ("tie", "scored"),
        "bt/saturated": ("saturated", "scored"),
        "bt/margin": ("pair_margin", "pairs"),
        "bt/pair_weight": ("pair_weight", "pairs"),
    }
    return {name: summed[part] / summed[whole] for name, (part, whole) in shares.items() if summed[whole]}


class BTBaseline(PairReward):
    """S log sigma(margin / T) + O, the margin bounded as set."""

    uses = frozenset({"delta_temp", "delta_clip", "delta_neg_clip", "delta_clip_kind", "reward_scale", "reward_offset"})
    slope = "the likelihood's weighting of hard against solved pairs"

    def _scaled(self, margin: float) -> float:
        s = self.settings
        return scaled_margin(margin, s.delta_temp, s.delta_clip, s.delta_neg_clip, soft=s.delta_clip_kind == "soft")

    def value(self, margin):
        return self.settings.reward_scale * log_sigmoid(self._scaled(margin)) + self.settings.reward_offset

    def is_saturated(self, margin):
        s = self.settings
        bound = s.delta_clip if margin > 0 else s.delta_neg_clip
        return abs(margin) / s.delta_temp >= (bound if bound > 0 else 3.0)


class BTPairShared(BTBaseline):
    """S log sigma((z_p - z_n) / T) of the k-th completion of each side, the same for both; no offset."""

    uses = BTBaseline.uses - {"reward_offset"}

    def value(self, margin):
        return self.settings.reward_scale * log_sigmoid(self._scaled(margin))

    def margins(self, pair):
        gaps = [
            None if preferred is None or other is None else preferred - other
            for preferred, other in zip(pair.scores_preferred, pair.scores_other, strict=False)
        ]
        return tuple(gaps + [None] * (len(rows) - len(gaps)) for rows in (pair.preferred, pair.other))


class BTHardmine(BTBaseline):
    """The baseline without offset, weighted by how wrong the pair is: 1 if wrong, lambda if barely right, else eps."""

    uses = BTBaseline.uses - {"reward_offset"} | {"hard_threshold", "hard_lambda", "hard_eps", "hard_tau"}
    weighted = True
    old_tau = "BT_HARD_THRESHOLD"

    def value(self, margin):
        return self.settings.reward_scale * log_sigmoid(self._scaled(margin))

    def weight(self, pair_margin):
        s = self.settings
        threshold = next((one for one in (s.hard_threshold, s.hard_tau) if one is not None), 0.25)
        gap = pair_margin / s.delta_temp
        return 1.0 if gap < 0 else s.hard_lambda if gap < threshold else s.hard_eps


class BTBinary(PairReward):
    """POS if right, NEG if wrong, halfway for a tie."""

    uses = frozenset({"reward_pos", "reward_neg", "reward_tie"})

    def __init__(self, args=None, **kwargs):
        super().__init__(args, **kwargs)
        self.malformed = self.settings.reward_neg

    def value(self, margin):
        s = self.settings
        if margin == 0:
            return (s.reward_pos + s.reward_neg) / 2 if s.reward_tie is None else s.reward_tie
        return s.reward_pos if margin > 0 else s.reward_neg


class BTGraded(PairReward):
    """HIGH if clearly right, LOW if right, WRONG if wrong, between WRONG and LOW for a tie."""

    uses = frozenset({"score_temp", "grade_thresh", "reward_low", "reward_high", "reward_wrong", "reward_tie"})
    default_parser = "score100_last"
    malformed = -0.5

    def value(self, margin):
        s, scaled = self.settings, margin / self.settings.score_temp
        if margin == 0:
            return (s.reward_wrong + s.reward_low) / 2 if s.reward_tie is None else s.reward_tie
        return s.reward_wrong if scaled < 0 else s.reward_low if scaled <= s.grade_thresh else s.reward_high

    def is_saturated(self, margin):
        return margin / self.settings.score_temp > self.settings.grade_thresh


class _Hardness:
    """Weight sigma(-margin / (T tau)) of a pair: near 1 when it is wrong, near 0 when it is clearly right."""

    weighted = True
    old_tau = "BT_HARD_TEMP"

    def weight(self, pair_margin):
        s = self.settings
        hardness_temperature = next((one for one in (s.hard_temp, s.hard_tau) if one is not None), 1.0)
        return sigmoid(-pair_margin / (s.score_temp * hardness_temperature))


class BTGradedHardPair(_Hardness, BTGraded):
    """The graded reward, weighted by the pair's hardness."""

    uses = BTGraded.uses | {"hard_temp", "hard_tau"}


class BTHardMargin(_Hardness, PairReward):
    """-softplus((gamma - margin / T) / T_m), weighted by the pair's hardness."""

    uses = frozenset({"score_temp", "margin_gamma", "margin_temp", "hard_temp", "hard_tau"})
    default_parser = "score100_last"
    slope = "the hinge's weighting of pairs without the wanted margin"

    def value(self, margin):
        s = self.settings
        return -softplus((s.margin_gamma - margin / s.score_temp) / s.margin_temp)

    def is_saturated(self, margin):
        s = self.settings
        return abs(margin / s.score_temp - s.margin_gamma) >= 3 * s.margin_temp


class BTFormat(ORM):
    """1 for an answer with exactly one score tag, where the parser looks for it (at the start or the end), else 0."""

    def __init__(self, args=None, **kwargs):
        super().__init__(args, **kwargs)
        self._scorer = BTBaseline(args)

    def __call__(self, completions, parser_name=None, **kwargs) -> list[float]:
        parser = self._scorer.parser(parser_name)
        return [float(self._is_well_formed(completion, parser)) for completion in completions]

    @staticmethod
    def _is_well_formed(completion: str, parser: ScoreParser) -> bool:
        text = completion.strip().lower()
        if parser(text) is None or text.count("<s>") != 1 or text.count("</s>") != 1:
            return False
        return text.startswith("<s>") if parser.take == "first" else text.endswith("</s>")


REWARDS = {
    "bt_pointwise_baseline": BTBaseline,
    "bt_pointwise_baseline_hardmine": BTHardmine,
    "bt_pointwise_pair_shared": BTPairShared,
    "bt_pointwise_binary": BTBinary,
    "bt_pointwise_graded": BTGraded,
    "bt_pointwise_graded_hardpair": BTGradedHardPair,
    "bt_hard_margin": BTHardMargin,
    "bt_format": BTFormat,
}
