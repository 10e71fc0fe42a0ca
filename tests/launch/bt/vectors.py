"""Recorded inputs and outputs, and how to build pairs from them."""

import json
from pathlib import Path

from launch.bt.scored import ScoredPair

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "bt_eval.json").read_text())


def pairs_of(rows):
    return [ScoredPair(row["label"], (tuple(row["s0"]), tuple(row["s1"]))) for row in rows]


def flag(arguments, name, default):
    return type(default)(arguments[arguments.index(name) + 1]) if name in arguments else default
