"""Policies between two objectives against the best there is: `python -m launch.reproduce.trade_off`.

For weights (w, 1 - w) and rewards r = scale x score a policy is worth

    J_w = w E[r_A] + (1 - w) E[r_B] - beta KL(policy || reference),

which no policy has more of than ref exp((w r_A + (1 - w) r_B) / beta), whose J_w is beta E_x log E_ref exp(... / beta). Its means
are those of draws from the reference, each weighted by that exponential.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json
from datasets_builders.mistakes import exit_code, run_program
from launch.cli.flags import parse_pairs

if TYPE_CHECKING:
    import numpy as np

PROGRAM = "python -m launch.reproduce.trade_off"


def worth(means: dict[str, float], w: float, scale: float, beta: float) -> float:
    """J_w of a policy with mean scores `a` and `b` and divergence `kl`."""
    return scale * (w * means["a"] + (1 - w) * means["b"]) - beta * means["kl"]


def best(a: "np.ndarray", b: "np.ndarray", w: float, scale: float, beta: float) -> dict[str, float]:
    """Means of the optimum and its J_w, from scores (P, G) of G draws of the reference for each prompt.

    `draws` says of how many equally weighted draws a prompt's means are worth: few, and they are too low.
    """
    import numpy as np

    exponent = scale * (w * a + (1 - w) * b) / beta
    top = exponent.max(1, keepdims=True)
    weights = np.exp(exponent - top)
    total = weights.sum(1, keepdims=True)
    log_mean = np.log(total / a.shape[1]) + top
    share = weights / total
    log_ratio = exponent - log_mean
    return {
        "a": float((share * a).sum(1).mean()),
        "b": float((share * b).sum(1).mean()),
        "kl": float((share * log_ratio).sum(1).mean()),
        "j": float(beta * log_mean.mean()),
        "draws": float((1 / (share**2).sum(1)).mean()),
    }


def measure(
    base: Any, tokenizer: Any, policy: Any, prompts: Sequence[str], functions: Sequence[str], **how: int
) -> dict:
    """Mean scores of both objectives, mean divergence in nats, and the standard errors over prompts."""
    import numpy as np

    from launch.reproduce.continuations import divergence, draw

    texts: list[str] = []
    nats: list[float] = []
    for drawn in draw(policy, tokenizer, prompts, how["samples"], how["tokens"], how["seed"]):
        texts += drawn.texts
        nats += divergence(base, drawn).tolist() if policy is not base else [0.0] * len(drawn.texts)
    a, b = scored(texts, prompts, functions, how["tokens"])
    rows = {"a": a, "b": b, "kl": np.array(nats).reshape(len(prompts), -1)}
    found = {name: float(values.mean()) for name, values in rows.items()}
    errors = {f"{name}_error": float(v.mean(1).std(ddof=1) / math.sqrt(len(v))) for name, v in rows.items()}
    words = np.mean([len(set(text.split())) / max(1, len(text.split())) for text in texts])
    return {**found, **errors, "different_words": float(words)}


def scored(texts: Sequence[str], prompts: Sequence[str], functions: Sequence[str], tokens: int) -> list["np.ndarray"]:
    """Scores (P, G) by each function."""
    import numpy as np

    from trl_ext.objectives.text import call_text_function

    each = len(texts) // len(prompts)
    asked = [prompt for prompt in prompts for _ in range(each)]
    found = (call_text_function(function, asked, texts, [tokens] * len(texts)) for function in functions)
    return [np.array(values).reshape(len(prompts), each) for values in found]


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the reference")
    parser.add_argument("--policies", nargs="*", default=[], metavar="NAME=DIR", help="LoRA adapters on it")
    parser.add_argument("--prompts", type=Path, required=True, help="rows with `prompt`, none of which was trained on")
    parser.add_argument("--objectives", nargs=2, required=True, metavar="FUNCTION", help="A and B, dotted paths")
    parser.add_argument("--weights", nargs="+", type=float, required=True, metavar="W", help="of A")
    parser.add_argument("--scale", type=float, required=True, help="logits of a point of a score")
    parser.add_argument("--beta", type=float, required=True)
    parser.add_argument("--tokens", type=positive_integer, default=20, help="of a continuation")
    parser.add_argument("--samples", type=positive_integer, default=8, help="of each prompt by each policy")
    parser.add_argument("--best_samples", type=positive_integer, default=128, help="of each prompt for the optimum")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the file is written."""
    args = make_parser().parse_args(argv)
    policies = parse_pairs(args.policies, "--policies")
    from launch.reproduce.continuations import draw, load, read_texts

    prompts = read_texts(args.prompts)
    base, tokenizer = load(args.model)
    how = {"samples": args.samples, "tokens": args.tokens, "seed": args.seed}
    found: dict[str, dict[str, Any]] = {}
    for name, folder in {"untouched": None, **policies}.items():
        policy = base if folder is None else load(args.model, Path(folder))[0]
        means = found[name] = measure(base, tokenizer, policy, prompts, args.objectives, **how)
        means["j"] = {f"{w:g}": worth(means, w, args.scale, args.beta) for w in args.weights}
        row = "  ".join(f"J_{w} {value:.3f}" for w, value in means["j"].items())
        print(f"{name:24s} a {means['a']:.2f}  b {means['b']:.2f}  KL {means['kl']:.2f}  {row}", flush=True)
    drawn = draw(base, tokenizer, prompts, args.best_samples, args.tokens, args.seed + 1)
    a, b = scored([text for batch in drawn for text in batch.texts], prompts, args.objectives, args.tokens)
    optimum = {f"{w:g}": best(a, b, w, args.scale, args.beta) for w in args.weights}
    settings = {"scale": args.scale, "beta": args.beta, "prompts": len(prompts), **how}
    write_json(args.out, {"settings": settings, "policies": found, "optimum": optimum})
    print(f"{'optimum':24s} " + "  ".join(f"J_{w} {means['j']:.3f}" for w, means in optimum.items()))
    return 0


if __name__ == "__main__":
    run_program(lambda argv: exit_code(PROGRAM, lambda: main(argv)))
