"""What came of a variant: equal to the stock run, refused with a message, refused by upstream itself, or different."""

import math
from dataclasses import dataclass
from pathlib import Path

# Clocks, memory, and floating-point operations, which transformers counts by the parameters that lie in memory.
CLOCKS = ("time", "per_second", "speed", "memory", "runtime", "elapsed", "remaining", "total_flos")
EXTRA = (
    "modpo/",
    "eval_modpo/",
    "margin_rewards/",
    "eval_margin_rewards/",
    "bt/",
    "judge/",
    "eval_bt/",
    "eval_judge/",
    "objective/scores/",
    "objective/margins/",
    "objective/ties",
    "objective/not_finite",
    "weights/",
    "d2po/",
)
OWN_FILES = ("modpo_settings.json", "moodpo_state.json", "d2po_state.json", "discriminator")
OWN_TAGS = ("modpo", "moodpo", "d2po")
NOTHING = {"log": [], "files": [], "tags": []}  # the stock side of what only has to be refused


@dataclass(frozen=True)
class Outcome:
    """`kind`: equal, refused, upstream refuses, runs here alone (the stock trainer stops), or different; `why`: the message, or
    what differs."""

    kind: str
    why: str = ""


def same(one, other, rounding: float = 0.0) -> bool:
    """Equal, or for numbers within `rounding`, relative to the larger one; absolute below 1."""
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one):
            return math.isnan(other)
        return math.isclose(one, other, rel_tol=rounding, abs_tol=rounding)
    return one == other


def rows_of(answer: dict) -> list[dict]:
    rows = [{key: row[key] for key in row if not any(word in key for word in CLOCKS)} for row in answer["log"]]
    return [row for row in rows if row]


def differences(stock: dict, ours: dict, extra: tuple[str, ...] = EXTRA, rounding: float = 0.0) -> list[str]:
    """Every difference of two answers, by row and key; keys that begin with `extra` are ours alone.

    Numbers may differ by `rounding` (see `same`), and then weights by theirs, of which there is a digest only.
    """
    found = []
    ours = {**ours, "files": [name for name in ours["files"] if Path(name).name not in OWN_FILES]}
    ours["tags"] = [tag for tag in ours["tags"] if tag not in OWN_TAGS]
    for key in stock.keys() - {"log", "name"} - ({"weights"} if rounding else set()):
        if not same(stock[key], ours.get(key), rounding):
            found.append(f"{key}: {stock[key]} became {ours.get(key)}")
    expected, got = rows_of(stock), rows_of(ours)
    if len(expected) != len(got):
        return [*found, f"{len(expected)} rows of the log became {len(got)}"]
    for number, (row, other) in enumerate(zip(expected, got, strict=True)):
        other = {key: value for key, value in other.items() if not key.startswith(extra)}
        for key in sorted(row.keys() | other.keys()):
            if key not in row or key not in other or not same(row[key], other[key], rounding):
                found.append(f"row {number} {key}: {row.get(key)} became {other.get(key)}")
    return found


def judge(stock: dict, ours: dict, extra: tuple[str, ...] = EXTRA, rounding: float = 0.0) -> Outcome:
    if "error" in ours:
        if "error" in stock and ours["error"] == stock["error"]:
            return Outcome("upstream refuses", ours["error"])
        return Outcome("refused" if ours["error"].startswith("ValueError: ") else "different", ours["error"])
    if "error" in stock:
        return Outcome("runs here alone", stock["error"])
    found = differences(stock, ours, extra, rounding)
    return Outcome("different", "\n".join(found)) if found else Outcome("equal")
