"""From rows for a pairwise judge to verdicts: answers on the disk as they come, and the file that is read from them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.io import read_rows, write_jsonl
from launch.answers.backends import Backend
from launch.answers.draw import MAX_FAILED_SHARE, draw
from launch.answers.prompts import Prompt
from launch.answers.records import prompt_id
from launch.judge.verdicts import JudgedRow
from trl_ext.objectives.verdicts import parse_verdict

ANSWERS = "answers.jsonl"
SETTINGS = "settings.json"
VERDICTS = "verdicts.jsonl"


def ask(
    rows: Sequence[dict[str, Any]],
    make_backend: Callable[[], Backend],
    *,
    folder: Path,
    settings: dict[str, Any],
    label: str,
    num_samples: int,
    batch_pairs: int,
    max_failed_share: float = MAX_FAILED_SHARE,
    retry_failed: bool = False,
) -> list[JudgedRow]:
    """Verdicts on all `rows`, written to `folder` as `verdicts.jsonl`; the answers lie beside it in `answers.jsonl`.

    Finished answers are on the disk before the next batch begins; a rerun goes on where the last one stopped, and
    does not load a model at all when every answer is there. Rows with the same messages share their answers.

    Args:
        rows: one order of a pair each: `messages`, `pair_id`, `side`, and where known `ground_truth`,
            `preference_strength` and `subset`.
        make_backend: called when answers are missing; it is not closed here.
        settings: what decides the answers; stored with a digest of the rows, and compared upon a rerun.
        label: names the judge in the answers.
        num_samples: answers a row.
        batch_pairs: pairs whose answers are drawn at once, all samples of both orders.
        max_failed_share: see `draw`, as for `retry_failed`.

    Raises:
        ValueError: `folder` was made with other settings or rows, or holds a damaged file; or an error of the backend.
    """
    keys = [prompt_id(row["messages"]) for row in rows]
    target = folder / ANSWERS
    draw(
        [Prompt(key, row["messages"]) for key, row in dict(zip(keys, rows, strict=True)).items()],
        make_backend,
        target,
        settings={**settings, "rows": len(rows), "rows_sha256": digest_rows(rows)},
        settings_file=SETTINGS,
        label=label,
        num_samples=num_samples,
        batch_size=2 * batch_pairs * num_samples,
        max_failed_share=max_failed_share,
        retry_failed=retry_failed,
    )
    answers = read_answers(target)
    if missing := [(key, k) for key in keys for k in range(num_samples) if (key, k) not in answers]:
        raise ValueError(f"{target}: no answer to prompt {missing[0][0]} sample {missing[0][1]}; delete the folder")
    judged = [
        _judged(row, [answers[key, sample] for sample in range(num_samples)])
        for key, row in zip(keys, rows, strict=True)
    ]
    write_jsonl(folder / VERDICTS, (row.to_json() for row in judged))
    return judged


def digest_rows(rows: Sequence[dict[str, Any]]) -> str:
    """16 hexadecimal digits of what is asked, for which pair and side, in order."""
    asked = [[row["pair_id"], row["side"], prompt_id(row["messages"])] for row in rows]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def read_answers(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """(prompt_id, sample) -> the record of the answer, see `launch.answers.draw.make_record`.

    Raises:
        ValueError: `FILE:LINE: ...` for a line that is no such record.
    """
    answers = {}
    for line, record in read_rows(path):
        kinds = [type(record.get(name)) for name in ("prompt_id", "sample", "response", "capped", "prompt_truncated")]
        if kinds != [str, int, str, bool, bool]:
            raise ValueError(f"{path}:{line}: not the record of an answer; delete the folder to start over")
        answers[record["prompt_id"], record["sample"]] = record
    return answers


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
