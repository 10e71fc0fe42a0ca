"""The pairs that a judge is asked about: rows of the builder as they are, or raw pairs put into the prompt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets_builders.fields import RowError
from datasets_builders.io import SkipCounter, read_located_rows
from datasets_builders.judging.prompt import LABELS, PairwisePrompt
from datasets_builders.judging.rows import PairToJudge, label_of
from datasets_builders.judging.turns import SIGN, parse_turns
from launch.answers.records import check_messages
from trl_ext.objectives.verdicts import STRONGEST

ORDERS = ("both", "original")
BUILT = ("messages", "pair_id", "side")
# Of `chosen` and `rejected`, the first is the better one by its name.
REPLIES = (("response_1", "response_2"), ("response_a", "response_b"), ("chosen", "rejected"))


def read_pairs(path: str | Path, prompt: PairwisePrompt, orders: str) -> tuple[list[dict[str, Any]], SkipCounter]:
    """Rows for the judge, in the order of the file, and the count of the file's rows.

    | the row has | it becomes |
    |---|---|
    | `messages`, `pair_id`, `side` | itself |
    | `prompt` and `response_1`, `response_2` (or `response_a`, `response_b`) | both orders |
    | `prompt` and `chosen`, `rejected` | both orders, `chosen` is A in the original one |

    A prompt is a text (that of HelpSteer2 with its turns in it) or messages that end with the user's, a reply is a text
    or a list of one message. Where known, `preference_strength` says from -3 to 3 how much better the second reply is;
    `ground_truth` (A, B or tie) and `subset` are read in every shape. A pair, or a row of the builder, that comes again
    is skipped and counted.

    Args:
        orders: `both`, or `original`, which leaves out the swapped order.

    Raises:
        ValueError: `FILE:LINE: ...` for a row that is none of these or contradicts itself; `FILE: ...` for none at all.
    """
    rows: list[dict[str, Any]] = []
    counts, seen = SkipCounter(), set()
    for where, record in read_located_rows(path):
        built = all(name in record for name in BUILT)
        made = [_built_row(record, str(where))] if built else _raw_rows(record, prompt, orders, str(where))
        keys = {(row["pair_id"], row["side"]) for row in made}
        if orders == "original" and made[0]["side"] == 1:
            counts.skip("swapped order")
        elif keys & seen:
            counts.skip("pair comes again", f"{where}: pair {made[0]['pair_id']}")
        else:
            counts.keep()
            seen |= keys
            rows += made
    if not rows:
        raise ValueError(f"{path}: no pairs")
    return rows, counts


def _built_row(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(record["pair_id"], str) or not record["pair_id"]:
        raise ValueError(f"{where}: pair_id must be a text; found {record['pair_id']!r}")
    if type(record["side"]) is not int or record["side"] not in (0, 1):
        raise ValueError(f"{where}: side must be 0 or 1; found {record['side']!r}")
    label, strength = _truth(record, where)
    return {
        "messages": _ending_with_user(check_messages(record["messages"], where), where),
        "pair_id": record["pair_id"],
        "side": record["side"],
        "ground_truth": label,
        "preference_strength": strength,
        "subset": _subset(record, where),
    }


def _raw_rows(record: Mapping[str, Any], prompt: PairwisePrompt, orders: str, where: str) -> tuple[dict[str, Any], ...]:
    names = next((names for names in REPLIES if all(name in record for name in names)), None)
    if names is None or "prompt" not in record:
        shapes = "; ".join(f"prompt, {', '.join(names)}" for names in REPLIES)
        raise ValueError(f"{where}: found {sorted(record)}; valid: {', '.join(BUILT)}; {shapes}")
    label, strength = _truth(record, where)
    if names == REPLIES[-1]:
        if orders == "original":
            raise ValueError(f"{where}: the original order shows 'chosen' first in every pair; use --orders both")
        if label not in (None, "A"):
            raise ValueError(f"{where}: the truth {label} contradicts 'chosen', which is A")
        label = "A"
    conversation = tuple(_conversation(record["prompt"], where))
    first, second = (_reply(record[name], f"{where}: {name}") for name in names)
    pair = PairToJudge(conversation, (first, second), label, strength, _subset(record, where))
    both = pair.rows(prompt)
    return both if orders == "both" else both[:1]


def _conversation(value: Any, where: str) -> list[dict[str, str]]:
    messages = _turns(value, where) if isinstance(value, str) else check_messages(value, where)
    return _ending_with_user(messages, where)


def _ending_with_user(messages: list[dict[str, str]], where: str) -> list[dict[str, str]]:
    if messages[-1]["role"] != "user":
        raise ValueError(f"{where}: the prompt must end with a user message")
    return messages


def _turns(text: str, where: str) -> list[dict[str, str]]:
    if SIGN not in text:
        return [{"role": "user", "content": text}]
    try:
        return list(parse_turns(text))
    except RowError as error:
        raise ValueError(f"{where}: {error}") from error


def _reply(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    messages = check_messages(value, where)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise ValueError(f"{where}: a reply is a text or a list of one assistant message")
    return messages[0]["content"]


def _truth(record: Mapping[str, Any], where: str) -> tuple[str | None, float | None]:
    label, strength = record.get("ground_truth"), record.get("preference_strength")
    if label is not None and label not in LABELS:
        raise ValueError(f"{where}: ground_truth must be one of {', '.join(LABELS)}; found {label!r}")
    if strength is None:
        return label, None
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not abs(strength) <= STRONGEST:
        raise ValueError(f"{where}: preference_strength must be from -{STRONGEST} to {STRONGEST}; found {strength!r}")
    if label not in (None, label_of(strength)):
        raise ValueError(f"{where}: ground_truth {label} contradicts preference_strength {strength} (below 0: A)")
    return label_of(strength), strength


def _subset(record: Mapping[str, Any], where: str) -> str:
    subset = record.get("subset")
    if subset is not None and not isinstance(subset, str):
        raise ValueError(f"{where}: subset must be a text; found {subset!r}")
    return subset or ""
