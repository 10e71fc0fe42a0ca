"""Malformed documents of one object: JSON that runs leave behind, and YAML that users write; as a function of a seed."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import yaml

from tests.hostile.inputs import CONTAINERS, odd_field

_CELL = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
_TIES = {"first": 0, "second": 1, "both": 0}
_ROW = {
    "label": "a",
    "metric": "x",
    "prompts": 2,
    "old": 1.0,
    "new": 2.0,
    "difference": 1.0,
    "low": 0.5,
    "high": 1.5,
    "excludes_zero": True,
}
_SHARES = (
    "win_rate",
    "wins_a",
    "wins_b",
    "ties",
    "decided",
    "orders_agree",
    "position_bias",
    "parse_rate",
    "longer_wins",
)
_COMPARED = {
    "compared": "replies",
    "first": "x",
    "second": "y",
    "agree": 3,
    "conflict": 2,
    "ties": _TIES,
    **dict.fromkeys(("conflict_ratio", "pearson", "spearman", "kendall"), _CELL),
}
_POINT = {"mean": 1.0, "low": 0.5, "high": 1.5, "difference": 0.0, "difference_low": -0.1, "difference_high": 0.1}
_SUMMARY = {
    "n": 2,
    "labels": {"a": {"x": _POINT, "y": _POINT}},
    "pareto": ["a"],
    "hypervolume": 1.0,
    "hv_reference": [0.5, 0.5],
    "monotonicity": {"x": None, "y": None},
}
_MARGIN = {"name": "short", "function": "brevity", "role": "reward"}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "json: trainer state": {
        "global_step": 20,
        "log_history": [{"step": step, "eval_gold": 0.1 * step, "eval_gold_labels": 8 * step, "loss": 1.0} for step in (1, 2, 3)],
    },
    "json: units": {"rewards": {"x": {"kind": "function", "unit": "minus words"}, "y": {"kind": "function", "unit": "letters"}}, "beta": 0.1},
    "json: result": {"label": "sft", "metrics": {"accuracy": _CELL, "loss": {**_CELL, "mean": 1.0}}, "settings": {"seed": 0}},
    "json: trade-off": {"full": _SUMMARY, "uncapped": None, "reference": "a", "x": "x", "y": "y", "labels": ["a"], "weights": {"a": 0.5}, "cut_off": {"a": 0}, "units": {"x": "words"}, "title": "T"},
    "json: heads": {"kind": "head_summary", "rows": [{"label": "a", "head": "h", "n": 2, "missing": 0, "mean": 1.0, "low": 0.5, "high": 1.5, "std": 0.1}], "truncated": {"a": 0}, "head_names_from": "config"},
    "json: runs": {"kind": "run_comparison", "old": "a", "new": "b", "rows": [_ROW], "reference": None, "against_reference": []},
    "json: wins": {"kind": "win_rate", "a": "sft", "b": "dpo", "pairs": 3, "judged": 3, "ties_by_reason": {}, "not_judged": {"no verdict": 1}, "judge": {"model": "m"}, **dict.fromkeys(_SHARES, _CELL)},
    "json: conflicts": {"kind": "conflicts", "prompts": 2, "pairs": [_COMPARED], "tertiles": [{"first": "x", "second": "y", "tertiles": [{"bin": "low", "n": 1, "conflict": 0.1, "pareto": ["a"]}]}]},
    "yaml: pipeline": {"model": "embedded", "run_tag": "r", "w_values": [0.5, 0.8], "beta": 0.1, "eval_size": 2, "sft": True, "margin_role": "reward"},
    "yaml: run file": {
        "model_name_or_path": "m", "dataset_name": "d", "w": 0.7, "beta": 0.1, "margins": [_MARGIN], "learning_rate": 1e-4,
        "output_dir": "o", "ENV": {"MODPO_W": "0.5"}, "model_kwargs": '{"a": 1}', "dataset": ["a.jsonl", "b.jsonl"],
    },
    "yaml: space": {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "beta": {"choices": [0.1, 0.2]}, "lora_r": {"low": 4, "high": 8, "integer": True}},
    "yaml: judge": {"base_url": "http://127.0.0.1:9/v1", "api_model": "m", "rubric": ["short", "true"], "rounds": 2, "missing": 0.5, "seed": 1},
    "yaml: builder": {"dataset": {"name": "n", "configs": {"limit": 2}, "prompt": {"ties": "drop"}, "export": {"output_dir": "o", "formats": ["jsonl"], "split_ratio": {"train": 0.9, "test": 0.1}}}},
    "yaml: accelerate": {"distributed_type": "DEEPSPEED", "num_processes": 2, "num_machines": 1, "deepspeed_config": {"zero_stage": 2}, "fsdp_config": {"fsdp_sharding_strategy": 1}},
}  # fmt: skip

_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
# text -> whether no reader of such a file may take it
TEXTS: dict[str, dict[str, bool]] = {
    "json": {
        "": True, "\n": True, "{": True, "null": True, "[]": True, '"text"': True, "7": True, "NaN": True, "[" * 5000: True,
        '{"a": ' * 3000 + "1" + "}" * 3000: True, '{"a": ' + "9" * 5000 + "}": True, "{}": False, '{"a": NaN}': False, "{'a': 1}": True,
        '{"a": 1} {"b": 2}': True, "\ufeff{}": False, '{"rows": [], "kind": "conflicts"}': False, '{"kind": {}}': False,
    },
    "yaml": {
        "": False, "\n---\n": False, "{}": False, "[]": False, "text": True, "7": True, "- a\n- b": True, "a: [1\nb: 2": True, "a:\n\tb: 1": True,
        "a: 1\n---\nb: 2": True, "!!python/object/apply:os.system ['true']": True, "a: !!python/name:os.system": True, "a: !own x": True,
        "a: 2024-99-99": True, "a: 2024-02-30 10:00:00": True, "a: *nowhere": True, "a: &a [*a]": True, "a: &a {b: *a}": True, _BOMB: True,
        "a: " + "[" * 500 + "]" * 500: True, "a: " + "9" * 5000: True, "? [a, b]\n: c": True, "? {a: b}\n: c": True, "1: 2": True, "null: 1": True,
        "a: .nan": True, 'a: "\\ud800"': True, "true: 1": True, "<<: 3": True, "a: !!int x": True, "a: !!float x": True, "a: !!binary '?'": True,
        "=: 1": True, "a: 1:99": True, "%YAML 9.9\n---\na: 1": True, "\x00": True, "a: \x07": True, "\ufeffa: 1": True, "a: !!set {b}": True,
    },
}  # fmt: skip
NAMES = {"json": "result.json", "yaml": "run.yaml"}
_PLACES = ("nothing there", "a folder without files", "a pipe", "a link to nothing", "a link to itself", "a device")
_OF_YAML = [
    float("nan"),
    {1: 2},
    {None: 1},
    [[[]]],
    "2024-01-01",
    "on",
    "1e3",
    "0x",
    "~",
    "${HOME}",
    "\x85",
    "a: b",
    {"<<": 1},
]


def hostile_document(seed: int, folder: Path, family: str) -> tuple[Path, str, bool]:
    """A file of one malformed document; see `inputs.hostile_file`."""
    draw = random.Random(seed)
    kind = family.split(": ")[0]
    path = folder / NAMES[kind]
    document = copy.deepcopy(DOCUMENTS[family])
    how = draw.choices(("values", "text", "bytes", "container"), (6, 3, 2, 1))[0]
    what, refused = how, False
    if how == "values":
        more = _OF_YAML if kind == "yaml" else ()
        what = ", ".join(odd_field(draw, document, more) for _ in range(draw.randint(1, 3)))
        path.write_bytes(_dumped(kind, document))
    elif how == "text":
        what = draw.choice(list(TEXTS[kind]))
        refused = TEXTS[kind][what]
        path.write_text(what, encoding="utf-8")
    elif how == "bytes":
        data = _dumped(kind, document)
        at = draw.randrange(len(data))
        spoilt = {
            "cut": data[:at], "flip": data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :], "doubled": data * 2,
            "insert": data[:at] + draw.choice((b"\xff", b"\x00", b'"', b"\n", b"{", b": ", b"&", b"\t", b"\\", b"- ")) + data[at:],
            "UTF-16": data.decode().encode("utf-16"), "Latin-1": data + b"\n# \xe4",
        }  # fmt: skip
        what = draw.choice(sorted(spoilt))
        refused = what == "Latin-1" or (what == "doubled" and kind == "json")
        path.write_bytes(spoilt[what])
    else:
        what = draw.choice(_PLACES)
        refused = True
        path = CONTAINERS[what][0](folder, [])
    return path, f"{family}: {how}: {what[:60]!r}", refused


def write_document(folder: Path, family: str, document: Any) -> Path:
    """A sound document as a file."""
    kind = family.split(": ")[0]
    path = folder / NAMES[kind]
    path.write_bytes(_dumped(kind, document))
    return path


def _dumped(kind: str, document: Any) -> bytes:
    if kind == "json":
        return json.dumps(document).encode()
    try:
        return yaml.safe_dump(document, allow_unicode=False).encode()
    except (yaml.YAMLError, ValueError):  # a value that YAML has no word for; JSON is YAML, too
        return json.dumps(document).encode()
