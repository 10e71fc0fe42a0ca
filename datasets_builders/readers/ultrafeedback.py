"""UltraFeedback (https://huggingface.co/datasets/openbmb/UltraFeedback, arXiv 2310.01377).

A row holds one instruction and about four completions, each rated in four dimensions ("1" to "5", or "N/A") and
overall.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from datasets_builders.fields import RowError, require, require_text
from datasets_builders.pairs import PreferencePair, user
from datasets_builders.readers.base import Filtered, Part, Rules, SetReader

OVERALL = "overall"
DIMENSIONS = ("helpfulness", "honesty", "instruction_following", "truthfulness", OVERALL)


def parse_rating(value: Any) -> float | None:
    """A finite rating, or None where the annotator gave none (null, "N/A", other text): None never makes a label."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        rating = float(value)
    except ValueError:
        return None
    return rating if math.isfinite(rating) else None


def rating_of(completion: Mapping[str, Any], dimension: str) -> float | None:
    """The rating of a completion in one of ``DIMENSIONS``, or None."""
    if dimension == OVERALL:
        return parse_rating(completion.get("overall_score"))
    annotations = completion.get("annotations")
    annotation = annotations.get(dimension) if isinstance(annotations, Mapping) else None
    return parse_rating(annotation.get("Rating")) if isinstance(annotation, Mapping) else None


def margin_of(first: Mapping[str, Any], second: Mapping[str, Any], dimension: str) -> float | None:
    """Rating of ``first`` minus rating of ``second``, or None where either has none."""
    left, right = rating_of(first, dimension), rating_of(second, dimension)
    return None if left is None or right is None else left - right


def unusable(margin: float | None, min_gap: float, *, missing: str, tied: str, small: str) -> str | None:
    """One of the three reasons when ``margin`` orders no pair, else None."""
    if margin is None:
        return missing
    if margin == 0:
        return tied
    return small if abs(margin) < min_gap else None


def removal_reason(margin: float | None, anchor: float | None, rules: Rules) -> str | None:
    """The rule that removes a pair with these margins (rating points, either sign), or None for a pair to keep."""
    if reason := unusable(margin, rules.min_gap, missing="no_label", tied="ties", small="below_gap"):
        return reason
    if rules.anchor_dimension is None:
        return None
    anchor_reasons = {"missing": "no_anchor_label", "tied": "anchor_ties", "small": "below_anchor_gap"}
    if reason := unusable(anchor, rules.min_anchor_gap, **anchor_reasons):
        return reason
    assert margin is not None and anchor is not None  # else they are unusable
    agrees = (margin > 0) == (anchor > 0)
    if rules.agreement == "require" and not agrees:
        return "anchor_disagrees"
    if rules.agreement == "forbid" and agrees:
        return "anchor_agrees"
    return None


def read(row: Mapping[str, Any], rules: Rules) -> Iterator[PreferencePair | Filtered]:
    """All unordered pairs of completions, in their order, the higher rating in ``rules.dimension`` chosen.

    Raises:
        RowError: ``missing_field``, ``wrong_type`` or ``empty_instruction``.
    """
    instruction = require_text(row, "instruction")
    completions = require(row, "completions")
    if not isinstance(completions, list) or not all(isinstance(completion, Mapping) for completion in completions):
        raise RowError("wrong_type", "field 'completions' must be a list of objects")
    texts = [_reply(completion) for completion in completions]
    assert rules.dimension is not None  # there are several to choose from
    for (first, chosen), (second, rejected) in combinations(zip(completions, texts, strict=True), 2):
        margin = margin_of(first, second, rules.dimension)
        anchor = margin_of(first, second, rules.anchor_dimension) if rules.anchor_dimension else None
        if chosen is None or rejected is None:
            yield Filtered("empty_response")
        elif chosen == rejected:
            yield Filtered("identical_responses")
        elif reason := removal_reason(margin, anchor, rules):
            yield Filtered(reason)
        else:
            assert margin is not None  # else it is unusable
            pair = PreferencePair([user(instruction)], chosen, rejected, {"margin": margin})
            yield pair if margin > 0 else pair.swap()


def _reply(completion: Mapping[str, Any]) -> str | None:
    # A model that answered nothing is common here and spoils its own pairs only, not those of the other completions.
    text = require(completion, "response")
    return None if isinstance(text, str) and not text.strip() else require_text(completion, "response")


READER = SetReader(
    hub_name="openbmb/UltraFeedback",
    read=read,
    splits={"train": Part("train", 0, 90), "validation": Part("train", 90, 100)},
    dimensions=DIMENSIONS,
    rated=True,
    default_min_gap=1.0,
)
