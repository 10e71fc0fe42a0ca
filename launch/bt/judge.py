"""From pairs of replies to sampled scores: prompts, answers on the disk as they come, and the scores read from them.

A reply is judged once for each sample, however many pairs it stands in.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.comparisons import Comparison, digest_of
from datasets_builders.io import read_rows
from datasets_builders.scoring.parsers import ScoreParser
from datasets_builders.scoring.prompt import PointwisePrompt
from launch.answers.backends import Backend, is_failed
from launch.answers.draw import MAX_FAILED_SHARE, draw
from launch.answers.prompts import Prompt
from launch.answers.records import prompt_id
from launch.bt.scored import ScoredPair

SAMPLES = "samples.jsonl"
SETTINGS = "settings.json"
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
    return tuple(_prompt(prompt(comparison.context, response)) for response in comparison.responses)


def _prompt(text: str) -> Prompt:
    messages = [{"role": "user", "content": text}]
    return Prompt(prompt_id(messages), messages)


def digest_pairs(comparisons: Sequence[Comparison]) -> str:
    """16 hexadecimal digits of the comparisons, their order, sides and labels."""
    keys = [[one.index, one.preferred, digest_of(one), *one.responses] for one in comparisons]
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]


def judge(
    comparisons: Sequence[Comparison],
    prompt: PointwisePrompt,
    parser: ScoreParser,
    make_backend: Callable[[], Backend],
    *,
    folder: Path,
    settings: dict[str, Any],
    label: str,
    num_samples: int,
    batch_pairs: int,
    max_failed_share: float = MAX_FAILED_SHARE,
    retry_failed: bool = False,
) -> Judgement:
    """Scores of all `comparisons`, drawn into `folder` and read back from it.

    Finished answers are on the disk before the next batch begins; a rerun goes on where the last one stopped, and
    does not load a model at all when every answer is there.

    Args:
        make_backend: called when answers are missing; it is not closed here.
        settings: what decides the answers; stored, and compared upon a rerun.
        batch_pairs: pairs whose answers are drawn at once, all samples of both replies.
        max_failed_share: see `draw`, as for `retry_failed`.

    Raises:
        ValueError: `folder` was made with other settings, or holds a damaged file.
    """
    asked = {one.prompt_id: one for comparison in comparisons for one in prompts_for(comparison, prompt)}
    target = folder / SAMPLES
    draw(
        list(asked.values()),
        make_backend,
        target,
        settings=settings,
        settings_file=SETTINGS,
        label=label,
        num_samples=num_samples,
        batch_size=2 * batch_pairs * num_samples,
        max_failed_share=max_failed_share,
        retry_failed=retry_failed,
    )
    records = {(row["prompt_id"], row["sample"]): row for _, row in read_rows(target)}
    if missing := [(key, k) for key in asked for k in range(num_samples) if (key, k) not in records]:
        raise ValueError(f"{target}: no answer to prompt {missing[0][0]} sample {missing[0][1]}; delete the folder")
    scores = {key: tuple(parser(records[key, sample]["response"]) for sample in range(num_samples)) for key in asked}
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
