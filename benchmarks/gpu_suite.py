"""Every method on one GPU in nine minutes: step time, tokens a second, MFU, peak memory, exactness of bf16, short trainings.

    python benchmarks/gpu_suite.py --out DIR [--smollm2 FOLDER] [--seconds 525] [--parts "modpo 7B" ...] [--rehearsal]

For 80 GB; no network is needed: weights are random, in the shapes of Qwen2.5 of 0.5B, 1.5B and 7B, and SmolLM2's where its
folder is given (for exactness and trainings, where weights matter). Each part is a process with a time limit of its own; what
it has measured when it fails or is ended stays, with the reason. DIR/results.json and DIR/table.md are written anew after each
part, DIR/parts holds the rows and the output of each. The same command goes on with the parts that are not done. MFU is by
`launch/common/operations.py`, and has no value for a GPU whose peak is not listed there.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.alone import Deadline
from benchmarks.gpu_parts import PARTS, SCRATCH
from datasets_builders.io import read_object, write_json, write_text
from launch.common.processes import end, start, wait
from launch.common.resume import check_settings
from launch.common.table import markdown

REPOSITORY = Path(__file__).resolve().parents[1]
LEAST_SECONDS = 15  # less is spent on imports
PATIENCE = 3  # times the seconds of a part in a rehearsal: a shared CPU is to fail no part by being slow
HEAD = ("part", "variant", "step, s", "to stock", "tokens/s", "MFU", "peak, GiB", "remark")
MEMORY = 1024  # megabytes of a GiB


class Suite:
    """The parts of one folder, done and to do."""

    def __init__(self, out: Path, flags: list[str], parts: list[str]):
        self.out, self.flags, self.parts, self.rehearsal = out, flags, parts, "--rehearsal" in flags

    def file(self, name: str, suffix: str) -> Path:
        return self.out / "parts" / f"{name.replace(' ', '_')}.{suffix}"

    def found(self, name: str) -> dict:
        """What is known of a part: its state, the reason where it is not done, and its rows."""
        rows, end = self.file(name, "rows.json"), self.file(name, "end.json")
        known = {"state": "interrupted" if rows.exists() else "not begun", "rows": []}
        for file in (rows, end):
            known |= read_object(file) if file.exists() else {}
        return known

    def run(self, deadline: Deadline) -> None:
        for name in self.parts:
            if self.found(name)["state"] == "done":
                continue
            for suffix in ("rows.json", "end.json"):
                self.file(name, suffix).unlink(missing_ok=True)
            seconds = min(PARTS[name].seconds * (PATIENCE if self.rehearsal else 1), deadline.left)
            if seconds < LEAST_SECONDS:
                ended = {"state": "left out", "reason": "no time was left; the same command goes on here"}
            else:
                print(f"{name}: {seconds:.0f} s at most", flush=True)
                ended = self.measure(name, seconds)
            for left in (self.out / "parts").glob(f"{SCRATCH}*"):
                shutil.rmtree(left)
            write_json(self.file(name, "end.json"), ended)
            self.write()

    def measure(self, name: str, seconds: float) -> dict:
        """Runs a part and says how it ended."""
        argv = [sys.executable, "-m", "benchmarks.gpu_parts", name, "--out", str(self.file(name, "rows.json"))]
        log, begun = self.file(name, "log"), time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        with log.open("w", encoding="utf-8") as output:
            process = start(
                [*argv, "--seconds", f"{seconds:.1f}", *self.flags], stdout=output, stderr=output, cwd=self.out,
                env={**os.environ, "PYTHONPATH": path, **({"CUDA_VISIBLE_DEVICES": ""} if self.rehearsal else {})},
            )  # fmt: skip
            try:
                process.wait(timeout=seconds)
                code = wait(process)
            except subprocess.TimeoutExpired:
                end(process)
                return {"state": "out of time", "reason": f"ended after {seconds:.0f} s", "seconds": seconds}
            except BaseException:
                end(process)
                raise
        if code == 0:
            return {"state": "done", "seconds": round(time.monotonic() - begun, 1)}
        reason = f"signal {-code}" if code < 0 else last_error(log.read_text(encoding="utf-8", errors="replace"))
        return {"state": "failed", "reason": reason, "seconds": round(time.monotonic() - begun, 1)}

    def write(self) -> None:
        parts = {name: self.found(name) for name in PARTS}
        parts = {name: part for name, part in parts.items() if name in self.parts or part["state"] != "not begun"}
        write_json(self.out / "results.json", {"parts": parts})
        write_text(self.out / "table.md", table(parts))


def last_error(output: str) -> str:
    """The line in which a process says why it ended: that of an error, else its last."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(error|[\w.]*(Error|Exception)):", line)]
    return (errors or lines or ["no word"])[-1][:300]


def table(parts: dict[str, dict]) -> str:
    """One line for each variant, and one for each part that is not done."""
    devices = sorted({f"{part['device']}, {part['versions']}" for part in parts.values() if "device" in part})
    rows = [HEAD]
    for name, part in parts.items():
        stock = next((row.get("step_seconds") for row in part["rows"] if row["variant"] == "stock"), None)
        rows += [(name, *cells(row, stock)) for row in part["rows"]]
        if part["state"] != "done":
            rows.append((name, "", "", "", "", "", "", f"{part['state']}: {part.get('reason', '')}".removesuffix(": ")))
    return "\n\n".join([*devices, markdown(rows)])


def cells(row: dict, stock: float | None) -> tuple[str, ...]:
    """The cells of a variant behind the part's name; empty where nothing was measured or is known."""
    seconds, mfu = row.get("step_seconds"), row.get("mfu")
    return (
        row["variant"],
        f"{seconds:.3f}" if seconds else "",
        f"{seconds / stock:.2f}" if seconds and stock and "tokens_per_second" in row else "",
        f"{row['tokens_per_second']:.0f}" if "tokens_per_second" in row else "",
        f"{mfu:.1%}" if mfu is not None else "",
        f"{row['peak_mb'] / MEMORY:.2f}" if "peak_mb" in row else "",
        row.get("remark", ""),
    )


def refuse_without_gpu() -> None:
    """Raises ValueError where PyTorch finds no GPU."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # takes no memory of the GPU
    import torch

    if not torch.cuda.is_available():
        raise ValueError("PyTorch finds no GPU here; --rehearsal runs all parts with tiny shapes on the CPU")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--smollm2", type=Path, help="its checkpoint folder, e.g. from `python -m launch embedded-model`"
    )
    parser.add_argument("--seconds", type=float, default=525, help="for all parts together")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--rehearsal", action="store_true", help="tiny shapes on the CPU: everything runs, nothing is learnt"
    )
    options = parser.parse_args(argv)
    deadline = Deadline(time.monotonic() + options.seconds)
    flags = ["--rehearsal"] if options.rehearsal else []
    flags += ["--smollm2", str(options.smollm2.resolve())] if options.smollm2 else []
    try:
        if options.smollm2 and not (options.smollm2 / "config.json").is_file():
            raise ValueError(f"--smollm2 {options.smollm2}: no config.json there; a checkpoint folder is valid")
        if not options.rehearsal:
            refuse_without_gpu()
        options.out.mkdir(parents=True, exist_ok=True)
        check_settings(options.out / "settings.json", {"flags": flags})
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    suite = Suite(options.out.resolve(), flags, options.parts)
    suite.run(deadline)
    print((suite.out / "table.md").read_text(encoding="utf-8"))
    return 0 if all(suite.found(name)["state"] == "done" for name in options.parts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
