"""The preference pair, and the row shapes that ms-swift and TRL read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, str]


@dataclass(frozen=True)
class PreferencePair:
    """Two replies to one prompt; ``chosen`` is preferred.

    Attributes:
        prompt: messages ``{"role", "content"}``, of which the last is the user's.
        chosen: text of the preferred reply.
        rejected: text of the other reply.
        meta: facts about the pair. ``meta["margin"]``, where present, is rating(chosen) - rating(rejected).

    Raises:
        ValueError: the prompt does not end with a user message.
    """

    prompt: list[Message]
    chosen: str
    rejected: str
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.prompt or self.prompt[-1]["role"] != "user":
            raise ValueError("the prompt of a preference pair must end with a user message")

    def swap(self) -> "PreferencePair":
        """The pair with the opposite preference; the margin changes its sign."""
        meta = dict(self.meta)
        if "margin" in meta:
            meta["margin"] = -meta["margin"]
        return PreferencePair(self.prompt, chosen=self.rejected, rejected=self.chosen, meta=meta)


def assistant(content: str) -> Message:
    """One assistant message."""
    return {"role": "assistant", "content": content}


def user(content: str) -> Message:
    """One user message."""
    return {"role": "user", "content": content}


def to_swift(pair: PreferencePair) -> dict[str, Any]:
    """The row of ``swift rlhf --rlhf_type dpo``: ``messages`` end with the chosen reply, the other is a text beside."""
    return {"messages": [*pair.prompt, assistant(pair.chosen)], "rejected_response": pair.rejected}


def to_trl(pair: PreferencePair) -> dict[str, Any]:
    """TRL's conversational preference row with an explicit prompt."""
    return {"prompt": pair.prompt, "chosen": [assistant(pair.chosen)], "rejected": [assistant(pair.rejected)]}


def to_swift_sft(pair: PreferencePair) -> dict[str, Any]:
    """The row of ``swift sft``: the prompt and the chosen reply."""
    return {"messages": [*pair.prompt, assistant(pair.chosen)]}


def to_trl_sft(pair: PreferencePair) -> dict[str, Any]:
    """TRL's conversational language-modelling row, which has the same shape as that of ms-swift."""
    return {"messages": [*pair.prompt, assistant(pair.chosen)]}


def to_swift_margin(pair: PreferencePair) -> dict[str, Any]:
    """The row of ``swift rlhf --rlhf_type rm`` with the ``margin`` of its loss. Unit: of the rating."""
    return to_swift(pair) | {"margin": float(pair.meta["margin"])}


def to_trl_margin(pair: PreferencePair) -> dict[str, Any]:
    """The row of TRL's RewardTrainer with the ``margin`` of its loss. Unit: of the rating."""
    return to_trl(pair) | {"margin": float(pair.meta["margin"])}


PREFERENCE_WRITERS: dict[str, Callable[[PreferencePair], dict[str, Any]]] = {"swift": to_swift, "trl": to_trl}
MARGIN_WRITERS: dict[str, Callable[[PreferencePair], dict[str, Any]]] = {
    "swift": to_swift_margin,
    "trl": to_trl_margin,
}
SFT_WRITERS: dict[str, Callable[[PreferencePair], dict[str, Any]]] = {"swift": to_swift_sft, "trl": to_trl_sft}
