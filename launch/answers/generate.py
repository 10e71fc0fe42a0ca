"""`python -m launch generate`: answers to distinct prompts, resumable, the same whether interrupted or not."""

import argparse
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_rows, write_jsonl
from datasets_builders.teacher.collect import FAILURES_IN_A_ROW
from launch.answers.backends import (
    Answer,
    Backend,
    Decoding,
    Item,
    TransformersBackend,
    is_failed,
)
from launch.answers.options import MAX_FAILED_SHARE, add_model_options, add_server_options, load_policy, settle_template
from launch.answers.policy import resolve_adapter
from launch.answers.prompts import Prompt, read_prompts, shard
from launch.answers.records import NO_COUNTS, check_label, shard_name
from launch.answers.server import OpenAIBackend, server_settings
from launch.cli.flags import add_batch_size, add_limit, add_max_new_tokens, add_num_samples, add_shard
from launch.cli.verbs import verb_parser
from launch.common.resume import PartialFile, check_settings, key_of
from trl_ext.modpo.digest import model_digest
from trl_ext.modpo.model_dir import resolve_model

ADAPTER = "policy"


def plan_batches(items: Sequence[Item], backend: Backend, batch_size: int) -> list[list[Item]]:
    """Batches of similar length; equal lengths keep the order of the file.

    A function of all items, finished ones included, so that a restart meets the same batches.
    """
    order = sorted(items, key=lambda item: backend.length(item.prompt))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def generate_shard(
    prompts: Sequence[Prompt],
    backend: Backend,
    *,
    target: Path,
    label: str,
    num_samples: int,
    batch_size: int,
    max_failed_share: float = MAX_FAILED_SHARE,
    retry_failed: bool = False,
) -> int:
    """Draws `num_samples` answers per prompt and writes them to `target`, in the order of `prompts`.

    Finished answers lie beside it in `*.partial.jsonl`, and a rerun skips them; `target` appears when all are there.

    Args:
        max_failed_share: of the answers, that may have failed (see `is_failed`); they are kept, not asked for again.
        retry_failed: ask for those again.

    Returns:
        The number of answers drawn by this call.

    Raises:
        ValueError: a damaged partial file, an error of the backend, or more failed answers than allowed; those that
            came are kept.
    """
    items = [Item(prompt, sample) for prompt in prompts for sample in range(num_samples)]
    with PartialFile(_partial_of(target)) as partial:
        if target.exists():
            partial.append(record for _, record in read_rows(target) if key_of(record) not in partial.records)
        again = {key for key, record in partial.records.items() if retry_failed and _failed(record)}
        failed, in_a_row, drawn = {}, 0, 0

        def keep(asked: Sequence[Item], answers: Sequence[Answer]) -> None:
            nonlocal drawn
            partial.append(make_record(item, answer, label) for item, answer in zip(asked, answers, strict=True))
            drawn += len(asked)

        for batch in plan_batches(items, backend, batch_size) if items else []:
            missing = [item for item in batch if _key(item) not in partial.records or _key(item) in again]
            if not missing:
                continue
            before = drawn
            for item, answer in backend.draw(batch if backend.whole_batches else missing, keep):
                failed[_key(item)] = make_record(item, answer, label)
            in_a_row = 0 if drawn > before else in_a_row + len(missing)
            print(f"{target.name}: {len(partial.records)} of {len(items)} answers", flush=True)
            if in_a_row >= FAILURES_IN_A_ROW:
                raise ValueError(f"{target}: {in_a_row} requests in a row got no answer; {_first(failed)}")
        records = [failed.get(_key(item)) or partial.records[_key(item)] for item in items]
        _check_failed(records, target, max_failed_share)
        write_jsonl(target, records)
        partial.remove()
    return drawn


