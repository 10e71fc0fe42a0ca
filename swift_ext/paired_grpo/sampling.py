"""What answers are drawn from: the whole softmax, to which GRPO's log-probs belong, or what sampling flags leave of it."""

from typing import Any

from swift.infer_engine.utils import prepare_generation_config

# Answers of --top_k -1 and 0. ms-swift hands both on as None, for which transformers takes the model's own number or 50;
# a number past every vocabulary is what reaches `generate` and cuts nothing.
EVERY_TOKEN = 2**31 - 1
# Fields of a generation config that change what is drawn, each with the value at which it does nothing.
NEUTRAL = {
    "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "top_h": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
}  # fmt: skip
WHY = (
    "answers are drawn from less than the softmax that their log-probs are taken of: what lies outside is never tried and "
    "never unlearned, and the training log looks better than an answer drawn freely (of one small scorer 93% of the answers "
    "had a score at top-k 50, and 76% of all)"
)


def draw_from_every_token(request_config: Any) -> None:
    """Makes `--top_k -1` and `--top_k 0` mean all tokens where transformers generates; see `EVERY_TOKEN`."""
    if request_config.top_k is not None and request_config.top_k <= 0:
        request_config.top_k = EVERY_TOKEN


def refuse_lost_sampling_flags(training_args: Any) -> None:
    """Refuses what ms-swift does not hand on to the generation of this run.

    Raises:
        ValueError: `--min_p` without vLLM.
    """
    if (training_args.min_p or 0) > 0 and not training_args.use_vllm:
        raise ValueError(f"--min_p {training_args.min_p:g} has no effect without --use_vllm true: leave it out")


def sampling_warnings(training_args: Any) -> list[str]:
    """What the flags cut away, in words; nothing for `--top_p 1 --top_k -1`."""
    cuts = []
    if (training_args.top_k or 0) > 0:
        cuts.append(f"--top_k {training_args.top_k}")
    for name in ("top_p", "min_p", "repetition_penalty"):
        value = getattr(training_args, name)
        if value is not None and value != NEUTRAL[name]:
            cuts.append(f"--{name} {value:g}")
    return [f"{', '.join(cuts)}: {WHY}; --top_k -1 --top_p 1.0 draw from all of it"] if cuts else []


def drawn(request_config: Any) -> str:
    """How transformers draws the answers, in words, once `draw_from_every_token` has been applied."""
    top_k = "all tokens" if request_config.top_k == EVERY_TOKEN else f"top-k {request_config.top_k}"
    return f"temperature {request_config.temperature:g}, top-p {request_config.top_p:g}, {top_k}"


def hidden_cuts(engine: Any, request_config: Any) -> dict[str, float]:
    """What the model's own generation_config.json adds to the flags, where transformers generates."""
    config = prepare_generation_config(engine.generation_config, request_config, engine.tokenizer)
    given = {"top_p", "repetition_penalty"}
    values = {name: getattr(config, name, None) for name in NEUTRAL.keys() - given}
    return {name: value for name, value in values.items() if value is not None and value != NEUTRAL[name]}
