"""Malformed files for every reader and every verb that needs no model; no traceback, no hang, no wrong exit code.

    python -m tests.hostile.hostile --inputs 5000 --seed 0

Each input is a function of its seed and is given to three targets: two that read rows of its family and any third one. A
reader may return or raise ValueError; a command may end with 0, or with 2, a message that begins with its name and no
output. What no reader may take must end with 2. The exit code is 1 when one of the counts is not 0.
"""

import argparse
import io
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from tests.hostile.documents import DOCUMENTS, hostile_document
from tests.hostile.inputs import hostile_file
from tests.hostile.rows import FAMILIES
from tests.hostile.targets import TARGETS, Command, Target

SECONDS = 30
FAULTS = ("tracebacks", "hangs", "wrong exit codes")


class Hang(BaseException):
    """A target that took longer than `SECONDS`."""


@contextmanager
def at_most(seconds: float):
    def stop(number, frame):
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def try_one(target: Target, source: Path, folder: Path, refused: bool) -> tuple[str, str] | None:
    """(one of `FAULTS`, what was seen), or None: the target did what it may.

    Args:
        refused: no reader may take this input.
    """
    said = io.StringIO()
    try:
        with at_most(SECONDS), redirect_stdout(io.StringIO()), redirect_stderr(said):
            code = target.run(source, folder)
    except Hang:
        return "hangs", f"more than {SECONDS} s"
    except SystemExit as end:
        code = end.code
    except ValueError as error:
        if isinstance(target.run, Command):
            return "tracebacks", traceback.format_exc()
        return None if str(error).strip() else ("wrong exit codes", f"an empty message: {error!r}")
    except Exception:
        return "tracebacks", traceback.format_exc()
    if code is None or code in target.ends:
        return ("wrong exit codes", f"{code} for what no reader may take") if refused else _unreadable(folder)
    if code != 2 or not said.getvalue().strip() or "Traceback" in said.getvalue():
        return "wrong exit codes", f"{code}: {said.getvalue()[-500:]!r}"
    if left := sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()):
        return "wrong exit codes", f"2, and yet there are {left}"
    return None


def _unreadable(folder: Path) -> tuple[str, str] | None:
    """Whether a command that ended well wrote lines that are no JSON in UTF-8."""
    for file in folder.glob("*.jsonl"):
        try:
            for line in filter(None, file.read_text(encoding="utf-8").split("\n")):
                json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8")
        except ValueError as error:
            return "wrong exit codes", f"0, and {file.name} holds no rows: {error}"
    return None


def targets_of(seed: int, family: str, targets: Sequence[Target] = TARGETS) -> list[Target]:
    """Two targets for what the family holds, and a third one for rows."""
    draw = random.Random(f"targets {seed}")
    fitting = [one for one in targets if one.reads(family)]
    chosen = draw.sample(fitting, min(2, len(fitting)))
    return chosen if family in DOCUMENTS else [*chosen, draw.choice(targets)]


def run(seeds: range, report=print, targets: Sequence[Target] = TARGETS) -> Counter:
    """Gives the inputs of the seeds to their targets; counts of runs and faults. `report` is told of each fault."""
    counts = Counter(dict.fromkeys(("runs", *FAULTS), 0))
    families = [name for name in sorted({*FAMILIES, *DOCUMENTS}) if any(target.reads(name) for target in targets)]
    world = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        for seed in seeds:
            family = random.Random(f"family {seed}").choice(families)
            place = world / str(seed)
            (place / "in" / "lines").mkdir(parents=True)
            make = hostile_document if family in DOCUMENTS else hostile_file
            source, what, refused = make(seed, place / "in", family)
            for number, target in enumerate(targets_of(seed, family, targets)):
                out = place / f"out{number}"
                out.mkdir()
                counts["runs"] += 1
                if fault := try_one(target, source, out, refused and not target.passes_over):
                    counts[fault[0]] += 1
                    report(f"seed {seed}, {target.name}: {fault[0]}: {what}\n{fault[1]}")
            shutil.rmtree(place)
    finally:
        shutil.rmtree(world, ignore_errors=True)
    return counts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.hostile", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=5000, help="number of inputs (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first input; the others follow (default %(default)s)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="targets whose names begin so (default: all)")
    options = parser.parse_args(argv)
    targets = [one for one in TARGETS if one.name.startswith(tuple(options.only or [""]))]
    if not targets:
        parser.error(f"--only: valid are {[one.name for one in TARGETS]}")
    start = time.monotonic()
    counts = run(range(options.seed, options.seed + options.inputs), targets=targets)
    print(json.dumps({"inputs": options.inputs, **counts, "seconds": round(time.monotonic() - start)}))
    return int(any(counts[name] for name in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
