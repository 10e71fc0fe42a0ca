"""Answers to prompts, drawn and kept: resumable, the same whether interrupted or not, with their settings beside them."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from datasets_builders.io import read_rows, write_jsonl
from datasets_builders.progress import progress
from launch.answers.backends import Answer, Backend, Item, is_failed
from launch.answers.policy import resolve_adapter
from launch.answers.prompts import Prompt
from launch.answers.records import MAX_FAILED_SHARE, NO_COUNTS, check_label
from launch.common.resume import PartialFile, check_settings, key_of
from trl_ext.modpo.digest import model_digest
from trl_ext.modpo.model_dir import resolve_model


def draw(
    prompts: Sequence[Prompt],
    make_backend: Callable[[], Backend],
    target: Path,
    *,
    settings: Mapping[str, Any],
    settings_file: str = "generate.json",
    label: str,
    num_samples: int,
    batch_size: int,
    max_failed_share: float = MAX_FAILED_SHARE,
    retry_failed: bool = False,
) -> int:
    """Answers to all `prompts` in `target`, one record an answer, in the order of the prompts and of the samples.

    What is there is not drawn again, and no model is loaded when nothing is missing. Finished answers lie beside
    `target` in `*.partial.jsonl`; it appears when all are there.

    Args:
        make_backend: called when answers are missing; what it made is closed at the end.
        settings: what decides the answers; stored beside them in `settings_file`, and compared upon a rerun.
        label: names the model in the answers.
        batch_size: answers drawn at once; a back end that batches by itself is given all of them.
        max_failed_share: of the answers, that may have failed (see `is_failed`); they are kept, not asked for again.
        retry_failed: ask for those again.

    Returns:
        The number of answers drawn by this call.

    Raises:
        ValueError: the folder was made with other settings, a damaged file, an error of the backend, or more failed
            answers than allowed; those that came are kept.
    """
    check_label(label)
    check_settings(target.parent / settings_file, dict(settings))
    if _is_complete(target, retry_failed):
        print(f"{target}: complete already")
        return 0
    with closing(make_backend()) as backend:
        return _draw_missing(prompts, backend, target, label, num_samples, batch_size, max_failed_share, retry_failed)


def plan_batches(items: Sequence[Item], backend: Backend, batch_size: int) -> list[list[Item]]:
    """Batches of similar length; equal lengths keep the order of the file.

    A function of all items, finished ones included, so that a restart meets the same batches.
    """
    if backend.own_batches:
        return [list(items)]
    order = sorted(items, key=lambda item: backend.length(item.prompt))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _draw_missing(
    prompts: Sequence[Prompt],
    backend: Backend,
    target: Path,
    label: str,
    num_samples: int,
    batch_size: int,
    max_failed_share: float,
    retry_failed: bool,
) -> int:
    from datasets_builders.teacher.collect import FAILURES_IN_A_ROW

    items = [Item(prompt, sample) for prompt in prompts for sample in range(num_samples)]
    with PartialFile(_partial_of(target)) as partial, ExitStack() as stack:
        if target.exists():
            partial.append(record for _, record in read_rows(target) if key_of(record) not in partial.records)
        again = {key for key, record in partial.records.items() if retry_failed and _failed(record)}
        failed, in_a_row, drawn = {}, 0, 0
        new = {_key(item) for item in items if _key(item) not in partial.records} | again
        bar = stack.enter_context(progress(len(items), label, "answers", len(items) - len(new)))

        def keep(asked: Sequence[Item], answers: Sequence[Answer]) -> None:
            nonlocal drawn
            partial.append(make_record(item, answer, label) for item, answer in zip(asked, answers, strict=True))
            drawn += len(asked)
            came = new & set(map(_key, asked))  # a batch that is drawn as a whole holds old ones too
            new.difference_update(came)
            bar.update(len(came))

        for batch in plan_batches(items, backend, batch_size) if items else []:
            missing = [item for item in batch if _key(item) not in partial.records or _key(item) in again]
            if not missing:
                continue
            before = drawn
            for item, answer in backend.draw(batch if backend.whole_batches else missing, keep):
                failed[_key(item)] = make_record(item, answer, label)
            in_a_row = 0 if drawn > before else in_a_row + len(missing)
            if in_a_row >= FAILURES_IN_A_ROW:
                raise ValueError(f"{target}: {in_a_row} requests in a row got no answer; {_first(failed)}")
        bar.close()
        print(f"{target.name}: {len(partial.records)} of {len(items)} answers", flush=True)
        records = [failed.get(_key(item)) or partial.records[_key(item)] for item in items]
        _check_failed(records, target, max_failed_share)
        write_jsonl(target, records)
        partial.remove()
    return drawn


def _is_complete(target: Path, retry_failed: bool) -> bool:
    """Whether there is nothing to ask for, once the newer answers of a stopped run are in `target`.

    A run that was stopped while it asked again for failed answers leaves a partial file beside the whole one.
    """
    if not target.exists():
        return False
    records = [row for _, row in read_rows(target)]
    if (path := _partial_of(target)).exists():
        with PartialFile(path) as partial:
            newer = [partial.records.get(key_of(record), record) for record in records]
            records = [old if _failed(new) else new for old, new in zip(records, newer, strict=True)]
            write_jsonl(target, records)
            partial.remove()
    return not (retry_failed and any(map(_failed, records)))


def _partial_of(target: Path) -> Path:
    return target.with_name(f"{target.stem}.partial.jsonl")


def _failed(record: Mapping[str, Any]) -> bool:
    return is_failed(record.get("problem"))


def _key(item: Item) -> tuple[str, int]:
    return item.prompt.prompt_id, item.sample


def _first(failed: Mapping[Any, dict[str, Any]]) -> str:
    record = next(iter(failed.values()))
    return f"the first, to prompt {record['prompt_id']}: {record['problem']}"


def _check_failed(records: Sequence[dict[str, Any]], target: Path, max_failed_share: float) -> None:
    odd = [record for record in records if record.get("problem") and not _failed(record)]
    if odd:
        print(f"{target.name}: {len(odd)} of {len(records)} answers are odd but usable ({_kinds(odd)})", flush=True)
        if any(record["problem"] == NO_COUNTS for record in odd):
            print(f"{target.name}: response_tokens is 0 where the server sent no counts; go by words", flush=True)
    failed = [record for record in records if _failed(record)]
    if not failed:
        return
    kinds, first = _kinds(failed), _first(dict(enumerate(failed)))
    found = f"{target}: {len(failed)} of {len(records)} answers failed ({kinds}); {first}"
    fate = "they count as they are, --retry_failed asks for them again"
    check_failed_share(len(failed), len(records), max_failed_share, found, fate)


def check_failed_share(failed: int, total: int, largest: float, found: str, fate: str) -> None:
    """Refuses more failed answers than allowed; says what becomes of a few.

    Args:
        found: who failed, for a message.
        fate: what becomes of them.

    Raises:
        ValueError: more of them than the share `largest` of `total`.
    """
    if failed > largest * total:
        raise ValueError(
            f"{found}. Above --max_failed_share {largest:g}; what came is kept: go on with --retry_failed, which asks for "
            "these again, or allow a larger share"
        )
    print(f"{found}; {fate}", flush=True)


def _kinds(records: Sequence[dict[str, Any]]) -> str:
    kinds = Counter(record["problem"].partition(":")[0] for record in records)
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))


def make_record(item: Item, answer: Answer, label: str) -> dict[str, Any]:
    """The JSON record of one answer; `problem` stands there only where there is one."""
    record = {
        "prompt_id": item.prompt.prompt_id,
        "sample": item.sample,
        "messages": item.prompt.messages,
        "prompt": item.prompt.messages[-1]["content"],
        **dataclasses.asdict(answer),
        "label": label,
    }
    if not answer.problem:
        del record["problem"]
    return record


def prompt_facts(prompts: Iterable[Prompt]) -> dict[str, Any]:
    """What settings say of the prompts: their number and a digest of their keys in order."""
    keys = [prompt.prompt_id for prompt in prompts]
    return {"prompts": len(keys), "prompts_sha256": hashlib.sha256("".join(keys).encode()).hexdigest()}


def weight_facts(model: str, adapter: str | None, trust_remote_code: bool = False) -> dict[str, str | None]:
    """What settings say of the weights: digests of the files of the model and of its adapter.

    Raises:
        ValueError: see `resolve_model` and `resolve_adapter`.
    """
    return {
        "model_fingerprint": model_digest(resolve_model(model, trust_remote_code)),
        "adapter_fingerprint": model_digest(resolve_adapter(adapter)) if adapter else None,
    }
