"""Rows per second of `python -m datasets_builders pointwise` against a plain row-by-row builder, and peak memory.

    python benchmarks/pointwise_builder.py --source HH.jsonl.gz [--rows 20000] [--rounds 9] [--out RESULT.json]

The plain builder loads all rows into a `datasets.Dataset`, indexes it row by row, scans both conversations for their
markers, fills the prompt twice and dumps two JSON objects; it checks nothing, syncs nothing and keeps rows without use.
Time: both builders take turns in one process, and the median of the per-round ratios is reported; loading the
`Dataset` is counted, and the ratio without it (a data set that an earlier run has cached) stands beside it. The same
as whole commands, with the start of Python and the imports. Memory: each builder in a process of its own, with n rows
and with 4n; the kernel's peak resident set is read. A row is a row of the source, that is one pair.
"""

import argparse
import gzip
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROMPT = "hh_score100_v1"
MARKERS = ("\n\nHuman:", "\n\nAssistant:")


def enlarge(source: str, target: Path, rows: int) -> None:
    """Write `rows` rows, those of the source over and over."""
    with gzip.open(source, "rb") if source.endswith(".gz") else open(source, "rb") as handle:
        lines = [line for line in handle if line.strip()]
    with open(target, "wb") as handle:
        handle.writelines(islice(cycle(lines), rows))


def ours(source: Path, out: Path) -> None:
    from datasets_builders import pointwise
    from datasets_builders.command_line import Parser

    parser = Parser()
    pointwise.add_arguments(parser)
    fixed = f"--dataset anthropic_hh --split test --prompt {PROMPT}".split()
    pointwise.run(parser.parse_args([*fixed, "--source", str(source), "--out", str(out)]))


def turns(text: str) -> list[tuple[str, str]]:
    """(speaker, text) of each turn, by the next marker from left to right."""
    places, start = [], 0
    while hits := [(place, marker) for marker in MARKERS if (place := text.find(marker, start)) >= 0]:
        places.append(min(hits))
        start = places[-1][0] + len(places[-1][1])
    ends = [place for place, _ in places[1:]] + [len(text)]
    return [
        (marker.strip().rstrip(":"), text[place + len(marker) : end].strip())
        for (place, marker), end in zip(places, ends, strict=True)
    ]


def plain(source: Path, out: Path) -> float:
    """The row-by-row builder; returns the seconds that loading took."""
    import datasets

    from datasets_builders import get_prompt

    datasets.disable_progress_bars()
    instructions = get_prompt(PROMPT).instructions
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=cache)
        loaded = time.perf_counter() - begun
        with open(out, "w", encoding="utf-8") as handle:
            for index in range(len(rows)):
                row = rows[index]
                chosen, rejected = turns(row["chosen"]), turns(row["rejected"])
                first = next((text for speaker, text in reversed(chosen) if speaker == "Assistant"), "")
                second = next((text for speaker, text in reversed(rejected) if speaker == "Assistant"), "")
                before = []
                for speaker, text in chosen:
                    if speaker == "Assistant" and text == first:
                        break
                    before.append(f"{speaker}: {text}")
                context = "\n\n".join(before)
                for side, response in enumerate((first, second)):
                    content = f"{instructions}\n\nCONVERSATION:\n{context}\n\nRESPONSE:\n{response}"
                    record = {
                        "messages": [{"role": "user", "content": content}],
                        "pair_id": index,
                        "side": side,
                        "preferred_side": 0,
                    }
                    handle.write(json.dumps(record, ensure_ascii=False) + "\n")
    return loaded


def seconds(work, *arguments):
    begun = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - begun, result


def quartiles(values: list[float]) -> list[float]:
    return [round(value, 3) for value in statistics.quantiles(values, n=4, method="inclusive")]


def measure_time(source: Path, folder: Path, rows: int, rounds: int) -> dict:
    """Both builders by turns in this process, after one unmeasured round."""
    plain(source, folder / "plain.jsonl"), ours(source, folder / "ours.jsonl")
    own, other, without_loading = [], [], []
    for number in range(rounds):
        for name in ("ours", "plain") if number % 2 else ("plain", "ours"):
            if name == "ours":
                own.append(seconds(ours, source, folder / "ours.jsonl")[0])
            else:
                taken, loading = seconds(plain, source, folder / "plain.jsonl")
                other.append(taken)
                without_loading.append(taken - loading)
    return {
        "rows": rows,
        "rounds": rounds,
        "ours_rows_per_second": round(rows / statistics.median(own)),
        "plain_rows_per_second": round(rows / statistics.median(other)),
        "ratio_quartiles": quartiles([b / a for a, b in zip(own, other, strict=True)]),
        "ratio_quartiles_without_loading": quartiles([b / a for a, b in zip(own, without_loading, strict=True)]),
    }


def child(name: str, source: Path, folder: Path) -> tuple[float, int]:
    """One builder in a process of its own: (seconds of the whole command, peak resident set in KiB)."""
    command = [sys.executable, __file__, "--source", str(source), "--only", name, "--folder", str(folder)]
    taken, done = seconds(lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    return taken, int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="rows of HH-RLHF, JSONL or JSONL.gz")
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--machine", default=f"{os.cpu_count()} {platform.machine()} cores", help="in words")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        globals()[options.only](Path(options.source), options.folder / f"{options.only}.jsonl")
        # Not ru_maxrss, which a new process inherits from the one that started it.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        print(re.search(r"VmHWM:\s*(\d+) kB", status)[1])
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        small, large = folder / "n.jsonl", folder / "4n.jsonl"
        enlarge(options.source, small, options.rows)
        enlarge(options.source, large, 4 * options.rows)
        result = {
            "machine": f"{options.machine}, Python {platform.python_version()}",
            "command": f"python benchmarks/pointwise_builder.py --source HH_HARMLESS_BASE --rows {options.rows} --rounds {options.rounds}",
            "time": measure_time(small, folder, options.rows, options.rounds),
        }
        commands = [(child("ours", small, folder), child("plain", small, folder)) for _ in range(3)]
        result["whole_command"] = {
            "ours_seconds": round(statistics.median(one[0] for one, _ in commands), 3),
            "plain_seconds": round(statistics.median(other[0] for _, other in commands), 3),
            "ratio": round(statistics.median(other[0] / one[0] for one, other in commands), 2),
        }
        result["peak_megabytes"] = {
            name: {
                "n": round(commands[0][place][1] / 1024, 1),
                "4n": round(child(name, large, folder)[1] / 1024, 1),
            }
            for place, name in enumerate(("ours", "plain"))
        }
    from benchmarks.turns import show

    show(result, options.out)


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
