"""`python -m launch pareto`: steered, fixed, mixed and untouched policies answer the same prompts and are scored alike.

Answers and scores lie in files of their own; a rerun draws what is missing. The picture and the tables come last, and
`python -m launch pareto-draw` makes them again.
"""

import argparse
import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_object, read_rows, write_json, write_jsonl
from launch.answers.backends import Decoding
from launch.answers.draw import draw, prompt_facts
from launch.answers.local import LOCAL, add_backend, backend_of, check_local
from launch.answers.prompts import Prompt, read_prompts
from launch.answers.records import shard_name
from launch.cli.flags import add_batch_size, add_limit, add_max_new_tokens, add_num_samples
from launch.cli.verbs import verb_parser
from launch.common.resume import check_settings
from launch.moodpo import pareto_draw
from launch.moodpo.points import Point, all_points, asked_weights, parse_policies, write_points
from launch.moodpo.steer import add_form_options, read_decoding
from launch.moodpo.steered import asking, load_form, load_policy
from launch.moodpo.weights import lattice, parse_weights
from trl_ext.modpo.digest import model_digest
from trl_ext.modpo.model_dir import resolve_model

SHARD = shard_name(0, 1)
digest = functools.cache(model_digest)


def place_of(point: Point, base: str) -> tuple[str, str | None]:
    """(model, adapter) that answers for a point."""
    if point.path is None:
        return base, None
    if Path(point.path, "adapter_config.json").is_file():
        return base, point.path
    return point.path, None


def generation_settings(
    point: Point, options: argparse.Namespace, decoding: Decoding, prompts: Sequence[Prompt]
) -> dict[str, Any]:
    """Everything that the answers of a point depend on."""
    model, adapter = place_of(point, options.model)
    return {
        **dataclasses.asdict(decoding),
        **{name: getattr(options, name) for name in ("batch_size", "torch_dtype", "exp_type")},
        **({"backend": options.backend} if options.backend != LOCAL[0] else {}),
        "model_fingerprint": digest(resolve_model(model)),
        "adapter_fingerprint": digest(adapter) if adapter else None,
        "instruction": list(point.names),
        "weights": list(point.weights) if point.names else None,
        "prompts_sha256": prompt_facts(prompts)["prompts_sha256"],
    }


def generate_points(
    points: Sequence[Point], names: Sequence[str], prompts: Sequence[Prompt], options, decoding: Decoding
) -> None:
    """Draws the answers that are not there yet; each model is loaded once for all the points it answers for.

    Raises:
        ValueError: answers in the folder that were drawn with other settings.
    """
    folders = {point.label: options.out / "generations" / point.label for point in points}
    for point in points:
        check_settings(folders[point.label] / "generate.json", generation_settings(point, options, decoding, prompts))
    left = [point for point in points if not (folders[point.label] / SHARD).exists()]
    for place in dict.fromkeys(place_of(point, options.model) for point in left):
        own = [point for point in left if place_of(point, options.model) == place]
        _generate_with(place, own, names, prompts, options, decoding)


def _generate_with(place, points, names, prompts, options, decoding) -> None:
    # A function of its own, so that one model is gone before the next one is loaded.
    policy = load_policy(*place, options.exp_type, options.torch_dtype, options.backend)
    for point in points:
        asked = asking(policy, point.names, asked_weights(point, names)) if point.names else policy
        print(point.label, flush=True)
        draw(
            prompts,
            functools.partial(backend_of, asked, decoding),
            options.out / "generations" / point.label / SHARD,
            settings=generation_settings(point, options, decoding, prompts),
            label=point.label,
            num_samples=decoding.num_samples,
            batch_size=options.batch_size,
        )


def score_points(points: Sequence[Point], texts: Sequence[str], prompts: Sequence[Prompt], options) -> None:
    """Scores the answers that have no scores yet, or scores of other answers or objectives. Raw scores; NaN is null."""
    from trl_ext.moodpo.rewards import RewardBundle, get_reward_specs

    form, rewards = load_form(options.model, None, options.exp_type), None
    plain = {prompt.prompt_id: form.plain(prompt.messages) for prompt in prompts}
    for point in points:
        answers = options.out / "generations" / point.label / SHARD
        target = options.out / "scores" / f"{point.label}.jsonl"
        made_of = {"objectives": list(texts), "answers_sha256": hashlib.sha256(answers.read_bytes()).hexdigest()}
        note = target.with_suffix(".json")
        if target.exists() and note.exists() and read_object(note) == made_of:
            continue
        if rewards is None:
            rewards = RewardBundle(get_reward_specs(texts), device=_device(), batch_size=options.batch_size)
        records = [record for _, record in read_rows(answers)]
        raw = rewards.score(
            [plain[record["prompt_id"]] for record in records],
            [record["response"] for record in records],
            response_tokens=[record["response_tokens"] for record in records],
            what=point.label,
        )
        note.unlink(missing_ok=True)
        write_jsonl(target, (_score_row(*pair, rewards.names) for pair in zip(records, raw.tolist(), strict=True)))
        write_json(note, made_of)
        print(f"{target.name}: {len(records)} answers scored", flush=True)


def _score_row(record: dict[str, Any], values: Sequence[float], names: Sequence[str]) -> dict[str, Any]:
    scores = {name: value if math.isfinite(value) else None for name, value in zip(names, values, strict=True)}
    return {"prompt_id": record["prompt_id"], "sample": record["sample"], "scores": scores, "capped": record["capped"]}


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("pareto", __doc__)
    parser.add_argument("--model", required=True, metavar="PATH", help="base model of the adapters; drawn as untouched")
    parser.add_argument("--adapter", metavar="DIR", help="short for --policy moodpo=moodpo:DIR")
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="NAME=KIND:PATH",
        help="KIND moodpo (steered by weights; without :PATH the base model), fixed, or soup (a folder of `soup`)",
    )
    parser.add_argument("--prompts", required=True, metavar="FILE", help="held-out prompts")
    parser.add_argument(
        "--objectives", required=True, nargs="+", metavar="NAME", help="written as --reward_models in training"
    )
    wishes = parser.add_mutually_exclusive_group()
    wishes.add_argument(
        "--steps", type=positive_integer, help="weights are multiples of 1/STEPS (default: 10; 4 from three)"
    )
    wishes.add_argument("--weights", action="append", metavar="NAME=WEIGHT,...", help="these weights instead; repeat")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder of answers, scores, tables and the picture"
    )
    add_limit(parser, "the first so many distinct prompts", dest="eval_size")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest tokens")
    add_max_new_tokens(parser, 128)
    add_num_samples(parser, 2, "answers to each prompt at each point; at least 2 for the measure of dispersion")
    add_batch_size(parser, 16, "prompts answered at once")
    add_form_options(parser)
    add_backend(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when everything is generated, scored and drawn."""
    options = make_parser().parse_args(argv)
    from trl_ext.moodpo.rewards import get_reward_specs

    names = [spec.name for spec in get_reward_specs(options.objectives)]
    vectors = lattice(len(names), options.steps)
    if options.weights:
        vectors = [parse_weights(text, names) for text in options.weights]
    short = [f"moodpo=moodpo:{options.adapter}"] if options.adapter else []
    points = all_points(parse_policies([*short, *options.policy]), names, vectors)
    decoding = read_decoding(options)
    check_local(options.backend, decoding)
    prompts = read_prompts(options.prompts, options.eval_size)
    generate_points(points, names, prompts, options, decoding)
    score_points(points, options.objectives, prompts, options)
    write_points(options.out, names, vectors, points)
    return pareto_draw.main(["--out", str(options.out)])
