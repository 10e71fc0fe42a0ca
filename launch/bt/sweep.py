"""`python -m launch sweep-bt`: eval-bt for checkpoints x seeds, as a queue over devices, with a summary.

Every option that is not listed here is one of eval-bt and holds for all of its runs.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_object, write_bytes, write_json, write_text
from launch.answers.checkpoints import list_checkpoints
from launch.answers.trained_model import START, resolve_run_dir
from launch.bt import eval_bt
from launch.bt.device_queue import DeviceQueue, Job
from launch.bt.pictures import draw_curves
from launch.bt.sweep_page import render_page
from launch.bt.tracker import upload
from launch.cli.verbs import verb_parser
from launch.common.picture import can_draw
from launch.common.processes import Lease, sigterm_as_interrupt
from launch.common.table import aligned, markdown

FOLDER = "sweep_bt"
# The sweep decides these for every job.
OWN = ("run_dir", "checkpoint", "seed", "out")


class Evaluation(NamedTuple):
    """One checkpoint with one seed: the arguments of its eval-bt, and what they plan."""

    label: str
    seed: int
    argv: list[str]
    plan: eval_bt.Plan

    @property
    def name(self) -> str:
        """`checkpoint-100 seed 0`"""
        return f"{self.label} seed {self.seed}"

    def result(self) -> dict[str, Any] | None:
        """The finished result of the same settings, None where there is none."""
        file = self.plan.folder / eval_bt.RESULT
        if not file.is_file():
            return None
        found = read_object(file)
        same = found["settings"] == self.plan.settings and found["scoring"] == self.plan.scoring
        return found if same else None


def make_parser() -> Parser:
    """The command line of the sweep itself; what it does not know goes to eval-bt."""
    parser = verb_parser("sweep-bt", __doc__)
    parser.add_argument(
        "--run_dir", required=True, metavar="DIR", help="a run, or the folder of its v0-..., v1-... runs"
    )
    parser.add_argument("--ckpts", metavar='"A B"', help="names in --run_dir (default: checkpoint-0 and all there are)")
    parser.add_argument("--seeds", default="0", metavar='"0 1"', help="one evaluation of every checkpoint for each")
    parser.add_argument("--gpus", default="", metavar='"0 1"', help="devices (default: the processor)")
    parser.add_argument("--workers", type=positive_integer, default=1, help="jobs at a time on the processor")
    parser.add_argument("--retries", type=int, default=1, help="how often a failed job is started again")
    parser.add_argument("--out", metavar="DIR", help="default: sweep_bt in the run's folder")
    return parser


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(re.split(r"[\s,]+", text.strip()))) if text.strip() else []


def devices_of(args: argparse.Namespace) -> list[str]:
    """One entry a worker: a device, or "" for the processor.

    Raises:
        ValueError: --workers together with --gpus.
    """
    gpus = _words(args.gpus)
    if gpus and args.workers > 1:
        raise ValueError("--workers is for the processor; with --gpus every device listed is one worker")
    return gpus or [""] * args.workers


def plan_sweep(args: argparse.Namespace, rest: list[str]) -> tuple[Path, list[Evaluation]]:
    """The folder of the sweep and its jobs, seeds within checkpoints, all of them checked.

    Raises:
        ValueError: a missing checkpoint, a seed that is no number, an option that the sweep decides, or an error of
            eval-bt in the others.
    """
    for text in rest:
        if text.startswith("--") and (name := text[2:].split("=")[0]) in OWN:
            raise ValueError(f"--{name} is decided by the sweep: see --ckpts, --seeds and --out")
    run = resolve_run_dir(args.run_dir)
    if run != Path(args.run_dir):
        print(f"run: {run}")
    out = Path(args.out) if args.out else run / FOLDER
    labels = (
        _words(args.ckpts)
        if args.ckpts
        else [START, *(place.name for place in list_checkpoints(run) if place.name != START)]
    )
    try:
        seeds = [int(seed) for seed in _words(args.seeds)]
    except ValueError:
        raise ValueError(f'--seeds {args.seeds!r}: whole numbers, such as "0 1 2"') from None
    if not seeds or not labels:
        raise ValueError("--seeds and --ckpts need at least one entry each")
    parser = eval_bt.make_parser()
    jobs = []
    for label in labels:
        for seed in seeds:
            folder = out / Path(label).name / f"seed{seed}"
            own = ["--run_dir", str(run), "--checkpoint", label, "--seed", str(seed), "--out", str(folder)]
            argv = [*rest, *own]
            plan = eval_bt.plan_of(parser.parse_args(argv))
            jobs.append(Evaluation(plan.checkpoint.label, seed, argv, plan))
    return out, jobs


def run_jobs(
    evaluations: list[Evaluation], devices: list[str], retries: int, logs: Path, lease: Lease | None = None
) -> list[str]:
    """Runs those without a finished result; returns the names of those that failed in the end."""
    waiting = []
    for one in evaluations:
        if one.result() is not None:
            print(f"{one.name}: complete already")
            continue
        command = [sys.executable, "-m", "launch", "eval-bt", *one.argv]
        waiting.append(Job(one.name, command, logs / f"{one.label}_seed{one.seed}.log"))
    failed = DeviceQueue(devices, retries, lambda line: print(line, flush=True), lease).run(waiting)
    for job in failed:
        print(f"{job.name}: failed {job.attempts} times, see {job.log}", file=sys.stderr)
    return [job.name for job in failed]


def write_summary(out: Path, title: str, evaluations: list[Evaluation], failed: list[str]) -> None:
    """Writes summary.json, summary.csv, summary.md, summary.html and curves.png, prints the table, and uploads where configured."""
    results = {(one.label, one.seed): found for one in evaluations if (found := one.result()) is not None}
    if not results:
        print("no result, so there is no summary", file=sys.stderr)
        return
    from launch.bt.summary import summarize, to_cells, to_csv

    rows = summarize(results)
    cells = to_cells(rows)
    texts = {
        "summary.csv": to_csv(rows),
        "summary.md": f"# {title}\n\nMeans over seeds ± standard deviation between them.\n\n{markdown(cells)}",
    }
    for name, text in texts.items():
        write_text(out / name, text)
    write_json(out / "summary.json", {"run": title, "checkpoints": rows, "failed": failed})
    files = [out / name for name in ("summary.json", *texts)]
    shapes: list[bytes] = []
    if can_draw():
        shapes = [draw_curves(rows, narrow=narrow) for narrow in (False, True)]
        write_bytes(out / "curves.png", draw_curves(rows, title))
        files.append(out / "curves.png")
    else:
        print("no picture: matplotlib is not installed (extra eval)")
    write_text(out / "summary.html", render_page(title, cells, failed, shapes))
    print(aligned(cells))
    print(f"written: {out}")
    print(upload(f"{title}-eval", cells, files))


def main(argv: list[str]) -> int:
    """Exit status 0 when every job has a result, 1 when some failed, 130 when interrupted."""
    args, rest = make_parser().parse_known_args(argv)
    if args.retries < 0:
        raise ValueError(f"--retries must be at least 0, found {args.retries}")
    devices = devices_of(args)
    out, evaluations = plan_sweep(args, rest)
    try:
        with sigterm_as_interrupt(), Lease.take_or_refuse(out / ".lock", f"--out {out}") as lease:
            failed = run_jobs(evaluations, devices, args.retries, out / "logs", lease)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    write_summary(out, resolve_run_dir(args.run_dir).resolve().name, evaluations, failed)
    return 1 if failed else 0
