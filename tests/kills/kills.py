"""SIGKILL at random moments, half of it to the parent alone; then the same command again, to the same end.

    python -m tests.kills.kills --folder runs/kills --kills 100 --seed 0

Each kill is a run in a new folder: the command is started, killed after a random share of the time that an undisturbed
run takes, started again to its end, and compared with the undisturbed run. Counted are results that differ, processes
that live on, labels that were bought twice or beyond those of the undisturbed run, and files or paid entries that were lost. `FOLDER/kills.jsonl` holds a line a
kill; the same command goes on behind it.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.kills.cases import CASES, ENVIRONMENT, WITHOUT_MODELS, Case, build_world

MARK = "SWIFT_TRL_EXT_KILLS"
# Of 100 kills: the dear ones are killed less often.
SHARES = {"builder": 32, "teacher": 29, "generate": 14, "d2po": 11, "tuner": 8, "pipeline": 6}
SECONDS_TO_END = 20
COUNTS = ("differing", "orphans", "bought_twice", "lost")


def start(case: Case, folder: Path) -> subprocess.Popen:
    """The command in a session of its own, known by its environment wherever it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "output.log", "ab") as log:
        return subprocess.Popen(
            case.command(folder), env={**ENVIRONMENT, MARK: str(folder)}, cwd=folder, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def living(folder: Path) -> list[int]:
    """Processes of the run in `folder`, whatever session they are in."""
    wanted, found = f"{MARK}={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # it ended, or is not ours
    return found


def finish(case: Case, folder: Path) -> None:
    code = start(case, folder).wait(timeout=600)
    assert code == 0, f"exit status {code}, {folder / 'output.log'}:\n{(folder / 'output.log').read_text()[-2000:]}"


def kill_once(case: Case, folder: Path, whole: dict[str, str], moment: float, alone: bool, total: int) -> dict:
    """Kills a run after `moment` seconds; the counts, and how long what was below took to end."""
    shutil.rmtree(folder, ignore_errors=True)
    before = case.requests() if case.requests else 0
    process = start(case, folder)
    time.sleep(moment)
    in_time = process.poll() is None
    if in_time:
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    while (left := living(folder)) and time.monotonic() - killed < SECONDS_TO_END:
        time.sleep(0.02)
    row = {"in_time": in_time, "orphans": len(left), "seconds_to_end": round(time.monotonic() - killed, 2)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    kept = case.paid(folder)
    if case.requests:
        time.sleep(0.3)  # what was under way at the server
    under_way = case.requests() - before if case.requests else 0
    try:
        finish(case, folder)
        found = case.results(folder)
        row["failure"] = None
    except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        found, row["failure"] = {}, str(error)
    paid = case.paid(folder)
    row["differing"] = sum(found.get(name) != digest for name, digest in whole.items() if name in found)
    row["lost"] = len(set(whole) - set(found)) + len(set(kept) - set(paid))
    row["bought_twice"] = len(paid) - len(set(paid)) + max(0, len(paid) - total)
    if case.requests:  # those on the disk are not asked for again
        row["bought_twice"] += max(0, case.requests() - before - under_way - (total - len(kept)))
    return row


def plan(kills: int, seed: int, names: list[str]) -> list[tuple[str, float, bool]]:
    """(case, share of the undisturbed time, parent alone?) a kill, cheap and dear ones mixed; every second of a case, its first too, is of the parent alone."""
    chance, shares = random.Random(seed), {name: SHARES[name] for name in names}
    drawn = []
    for number in range(kills):  # the case that is furthest behind its share
        done = {name: sum(one[0] == name for one in drawn) for name in shares}
        name = max(shares, key=lambda name: shares[name] / sum(shares.values()) * (number + 1) - done[name])
        drawn.append((name, chance.uniform(0.02, 0.98), done[name] % 2 == 0))
    return drawn


def run(folder: Path, kills: int, seed: int, names: list[str]) -> list[dict]:
    """The rows of all kills, those of earlier starts included."""
    world, file = folder / "world", folder / "kills.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    cases, whole = {}, {}
    for number, (name, share, alone) in enumerate(plan(kills, seed, names)):
        if number < len(rows):
            continue
        if name not in cases:
            (own := world / name).mkdir(parents=True, exist_ok=True)
            if name not in WITHOUT_MODELS:
                build_world(world)
            for shared in ("model", "rm", "margin"):
                (own / shared).unlink(missing_ok=True)
                (own / shared).symlink_to(world / shared)
            shutil.rmtree(own / "study", ignore_errors=True)
            cases[name] = CASES[name](own)
            shutil.rmtree(folder / f"whole_{name}", ignore_errors=True)
            begun = time.monotonic()
            finish(cases[name], folder / f"whole_{name}")
            seconds, result = time.monotonic() - begun, cases[name].results(folder / f"whole_{name}")
            assert result, f"{name}: nothing to compare"
            whole[name] = seconds, result, len(cases[name].paid(folder / f"whole_{name}"))
        seconds, result, total = whole[name]
        place = folder / f"kill_{number:03d}_{name}"
        row = {
            "kill": number,
            "case": name,
            "alone": alone,
            "after": round(share * seconds, 2),
            "of": round(seconds, 2),
        }
        row |= kill_once(cases[name], place, result, share * seconds, alone, total)
        rows.append(row)
        with open(file, "a") as handle:
            handle.write(json.dumps(row) + "\n")
        print(json.dumps(row)[:300], flush=True)
        if not any(row[count] for count in COUNTS) and not row["failure"]:
            shutil.rmtree(place)
    return rows


def summary(rows: list[dict]) -> dict:
    """Kills, of parents alone, in time, and the counts."""
    counts = {count: sum(row[count] for row in rows) for count in COUNTS}
    by_case = {name: sum(row["case"] == name for row in rows) for name in sorted({row["case"] for row in rows})}
    return {"kills": len(rows), "parents_alone": sum(row["alone"] for row in rows), "in_time": sum(row["in_time"] for row in rows),
            **counts, "failed": sum(row["failure"] is not None for row in rows), "cases": by_case}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    found = summary(run(args.folder.resolve(), args.kills, args.seed, args.cases))
    print(json.dumps(found))
    return int(any(found[count] for count in (*COUNTS, "failed")))


if __name__ == "__main__":
    sys.exit(main())
