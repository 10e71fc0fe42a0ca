"""Tokens per second of answers by `--backend vllm`, against those by transformers, in one process.

    python benchmarks/vllm_backend.py --model SMOLLM2 [--answers 48] [--max_new_tokens 96] [--rounds 3] [--out RESULT.json]

Both give answers to the same prompts (of the likeliest tokens; drawn with `--do_sample`), through the code that the verbs use;
they take turns at being first, after a short round that warms both up, and loading is left out. Transformers is given batches of
similar length, vLLM all answers at once. Tokens are those of the answers, end tokens included. On a machine with other load the
ratio of processor time is the steady one; it counts because the engine runs in this process
(`VLLM_ENABLE_V1_MULTIPROCESSING=0`, set here), and with one thread alone: threads that wait for each other count as busy.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SHORT = 8  # tokens of the round that warms up


def backends(options, tokens: int) -> dict:
    """{name: back end of its loaded model}."""
    from launch.answers.backends import Decoding
    from launch.answers.local import LOCAL, backend_of, load_model

    decoding = Decoding(
        max_new_tokens=tokens, do_sample=options.do_sample, temperature=options.temperature, top_p=options.top_p
    )
    how = {"adapters": options.adapter, "torch_dtype": options.torch_dtype}
    return {name: backend_of(load_model(name, options.model, **how), decoding) for name in LOCAL}


def one_round(backend, items, batch_size: int) -> dict:
    """{tokens, elapsed, processor: seconds} of answers to all items."""
    from launch.answers.draw import plan_batches

    tokens = []
    begun, used = time.perf_counter(), time.process_time()
    for batch in plan_batches(items, backend, batch_size):
        backend.draw(batch, lambda _, answers: tokens.extend(answer.response_tokens for answer in answers))
    taken = {"elapsed": time.perf_counter() - begun, "processor": time.process_time() - used}
    return {"tokens": sum(tokens), **taken}


def measure(options) -> dict:
    """Medians over the rounds: tokens per second of each, and the ratio of vLLM to transformers within a round."""
    import torch

    from benchmarks.turns import prompts
    from launch.answers.backends import Item
    from launch.answers.prompts import keyed

    items = [Item(keyed(messages), 0) for messages in prompts(options.answers)]
    both = backends(options, options.max_new_tokens)
    for backend in both.values():
        one_round(backend, items[:SHORT], options.batch_size)
    rounds = []
    for turn in range(options.rounds):
        order = list(both)[:: -1 if turn % 2 else 1]
        rounds.append({name: one_round(both[name], items, options.batch_size) for name in order})
    speed = {
        name: {
            kind: statistics.median(one[name]["tokens"] / one[name][kind] for one in rounds)
            for kind in ("elapsed", "processor")
        }
        for name in both
    }
    ratios = {
        kind: [
            (one["vllm"]["tokens"] / one["vllm"][kind]) / (one["transformers"]["tokens"] / one["transformers"][kind])
            for one in rounds
        ]
        for kind in ("elapsed", "processor")
    }
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} "
        f"thread(s), load {os.getloadavg()[0]:.1f}",
        "versions": {name: version(name) for name in ("vllm", "torch", "transformers")},
        "command": " ".join(["python", *sys.argv]),
        "answers": options.answers,
        "rounds": rounds,
        "tokens_per_second": speed,
        "median_ratio": {kind: statistics.median(values) for kind, values in ratios.items()},
        "ratios": ratios,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--answers", type=int, default=48)
    parser.add_argument("--max_new_tokens", type=int, default=96)
    parser.add_argument(
        "--do_sample", action="store_true", help="as of `generate`, which takes the likeliest tokens else"
    )
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top_p", type=float, default=1.0)
    parser.add_argument("--batch_size", type=int, default=8, help="of transformers; 8 is the default of `generate`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch_dtype", default="float32")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from benchmarks.turns import show

    show(measure(options), options.out)


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
