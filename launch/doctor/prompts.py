"""Prompts of the online methods: kept and left out by reason, and room for weights and an answer."""

from itertools import chain, islice

from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.rows import readable
from launch.doctor.setup import Setup, here

NAME = "rows"


def check_prompts(setup: Setup, limit: int | None) -> list[Finding]:
    """Prompts of MOODPO and D2PO through their own readers, with the policy's tokenizer where it is here."""
    rows = setup.run.method.rows
    if rows not in ("prompt file", "prompts"):
        return []
    source = str(setup.value("csv_path" if rows == "prompt file" else "dataset_name") or "")
    if (rows == "prompt file" and here(source) is None) or (rows == "prompts" and not readable(source)):
        return skipped(
            NAME, f"{source or 'no data set'} is not here: its prompts are not checked", "name a file that is here"
        )
    if not setup.objects:
        return skipped(NAME, "the arguments were refused: prompts are not read")
    base = here(setup.base)
    if base is None:
        return skipped(NAME, f"{setup.named} is not here: its tokenizer decides about prompts")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    check = _moodpo if rows == "prompt file" else _d2po
    try:
        return check(setup, source, tokenizer, limit)
    except ValueError as problem:
        return error(NAME, str(problem), "the message names the flag and what is valid")


def _moodpo(setup: Setup, source: str, tokenizer, limit: int | None) -> list[Finding]:
    from trl_ext.moodpo.script import check_room
    from trl_ext.online_dpo.prompts import prepare_prompts, read_prompts, say_left_out

    options, args = setup.objects
    prompts = read_prompts(source, options.prompt_column)[:limit]
    kept, dropped = prepare_prompts(
        prompts, tokenizer, options.exp_type, options.min_prompt_tokens, options.max_prompt_tokens
    )
    if kept:
        check_room(kept[0], options, args, tokenizer)
    left_out = say_left_out(dropped, options.max_prompt_tokens, options.min_prompt_tokens)
    return _judge(source, len(kept), len(prompts), left_out)


def _d2po(setup: Setup, source: str, tokenizer, limit: int | None) -> list[Finding]:
    from datasets_builders.files.find import split_files
    from datasets_builders.files.read import read_file
    from trl_ext.d2po.script import PromptArguments, prepare_rows
    from trl_ext.online_dpo.prompts import count_tokens, say_left_out

    options = next(one for one in setup.objects if isinstance(one, PromptArguments))
    split = str(setup.value("dataset_train_split") or "train")
    splits = split_files(source, split)
    if split not in splits:
        return error(NAME, f"{source} has no split {split!r}", f"dataset_train_split: {' or '.join(splits)}")
    rows = islice(chain.from_iterable(map(read_file, splits[split])), limit)
    kept, total, dropped = prepare_rows(rows, tokenizer, options.max_prompt_tokens)
    if len(kept):
        needed = max(count_tokens(one, tokenizer) for one in kept["prompt"]) + setup.value("max_new_tokens")
        if needed > setup.value("max_length"):
            found = (
                f"the longest prompt and an answer need {needed} tokens, --max_length is {setup.value('max_length')}"
            )
            return error(NAME, found, f"max_length: {needed}, or a smaller max_prompt_tokens")
    return _judge(source, len(kept), total, say_left_out(dropped, options.max_prompt_tokens))


def _judge(source: str, kept: int, total: int, left_out: str) -> list[Finding]:
    found = f"{source}: {kept} of {total} prompts kept; left out: {left_out}"
    if not kept:
        return error(NAME, found, "change the limits that it names, or the file")
    return warning(NAME, found, "is that meant?") if kept < 0.5 * total else ok(NAME, found)
