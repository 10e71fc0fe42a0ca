"""From rows for a pairwise judge to verdicts: answers on the disk as they come, and the file that is read from them."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_builders.io import write_jsonl
from datasets_builders.scoring.tags import EXAMPLES
from launch.answers.checkpoint_options import backend_maker, draw_answers
from launch.answers.prompts import Prompt
from launch.answers.records import prompt_id, read_answers
from launch.judge.options import Asking, settings_of
from launch.judge.verdicts import JudgedRow
from trl_ext.objectives.verdicts import parse_verdict

ANSWERS = "answers.jsonl"
VERDICTS = "verdicts.jsonl"


def draw_verdicts(
    rows: Sequence[dict[str, Any]], args: argparse.Namespace, asking: Asking, folder: Path, **settings: Any
) -> list[JudgedRow]:
    """Verdicts on all `rows`, written to `folder` as `verdicts.jsonl`; the answers lie beside it in `answers.jsonl`.

    Finished answers are on the disk before the next batch begins; a rerun goes on where the last one stopped, and
    does not load a model at all when every answer is there. Rows with the same messages share their answers.

    Args:
        rows: one order of a pair each: `messages`, `pair_id`, `side`, and where known `ground_truth`,
            `preference_strength` and `subset`.
        settings: stored with a digest of the rows, and compared upon a rerun, beside those of the flags.

    Raises:
        ValueError: see `draw_answers`.
    """
    keys = [prompt_id(row["messages"]) for row in rows]
    answers = draw_answers(
        [Prompt(key, row["messages"]) for key, row in dict(zip(keys, rows, strict=True)).items()],
        backend_maker(args, asking.checkpoint, asking.decoding, EXAMPLES["preference"]),
        folder / ANSWERS,
        args,
        asking.decoding,
        label=asking.label,
        settings={**settings_of(args, asking), **settings, "rows": len(rows), "rows_sha256": digest_rows(rows)},
    )
    judged = [
        _judged(row, [answers[key, sample] for sample in range(asking.decoding.num_samples)])
        for key, row in zip(keys, rows, strict=True)
    ]
    write_jsonl(folder / VERDICTS, (row.to_json() for row in judged))
    return judged


def digest_rows(rows: Sequence[dict[str, Any]]) -> str:
    """16 hexadecimal digits of what is asked, for which pair and side, in order."""
    asked = [[row["pair_id"], row["side"], prompt_id(row["messages"])] for row in rows]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def count_shortened(folder: Path) -> int:
    """How many prompts lost their beginning because the model's limit is shorter."""
    answers = read_answers(folder / ANSWERS)
    return len({key for (key, _), answer in answers.items() if answer["prompt_truncated"]})


def _judged(row: dict[str, Any], answers: list[dict[str, Any]]) -> JudgedRow:
    return JudgedRow(
        row["pair_id"],
        row["side"],
        row.get("ground_truth"),
        row.get("preference_strength"),
        row.get("subset") or "",
        tuple(parse_verdict(answer["response"]) for answer in answers),
        sum(answer["capped"] for answer in answers),
    )
