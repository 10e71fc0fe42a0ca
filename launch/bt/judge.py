"""From pairs of replies to sampled scores: prompts, answers on the disk as they come, and the scores read from them.

A reply is judged once for each sample, however many pairs it stands in.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.comparisons import Comparison, digest_of
from datasets_builders.io import read_rows
from datasets_builders.scoring.parsers import ScoreParser
from datasets_builders.scoring.prompt import PointwisePrompt
from launch.answers.backends import is_failed
from launch.answers.prompts import Prompt, asked
from launch.bt.scored import ScoredPair, Scores

SAMPLES = "samples.jsonl"
EXAMPLES = 3


class JudgedPair(NamedTuple):
    """One comparison: where it came from, and its scores."""

    index: int
    digest: str
    pair: ScoredPair


class Judgement(NamedTuple):
    """All pairs, and what happened on the way.

    Attributes:
        answers: how many were drawn, were cut off at the token limit, and answer a prompt that lost its beginning;
            `failed` where a server's answer has no text to use.
        unparsed: the first few answers without a score.
    """

    pairs: list[JudgedPair]
    answers: dict[str, int]
    unparsed: list[str]


def prompts_for(comparison: Comparison, prompt: PointwisePrompt) -> tuple[Prompt, Prompt]:
    """The prompts of both replies, side 0 first."""
    return tuple(asked(prompt(comparison.context, response)) for response in comparison.responses)


def digest_pairs(comparisons: Sequence[Comparison]) -> str:
    """16 hexadecimal digits of the comparisons, their order, sides and labels."""
    keys = [[one.index, one.preferred, digest_of(one), *one.responses] for one in comparisons]
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]


def prompts_of(comparisons: Sequence[Comparison], prompt: PointwisePrompt) -> list[Prompt]:
    """Every prompt of the comparisons, once."""
    return list({one.prompt_id: one for pair in comparisons for one in prompts_for(pair, prompt)}.values())


def read_scores(
    comparisons: Sequence[Comparison],
    prompt: PointwisePrompt,
    parser: ScoreParser,
    records: Mapping[tuple[str, int], Mapping[str, Any]],
) -> Judgement:
    """Scores of all `comparisons` from the answers.

    Args:
        records: (prompt_id, sample) -> record, of every prompt of the comparisons in the order of the samples.
    """
    scores: dict[str, Scores] = {}
    for (key, _), row in records.items():
        scores[key] = (*scores.get(key, ()), parser(row["response"]))
    pairs = [
        JudgedPair(
            one.index,
            digest_of(one),
            ScoredPair(one.preferred, tuple(scores[side.prompt_id] for side in prompts_for(one, prompt))),
        )
        for one in comparisons
    ]
    counts = {
        "drawn": len(records),
        "cut_off": sum(row["capped"] for row in records.values()),
        "prompt_shortened": sum(row["prompt_truncated"] for row in records.values()),
    }
    if failed := sum(is_failed(row.get("problem")) for row in records.values()):
        counts["failed"] = failed
    unparsed = (row["response"] for row in records.values() if parser(row["response"]) is None)
    return Judgement(pairs, counts, list(islice(unparsed, EXAMPLES)))


def pair_record(judged: JudgedPair) -> dict[str, Any]:
    """The JSON record of one pair."""
    return {
        "index": judged.index,
        "digest": judged.digest,
        "preferred": judged.pair.preferred,
        "scores": [list(side) for side in judged.pair.scores],
    }


def read_pair_records(path: Path) -> list[JudgedPair]:
    """The pairs of a file of `pair_record`s (other fields are passed over).

    Raises:
        ValueError: `FILE:LINE: ...` for a record without a field, or with an impossible value.
    """
    pairs = []
    for line, row in read_rows(path):
        try:
            scored = ScoredPair(row["preferred"], tuple(map(tuple, row["scores"])))
            pairs.append(JudgedPair(row["index"], row["digest"], scored))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}:{line}: not a record of a judged pair: {error!r}") from error
    return pairs
