"""TL;DR comparisons (https://huggingface.co/datasets/openai/summarize_from_feedback, arXiv 2009.01325).

The prompt is the body of the Reddit post between "Paragraph:" and "TL;DR:". The published validation split also holds
news articles, which have no post and another task; those rows are filtered. It is halved into validation and test.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from datasets_builders.fields import RowError, require, require_rating, require_text
from datasets_builders.pairs import PreferencePair, user
from datasets_builders.readers.base import Filtered, Part, Rules, SetReader

PROMPT = "Paragraph:\n{post}\n\nTL;DR:"


def read(row: Mapping[str, Any], rules: Rules) -> Iterator[PreferencePair | Filtered]:
    """The one pair of a row; ``choice`` is the index of the preferred summary.

    Raises:
        RowError: a missing or empty field, not exactly two summaries, or a choice that is neither 0 nor 1.
    """
    info, summaries = require(row, "info"), require(row, "summaries")
    if not isinstance(info, Mapping):
        raise RowError("wrong_type", "field 'info' must be an object")
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(one, Mapping) for one in summaries):
        raise RowError("wrong_type", "field 'summaries' must be a list of two objects")
    texts = [require_text(summary, "text").strip() for summary in summaries]
    chosen = require_rating(row, "choice", 0, 1)
    if info.get("post") is None and info.get("article") is not None:
        yield Filtered("news_articles")
    elif texts[0] == texts[1]:
        yield Filtered("identical_responses")
    else:
        prompt = PROMPT.replace("{post}", require_text(info, "post").strip())
        yield PreferencePair([user(prompt)], texts[chosen], texts[1 - chosen])


READER = SetReader(
    hub_name="openai/summarize_from_feedback",
    read=read,
    splits={
        "train": Part("train"),
        "validation": Part("validation", 0, 50),
        "test": Part("validation", 50, 100),
    },
    # The set was published with a loading script, which newer loaders refuse; this branch has the same rows as Parquet.
    hub_options={"name": "comparisons", "revision": "refs/convert/parquet"},
)
