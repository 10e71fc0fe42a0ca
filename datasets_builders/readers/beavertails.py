"""PKU-SafeRLHF, the preference part of BeaverTails.

https://huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF, arXiv 2406.15513.
Two responses to a prompt, with one label for the more helpful (``better``) and one for the less harmful (``safer``).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from datasets_builders.fields import require_rating, require_text
from datasets_builders.pairs import PreferencePair, user
from datasets_builders.readers.base import Filtered, Part, Rules, SetReader

LABEL_OF = {"better": "better_response_id", "safer": "safer_response_id"}


def read(row: Mapping[str, Any], rules: Rules) -> Iterator[PreferencePair | Filtered]:
    """The one pair of a row, chosen by ``rules.dimension``.

    Raises:
        RowError: a missing or empty field, or a label that is neither 0 nor 1.
    """
    prompt = [user(require_text(row, "prompt"))]
    responses = require_text(row, "response_0"), require_text(row, "response_1")
    assert rules.dimension is not None  # there are two to choose from
    chosen = require_rating(row, LABEL_OF[rules.dimension], 0, 1)
    if responses[0] == responses[1]:
        yield Filtered("identical_responses")
    else:
        yield PreferencePair(prompt, responses[chosen], responses[1 - chosen])


READER = SetReader(
    hub_name="PKU-Alignment/PKU-SafeRLHF",
    read=read,
    splits={"train": Part("train", 0, 90), "validation": Part("train", 90, 100), "test": Part("test")},
    dimensions=tuple(LABEL_OF),
)
