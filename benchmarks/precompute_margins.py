"""Seconds that `python -m launch precompute-margins` takes to score rows with shared prefixes, against the plain path.

    python benchmarks/precompute_margins.py --model MODEL [--rows 24] [--batch 2] [--prompt 160] [--answer 80]

Rows whose prompt is as long as both answers, a reference and one margin adapter. The trainer, rows and batches are those of the
command; every batch is scored by both paths, which take turns at being first, so that a drift of the machine's speed meets
both. Loading is left out: it is the same.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def write_rows(path: Path, options) -> None:
    """Pairs of `--prompt` and `--answer` words, a fifth more or less."""
    from benchmarks.modpo_step import WORDS

    generator = random.Random(0)

    def text(words: int) -> str:
        return " ".join(generator.choices(WORDS, k=generator.randint(words * 4 // 5, words * 6 // 5)))

    with path.open("w", encoding="utf-8") as file:
        for _ in range(options.rows):
            said = [("user", options.prompt), ("assistant", options.answer)]
            messages = [{"role": role, "content": text(words)} for role, words in said]
            file.write(json.dumps({"messages": messages, "rejected_response": text(options.answer)}) + "\n")


def measure(options, folder: Path) -> dict:
    """Seconds of all rows by each path, and the largest difference of their numbers."""
    from benchmarks.modpo_step import flags
    from swift_ext.modpo.precompute import PrecomputeMargins, encoded

    seconds, differences = {"plain": [], "shared": []}, []

    class Timed(PrecomputeMargins):
        def train(self, trainer):
            always, rows = trainer.prefixes, trainer.train_dataset
            order = sorted(range(len(rows)), key=lambda index: max(rows["lengths"][index]))
            starts = range(0, len(order), options.batch)
            for number, start in enumerate([0, *starts]):  # the first batch warms up and compares
                pairs = [encoded(rows, index) for index in order[start : start + options.batch]]
                batch, values = trainer._prepare_inputs(trainer.data_collator(pairs)), {}
                for path in ("plain", "shared") if number % 2 else ("shared", "plain"):
                    trainer.prefixes = always if path == "shared" else None
                    begun = time.perf_counter()
                    values[path] = trainer.reference_and_margins(batch)
                    if number:
                        seconds[path].append(time.perf_counter() - begun)
                pairs = zip(values["plain"], values["shared"], strict=True)
                differences.append(max((one - other).abs().max().item() for one, other in pairs))

    os.environ |= {"MODPO_W": "1", "MODPO_MARGIN_ADAPTER": str(folder / "adapter"), "MODPO_SHARED_PREFIX": "on"}
    import swift_ext.plugins.modpo  # noqa: F401  registers

    Timed(flags(options, folder / "rows.jsonl", folder / "run"), folder / "store").main()
    ratios = [shared / plain for plain, shared in zip(*seconds.values(), strict=True)]
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "command": " ".join(sys.argv),
        "seconds": {path: sum(taken) for path, taken in seconds.items()},
        "ratio": sum(seconds["shared"]) / sum(seconds["plain"]),
        "median_ratio_of_batches": statistics.median(ratios),
        "largest_difference": max(differences),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--batch", type=int, default=2, help="pairs a pass")
    parser.add_argument("--prompt", type=int, default=160, help="words")
    parser.add_argument("--answer", type=int, default=80, help="words of each of the two")
    parser.add_argument("--max_length", type=int, default=2048)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cpu", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from benchmarks.turns import random_adapter

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_rows(folder / "rows.jsonl", options)
        random_adapter(options.model, folder / "adapter")
        result = measure(options, folder)
    from benchmarks.turns import show

    show(result, options.out)


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
