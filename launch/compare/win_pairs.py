"""Answers of two models to the same prompts, side by side, and what a judge is asked about them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datasets_builders.judging.prompt import PairwisePrompt
from datasets_builders.messages import Messages
from datasets_builders.scratch import digest
from datasets_builders.teacher.requests import KEY_DIGITS, SYSTEM, Item

Records = Sequence[Mapping[str, Any]]


class AnswerPair(NamedTuple):
    """Two answers to one prompt, that of model A first."""

    prompt_id: str
    sample: int
    messages: Messages
    responses: tuple[str, str]

    @property
    def pair_id(self) -> str:
        """`prompt hash:sample`."""
        return f"{self.prompt_id}:{self.sample}"

    @property
    def identical(self) -> bool:
        """Whether both answers are the same text, so that nobody need be asked."""
        return self.responses[0].strip() == self.responses[1].strip()

    @property
    def words(self) -> tuple[int, int]:
        """Words of both answers."""
        first, second = (len(text.split()) for text in self.responses)
        return first, second


def pair_up(first: Records, second: Records) -> list[AnswerPair]:
    """Pairs in the order of `first`.

    Raises:
        ValueError: the models did not answer the same prompts as often.
    """
    others = {(record["prompt_id"], record["sample"]): record for record in second}
    keys = [(record["prompt_id"], record["sample"]) for record in first]
    if alone := sorted(set(keys) ^ others.keys()):
        raise ValueError(
            f"{len(alone)} answers have no partner in the other folder, the first is prompt {alone[0][0]} sample "
            f"{alone[0][1]}; see python -m launch validate-eval-set"
        )
    return [
        AnswerPair(*key, record["messages"], (record["response"], others[key]["response"]))
        for key, record in zip(keys, first, strict=True)
    ]


def draw_pairs(pairs: Sequence[AnswerPair], count: int | None, seed: int) -> list[AnswerPair]:
    """`count` of the pairs, in their order; which ones is a function of (seed, pair) alone."""
    if count is None or count >= len(pairs):
        return list(pairs)

    def place(pair: AnswerPair) -> bytes:
        return hashlib.blake2b(f"{seed} {pair.pair_id}".encode(), digest_size=8).digest()

    chosen = {pair.pair_id for pair in sorted(pairs, key=place)[:count]}
    return [pair for pair in pairs if pair.pair_id in chosen]


def items_of(pairs: Sequence[AnswerPair], prompt: PairwisePrompt, votes: int) -> list[Item]:
    """The questions: each pair in both orders, `votes` times; pairs with identical answers are not asked about."""
    items = []
    for vote in range(votes):
        for place, pair in enumerate(pairs):
            if pair.identical:
                continue
            for sides in ((0, 1), (1, 0)):
                text = prompt(pair.messages, *(pair.responses[side] for side in sides))
                items.append(Item(digest(SYSTEM, text, str(vote)).hex()[:KEY_DIGITS], text, place, sides, vote))
    return items


def rows_to_judge(pairs: Sequence[AnswerPair]) -> list[dict[str, Any]]:
    """The pairs as `python -m launch judge --pairs` reads them, A as `response_1`; identical answers are left out."""
    return [
        {"prompt": pair.messages, "response_1": pair.responses[0], "response_2": pair.responses[1]}
        for pair in pairs
        if not pair.identical
    ]