def is_complete(target: Path, retry_failed: bool) -> bool:
    """Whether `generate_shard` has nothing to ask for, once the newer answers of a stopped run are in `target`.

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
    found = f"{len(failed)} of {len(records)} answers failed ({_kinds(failed)}); {_first(dict(enumerate(failed)))}"
    if len(failed) > max_failed_share * len(records):
        raise ValueError(
            f"{target}: {found}. Above --max_failed_share {max_failed_share:g}; what came is kept: go on with "
            "--retry_failed, which asks for these again, or allow a larger share"
        )
    print(f"{target.name}: {found}; they count as they are, --retry_failed asks for them again", flush=True)


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


def _settings(args: argparse.Namespace, decoding: Decoding, prompts: Sequence[Prompt]) -> dict[str, Any]:
    ids = "".join(prompt.prompt_id for prompt in prompts)
    settings = {
        "backend": args.backend,
        **dataclasses.asdict(decoding),
        "system": args.system,
        "batch_size": args.batch_size,
        "world_size": args.world_size,
        "prompts": len(prompts),
        "prompts_sha256": hashlib.sha256(ids.encode()).hexdigest(),
    }
    if args.backend == "openai":
        return settings | server_settings(args.base_url, args.api_model, decoding)
    directory = resolve_model(args.model, args.trust_remote_code)
    settings |= {
        "model": args.model,
        "model_fingerprint": model_digest(directory),
        "adapter": args.adapter,
        "adapter_fingerprint": model_digest(resolve_adapter(args.adapter)) if args.adapter else None,
        "model_type": args.model_type,
        "template": args.template,
        "torch_dtype": args.torch_dtype,
        "max_length": args.max_length,
        "max_input_length": args.max_input_length,
    }
    return settings


def _check_backend(args: argparse.Namespace) -> None:
    if args.backend == "transformers":
        if not args.model:
            raise ValueError("--backend transformers needs --model")
        if args.base_url or args.api_model:
            raise ValueError("--base_url and --api_model belong to --backend openai")
        settle_template(args, [args.adapter] if args.adapter else [])
        return
    if not args.base_url or not args.api_model:
        raise ValueError("--backend openai needs --base_url and --api_model")
    local = ("model", "adapter", "model_type", "template", "torch_dtype", "max_length", "max_input_length")
    if given := [f"--{name}" for name in local if getattr(args, name)]:
        raise ValueError(f"{', '.join(given)}: the server decides this with --backend openai")


def _backend(args: argparse.Namespace, decoding: Decoding) -> Backend:
    if args.backend == "openai":
        return OpenAIBackend(args.base_url, args.api_model, decoding, args.system, args.rpm_limit)
    policy = load_policy(args, {ADAPTER: args.adapter} if args.adapter else None)
    return TransformersBackend(policy, decoding, args.max_input_length)


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("generate", __doc__)
    add_model_options(parser, required=False)
    parser.add_argument("--adapter", metavar="DIR", help="LoRA adapter to generate with")
    parser.add_argument("--prompts", required=True, metavar="FILE", help="rows with messages or prompt")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of one folder per label")
    parser.add_argument(
        "--label", required=True, metavar="NAME", help="name of this model in tables; answers go to DIR/NAME"
    )
    add_limit(parser, "the first so many distinct prompts", dest="eval_size")
    parser.add_argument("--max_input_length", type=positive_integer, help="tokens; longer prompts lose their beginning")
    add_max_new_tokens(parser, 256)
    add_batch_size(parser, 8, "prompts answered at once, or requests under way")
    parser.add_argument("--do_sample", action="store_true", help="sample; greedy otherwise")
    parser.add_argument("--temperature", type=float, default=1.0, help="temperature of --do_sample")
    parser.add_argument("--top_p", type=float, default=1.0, help="draw from the likeliest tokens with this share")
    parser.add_argument("--top_k", type=positive_integer, help="draw from so many of the likeliest tokens (default: all)")
    parser.add_argument("--repetition_penalty", type=float, default=1.0, help="divides the logits of tokens that were there; 1: none")
    parser.add_argument("--no_repeat_ngram_size", type=int, default=0, help="tokens of a sequence that may not come again; 0: any")
    add_num_samples(parser, 1, "answers to each prompt")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")
    add_shard(parser, "parts of the prompts", dest=("rank", "world_size"))
    parser.add_argument("--backend", choices=("transformers", "openai"), default="transformers", help="what answers: a model here, or the server at --base_url")
    parser.add_argument("--base_url", metavar="URL", help="address of the server; its key is read from OPENAI_API_KEY")
    parser.add_argument("--api_model", metavar="NAME", help="model name at the server")
    add_server_options(parser)
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the shard is complete."""
    args = make_parser().parse_args(argv)
    _check_backend(args)
    decoding = Decoding(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Decoding)})
    prompts = read_prompts(args.prompts, args.eval_size)
    mine = shard(prompts, args.rank, args.world_size)
    directory = Path(args.out) / check_label(args.label)
    check_settings(directory / "generate.json", _settings(args, decoding, prompts))
    target = directory / shard_name(args.rank, args.world_size)
    if is_complete(target, args.retry_failed):
        print(f"{target}: complete already")
        return 0
    backend = _backend(args, decoding)
    try:
        drawn = generate_shard(
            mine,
            backend,
            target=target,
            label=args.label,
            num_samples=args.num_samples,
            batch_size=args.batch_size,
            max_failed_share=args.max_failed_share,
            retry_failed=args.retry_failed,
        )
    finally:
        backend.close()
    print(f"{target}: {drawn} answers drawn, {len(mine)} prompts in all")
    return 0
