"""The pairs that a judge is asked about: rows of the builder as they are, or raw pairs put into the prompt."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from datasets_builders.fields import RowError
from datasets_builders.io import SkipCounter, read_located_rows
from datasets_builders.judging.prompt import LABELS, PairwisePrompt
from datasets_builders.judging.rows import PairToJudge, label_of
from datasets_builders.messages import read_reply, text_of
from datasets_builders.pair_rows import SHAPES, read_pair
from datasets_builders.prompt_rows import as_messages, read_prompt
from trl_ext.objectives.verdicts import STRONGEST

ORDERS = ("both", "original")
BUILT = ("messages", "pair_id", "side")
REPLIES = (("response_1", "response_2"), ("response_a", "response_b"))


def read_pairs(
    path: str | Path, prompt: PairwisePrompt, orders: str, limit: int | None = None
) -> tuple[list[dict[str, Any]], SkipCounter]:
    """Rows for the judge, in the order of the file, and the count of the file's rows.

    | the row has | it becomes |
    |---|---|
    | `messages`, `pair_id`, `side` | itself |
    | `prompt` and `response_1`, `response_2` (or `response_a`, `response_b`) | both orders |
    | `prompt` and `chosen`, `rejected` | both orders, `chosen` is A in the original one |

    A prompt is a text (that of HelpSteer2 with its turns in it) or messages that end with the user's, a reply is a text
    or a list of one message; `chosen` and `rejected` are read in every format of `datasets_builders.pair_rows`. Where
    known, `preference_strength` says from -3 to 3 how much better the second reply is; `ground_truth` (A, B or tie) and
    `subset` are read in every shape.

    Skipped and counted: a row of the same pair in the same order; one in the other order, where both orders are asked
    anyway (with `original` it is asked as the pair's other side); and one whose truth, seen in the order of the pair's
    first row, is another one: the first counts.

    Args:
        orders: `both`, or `original`, which leaves out the swapped order.
        limit: the rows of the first so many pairs, wherever in the file they stand; the counts are of the whole file.

    Raises:
        ValueError: `FILE:LINE: ...` for a row that is none of these or contradicts itself; `FILE: ...` for none at all.
    """
    rows: list[dict[str, Any]] = []
    counts, asked = SkipCounter(), Asked()
    for where, record in read_located_rows(path):
        built = all(record.get(name) is not None for name in BUILT)
        try:
            made = [_built_row(record)] if built else asked.sides_of(_raw_pair(record, orders), prompt, orders)
        except (RowError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from error
        if isinstance(made, str):
            counts.skip(made, str(where))
        elif built and orders == "original" and made[0]["side"] == 1:
            counts.skip("swapped order")
        elif reason := asked.fault(made):
            counts.skip(reason, f"{where}: pair {made[0]['pair_id']}")
        else:
            counts.keep()
            rows += made
    if not rows:
        raise ValueError(f"{path}: no pairs")
    chosen = set(islice(dict.fromkeys(row["pair_id"] for row in rows), limit))
    return [row for row in rows if row["pair_id"] in chosen], counts


AGAIN = "pair comes again"
OTHER_ORDER = "pair comes again in the other order, in which it is asked about anyway"
OTHER_TRUTH = "pair comes again with another truth, the first one counts"


class Asked:
    """The pairs so far: what was said of each, and in which order of the replies."""

    def __init__(self) -> None:
        self._first: dict[str, PairToJudge] = {}
        self._truth: dict[tuple[str, int], str | None] = {}

    def fault(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """Why these rows are not asked about again; None, and they are remembered, where they are new."""
        keys = [(row["pair_id"], row["side"]) for row in rows]
        for key, row in zip(keys, rows, strict=True):
            if key in self._truth:
                return AGAIN if _agree(self._truth[key], row["ground_truth"]) else OTHER_TRUTH
        self._truth |= {key: row["ground_truth"] for key, row in zip(keys, rows, strict=True)}
        return None

    def sides_of(self, pair: PairToJudge, prompt: PairwisePrompt, orders: str) -> Sequence[dict[str, Any]] | str:
        """The rows of a raw pair, side 0 being its first appearance; or why there are none."""
        first = self._first.setdefault(pair.pair_id, pair)
        if pair.responses == first.responses:
            both = pair.rows(prompt)
            return both if orders == "both" else both[:1]
        turned = pair.swap()
        if not _agree(first.label, turned.label):
            return OTHER_TRUTH
        return OTHER_ORDER if orders == "both" else turned.rows(prompt)[1:]


def _agree(first: str | None, second: str | None) -> bool:
    """Whether two truths of one order can both hold; nobody's word contradicts nothing."""
    return None in (first, second) or first == second


def _built_row(record: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(record["pair_id"], str) or not record["pair_id"]:
        raise ValueError(f"pair_id must be a text; found {record['pair_id']!r:.60}")
    if type(record["side"]) is not int or record["side"] not in (0, 1):
        raise ValueError(f"side must be 0 or 1; found {record['side']!r:.60}")
    label, strength = _truth(record)
    return {
        "messages": as_messages(read_prompt(record, "messages")),
        "pair_id": record["pair_id"],
        "side": record["side"],
        "ground_truth": label,
        "preference_strength": strength,
        "subset": _subset(record),
    }


def _raw_pair(record: Mapping[str, Any], orders: str) -> PairToJudge:
    names = next((names for names in REPLIES if all(record.get(name) is not None for name in names)), None)
    label, strength = _truth(record)
    if names is not None and record.get("prompt") is not None:
        conversation = as_messages(read_prompt(record, "prompt"))
        replies = tuple(_reply(record[name], name) for name in names)
    elif names is not None or not preferred(record):
        shapes = "; ".join(f"prompt, {', '.join(names)}" for names in REPLIES)
        raise ValueError(f"found {sorted(map(str, record))[:20]}; valid: {', '.join(BUILT)}; {shapes}; {SHAPES}")
    else:
        pair = read_pair(record)
        if orders == "original":
            raise ValueError("the original order shows 'chosen' first in every pair; use --orders both")
        if label not in (None, "A"):
            raise ValueError(f"the truth {label} contradicts 'chosen', which is A")
        label, conversation, replies = "A", pair.prompt, (pair.chosen, pair.rejected)
    return PairToJudge(tuple(conversation), replies, label, strength, _subset(record))


def preferred(record: Mapping[str, Any]) -> bool:
    """Whether a row names its better reply by the name of the field."""
    return any(
        record.get(name) is not None for name in ("chosen", "rejected_response", "rejected_messages", "response_j")
    )


def _reply(value: Any, name: str) -> str:
    messages = read_reply(value, name)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise ValueError(f"{name}: a reply is a text or a list of one assistant message")
    return text_of(messages[0])


def _truth(record: Mapping[str, Any]) -> tuple[str | None, float | None]:
    label, strength = record.get("ground_truth"), record.get("preference_strength")
    if label is not None and label not in LABELS:
        raise ValueError(f"ground_truth must be one of {', '.join(LABELS)}; found {label!r:.60}")
    if strength is None:
        return label, None
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not abs(strength) <= STRONGEST:
        raise ValueError(f"preference_strength must be from -{STRONGEST} to {STRONGEST}; found {strength!r:.60}")
    if label not in (None, label_of(strength)):
        raise ValueError(f"ground_truth {label} contradicts preference_strength {strength} (below 0: A)")
    return label_of(strength), strength


def _subset(record: Mapping[str, Any]) -> str:
    subset = record.get("subset")
    if subset is not None and not isinstance(subset, str):
        raise ValueError(f"subset must be a text; found {subset!r}")
    return subset or ""
