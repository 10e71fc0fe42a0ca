"""`python -m launch generate-checkpoints`: answers of the checkpoints of a run to the same prompts, seeded and resumable.

It samples (temperature 0.9, top-p 0.9, repetition penalty 1.2, as the reference's evaluation does), where `generate` takes
the likeliest tokens. Models are loaded without ms-swift.
"""

import dataclasses
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_rows, write_jsonl
from launch.answers.backends import Decoding, LocalBackend
from launch.answers.checkpoint_answers import ANSWERS_FILE, Question, read_questions
from launch.answers.checkpoints import Checkpoint, find_checkpoints
from launch.answers.draw import draw, prompt_facts, weight_facts
from launch.answers.local import LOCAL, add_backend, backend_of, check_local, load_model
from launch.answers.records import shard_name
from launch.cli.flags import add_batch_size, add_limit, add_max_new_tokens, add_num_samples, add_torch_dtype
from launch.cli.verbs import verb_parser

OF_THE_REFERENCE = {
    "--basemodel": "--model", "--dset": "--prompts", "--ckname": "--checkpoints", "--fname": "--out",
    "--bsize": "--num_samples", "--maxlen": "--max_new_tokens", "--genbatch": "--batch_size",
}  # fmt: skip


def generate(
    checkpoint: Checkpoint,
    questions: Sequence[Question],
    out: Path,
    decoding: Decoding,
    *,
    batch_size: int = 8,
    max_input_length: int | None = None,
    torch_dtype: str | None = None,
    backend: str = LOCAL[0],
) -> Path:
    """Answers of one checkpoint to every question, in `out/NAME/00001-of-00001.jsonl`, which is returned.

    An interrupted call is continued by the next one; a finished one is not repeated. An answer depends on the seed,
    the prompt and the number of the sample, and on the settings written beside it.

    Raises:
        ValueError: the folder holds answers made with other settings, or the model cannot be loaded.
    """
    target = out / checkpoint.label / shard_name(0, 1)
    prompts = [question.prompt for question in questions]
    settings = {
        **dataclasses.asdict(decoding),
        **weight_facts(checkpoint.model, checkpoint.adapter),
        **prompt_facts(prompts),
        "batch_size": batch_size,
        "max_input_length": max_input_length,
        "torch_dtype": torch_dtype,
        **({"backend": backend} if backend != LOCAL[0] else {}),
    }

    def make_backend() -> LocalBackend:
        how = {"adapters": checkpoint.adapter, "kind": "assistant", "torch_dtype": torch_dtype}
        return backend_of(load_model(backend, checkpoint.model, **how), decoding, max_input_length)

    draw(
        prompts,
        make_backend,
        target,
        settings=settings,
        label=checkpoint.label,
        num_samples=decoding.num_samples,
        batch_size=batch_size,
    )
    return target


def answer_rows(checkpoint: Checkpoint, target: Path, questions: Sequence[Question]) -> Iterator[dict[str, Any]]:
    """The rows of `answers.jsonl` of one checkpoint; `metadata` is what the row of the question holds beside it."""
    metadata = {question.prompt.prompt_id: question.metadata for question in questions}
    for _, record in read_rows(target):
        yield {
            "prompt_id": record["prompt_id"],
            "question": record["prompt"],
            "response": record["response"],
            "checkpoint": checkpoint.label,
            "step": checkpoint.step,
            "sample": record["sample"],
            "response_tokens": record["response_tokens"],
            "capped": record["capped"],
            "prompt_truncated": record["prompt_truncated"],
            "metadata": metadata[record["prompt_id"]],
        }


def make_parser() -> Parser:
    """The command line. Sampling defaults are those of the reference's evaluation."""
    parser = verb_parser("generate-checkpoints", __doc__)
    parser.add_argument(
        "--checkpoints", nargs="+", required=True, metavar="FOLDER", help="folders, globs or whole runs"
    )
    parser.add_argument("--model", metavar="PATH", help="base model; needed for adapters and --base")
    parser.add_argument("--base", action="store_true", help="the untouched model as well, as step 0")
    parser.add_argument("--first", type=int, default=0, metavar="STEP", help="least step (default 0)")
    parser.add_argument("--last", type=int, metavar="STEP", help="greatest step (default: none)")
    parser.add_argument(
        "--every", type=positive_integer, default=1, metavar="STEPS", help="keep multiples of it (default 1)"
    )
    parser.add_argument("--prompts", required=True, metavar="FILE", help="rows with question, prompt or messages")
    add_limit(parser, "the first so many distinct prompts", dest="eval_size")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help=f"folder for NAME/ and {ANSWERS_FILE}")
    parser.add_argument("--max_input_length", type=positive_integer, help="tokens; longer prompts lose their beginning")
    add_max_new_tokens(parser, 256)
    parser.add_argument("--temperature", type=float, default=0.9, help="temperature of the draws, above 0")
    parser.add_argument("--top_p", type=float, default=0.9, help="draw from the likeliest tokens with this share")
    parser.add_argument(
        "--repetition_penalty", type=float, default=1.2, help="divides the logits of tokens that were there; 1: none"
    )
    add_num_samples(parser, 1, "answers to each prompt")
    add_batch_size(parser, 8, "prompts answered at once")
    add_torch_dtype(parser)
    add_backend(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")
    for old, new in OF_THE_REFERENCE.items():
        parser.rename(old, new)
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when every checkpoint has answered every prompt."""
    args = make_parser().parse_args(argv)
    checkpoints = find_checkpoints(
        args.checkpoints, args.model, first=args.first, last=args.last, every=args.every, base=args.base
    )
    questions = read_questions(args.prompts, args.eval_size)
    names = {field.name for field in dataclasses.fields(Decoding)} & vars(args).keys()
    decoding = Decoding(do_sample=True, **{name: getattr(args, name) for name in names})
    check_local(args.backend, decoding)
    targets = {}
    for checkpoint in checkpoints:
        targets[checkpoint] = generate(
            checkpoint,
            questions,
            args.out,
            decoding,
            batch_size=args.batch_size,
            max_input_length=args.max_input_length,
            torch_dtype=args.torch_dtype,
            backend=args.backend,
        )
        gc.collect()  # the last model goes before the next one comes
    rows = (row for checkpoint, target in targets.items() for row in answer_rows(checkpoint, target, questions))
    count = write_jsonl(args.out / ANSWERS_FILE, rows)
    print(f"{args.out / ANSWERS_FILE}: {count} answers, {len(questions)} prompts, {len(checkpoints)} checkpoints")
    return 0
