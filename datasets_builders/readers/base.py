"""What a reader of a published preference set consists of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from datasets_builders.pairs import PreferencePair


class Filtered(NamedTuple):
    """A pair that a rule removed from a sound row (a tie, a gap too small), counted under ``reason``."""

    reason: str


class Part(NamedTuple):
    """A share of a published split: the prompts whose bucket (0 to 99, a hash) is in ``low <= bucket < high``."""

    published_split: str
    low: int = 0
    high: int = 100


@dataclass(frozen=True)
class Rules:
    """What the user asked of the pairs.

    Attributes:
        dimension: the judgement that decides, one of the reader's dimensions.
        min_gap: least rating difference, in rating points; ties never make a pair.
        anchor_dimension: a second dimension that must also have a label, or None.
        min_anchor_gap: least rating difference in the anchor dimension.
        agreement: ``require`` or ``forbid`` that both dimensions prefer the same reply; None allows both.
    """

    dimension: str | None = None
    min_gap: float = 0.0
    anchor_dimension: str | None = None
    min_anchor_gap: float = 0.0
    agreement: str | None = None


@dataclass(frozen=True)
class SetReader:
    """One published preference set.

    Attributes:
        hub_name: its name on the hub.
        read: turns one row into pairs, and ``Filtered`` for each pair that a rule removed; raises ``RowError`` for an
            unusable row. It keeps no state, so rows can be streamed.
        splits: the splits offered, each as a part of a published split.
        dimensions: the judgements to choose from; the first is the default. Empty where there is only one.
        rated: the judgements are ratings, so gaps and an anchor dimension have a meaning.
        default_min_gap: least gap where the user names none, in rating points.
        dimension_is_folder: the dimension names a folder of the hub set instead of a field of the row.
        hub_options: further arguments of ``datasets.load_dataset``.
    """

    hub_name: str
    read: Callable[[Mapping[str, Any], Rules], Iterator[PreferencePair | Filtered]]
    splits: Mapping[str, Part]
    dimensions: tuple[str, ...] = ()
    rated: bool = False
    default_min_gap: float = 0.0
    dimension_is_folder: bool = False
    hub_options: Mapping[str, str] = field(default_factory=dict)
