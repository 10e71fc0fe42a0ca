"""`python -m launch generate`: answers to distinct prompts, resumable, the same whether interrupted or not."""

import argparse
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_builders.io import write_jsonl
from launch.evaluate.backends import Backend, Decoding, Item, OpenAIBackend, TransformersBackend
from launch.evaluate.options import add_model_options, load_policy, positive
from launch.evaluate.policy import resolve_adapter
from launch.evaluate.prompts import Prompt, read_prompts, shard
from launch.evaluate.records import check_label, shard_name
from launch.evaluate.resume import PartialFile, check_settings
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
    prompts: Sequence[Prompt], backend: Backend, *, target: Path, label: str, num_samples: int, batch_size: int
) -> int:
    """Draws `num_samples` answers a prompt and writes them to `target`, in the order of `prompts`.

    Finished batches lie beside it in `*.partial.jsonl`, and a rerun skips them; `target` appears when all are there.

    Returns:
        The number of answers drawn by this call.

    Raises:
        ValueError: a damaged partial file, or an error of the backend.
    """
    items = [Item(prompt, sample) for prompt in prompts for sample in range(num_samples)]
    partial = PartialFile(target.with_name(f"{target.stem}.partial.jsonl"))
    drawn = 0
    for batch in plan_batches(items, backend, batch_size) if items else []:
        if all((item.prompt.prompt_id, item.sample) in partial.records for item in batch):
            continue
        # A batch of which only a part was saved is drawn again as a whole: its padding is part of the arithmetic.
        answers = backend.generate(batch)
        partial.append([make_record(item, answer, label) for item, answer in zip(batch, answers, strict=True)])
        drawn += len(batch)
        print(f"{target.name}: {len(partial.records)} of {len(items)} answers", flush=True)
    write_jsonl(target, (partial.records[item.prompt.prompt_id, item.sample] for item in items))
    partial.path.unlink(missing_ok=True)
    return drawn


def make_record(item: Item, answer: Any, label: str) -> dict[str, Any]:
    """The JSON record of one answer."""
    return {
        "prompt_id": item.prompt.prompt_id,
        "sample": item.sample,
        "messages": item.prompt.messages,
        "prompt": item.prompt.messages[-1]["content"],
        **dataclasses.asdict(answer),
        "label": label,
    }


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
        return {**settings, "base_url": args.base_url, "api_model": args.api_model}
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
        return
    if not args.base_url or not args.api_model:
        raise ValueError("--backend openai needs --base_url and --api_model")
    local = ("model", "adapter", "model_type", "template", "torch_dtype", "max_length", "max_input_length")
    if given := [f"--{name}" for name in local if getattr(args, name)]:
        raise ValueError(f"{', '.join(given)}: the server decides this with --backend openai")


def _backend(args: argparse.Namespace, decoding: Decoding) -> Backend:
    if args.backend == "openai":
        return OpenAIBackend(args.base_url, args.api_model, decoding, args.system)
    policy = load_policy(args, {ADAPTER: args.adapter} if args.adapter else None)
    return TransformersBackend(policy, decoding, args.max_input_length)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m launch generate", description=__doc__)
    add_model_options(parser, required=False)
    parser.add_argument("--adapter", metavar="DIR", help="LoRA adapter to generate with")
    parser.add_argument("--prompts", required=True, metavar="FILE", help="rows with messages or prompt")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument(
        "--label", required=True, metavar="NAME", help="name of this model in tables; answers go to DIR/NAME"
    )
    parser.add_argument("--eval_size", type=positive, help="the first so many distinct prompts (default: all)")
    parser.add_argument("--max_input_length", type=positive, help="tokens; longer prompts lose their beginning")
    parser.add_argument("--max_new_tokens", type=positive, default=256)
    parser.add_argument("--batch_size", type=positive, default=8, help="prompts a batch, or requests in flight")
    parser.add_argument("--do_sample", action="store_true", help="sample; greedy otherwise")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top_p", type=float, default=1.0)
    parser.add_argument("--top_k", type=positive, help="default: all tokens")
    parser.add_argument("--repetition_penalty", type=float, default=1.0)
    parser.add_argument("--no_repeat_ngram_size", type=int, default=0)
    parser.add_argument("--num_samples", type=positive, default=1, help="answers a prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--world_size", type=positive, default=1)
    parser.add_argument("--backend", choices=("transformers", "openai"), default="transformers")
    parser.add_argument("--base_url", metavar="URL", help="of the server; its key is read from OPENAI_API_KEY")
    parser.add_argument("--api_model", metavar="NAME", help="model name at the server")
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
    if target.exists():
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
        )
    finally:
        backend.close()
    print(f"{target}: {drawn} answers drawn, {len(mine)} prompts in all")
    return 0
