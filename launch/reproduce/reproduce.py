"""`python -m launch reproduce`: puts a published claim to the test: all runs, with seeds, intervals and a verdict.

Every run is a printed command line of an upstream or of this pack. An interrupted reproduction goes on where it was. Exit
status: 0 the claim holds, or every run of a rehearsal ended well; 1 it does not hold, or a run failed; 2 the input is wrong.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import read_object, write_bytes, write_json, write_text
from launch.cli.verbs import verb_parser
from launch.reproduce.claims import NAMES
from launch.reproduce.gpu import NAMES as ON_GPU

RESULT, PART, PICTURE, TABLE = "claim.json", "claim.md", "curves.png", "table.md"
SEEDS = [0, 1, 2, 3, 4]
SCALES = {"cpu": NAMES, "gpu": ON_GPU}
PROCESSES = {"cpu": 2, "gpu": 1}
BEGIN, END = "<!-- claim: {name} -->\n", "<!-- end of claim -->"


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("reproduce", __doc__)
    parser.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--all", action="store_true", help="every claim, one after another")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the runs; with --all, one below it for each claim"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=SEEDS, metavar="N", help="one whole repetition for each"
    )
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="cpu",
        help="cpu (default): tiny models, minutes; gpu: real data and models of up to 7 billion parameters on one GPU of "
        "80 GB, with --plan the hours of every run, estimated",
    )
    parser.add_argument(
        "--processes", type=positive_integer, help="runs at a time, one thread each (default 2; on a GPU 1)"
    )
    parser.add_argument(
        "--rehearsal", action="store_true", help="a few steps of every run: shows that all of it works, decides nothing"
    )
    parser.add_argument(
        "--plan", action="store_true", help="print every command line and what is done already; run nothing"
    )
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="DOCS",
        help="afterwards put result, picture and part of the page into this folder of pages",
    )
    parser.add_argument("--check", action="store_true", help="run nothing: read the stored results again")
    parser.add_argument(
        "--docs", type=Path, default=Path("docs"), metavar="DOCS", help="folder of pages that --check reads"
    )
    return parser


def environment(scale: str = "cpu") -> dict[str, str]:
    """What every run gets: the processor alone, one thread and no model hub; or the first of the GPUs that are visible."""
    from launch.pipelines.identity import PACK

    path = os.environ.get("PYTHONPATH")
    shared = {
        "PYTHONPATH": f"{PACK}{os.pathsep}{path}" if path else str(PACK),
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
    if scale == "gpu":
        # Of several, transformers would take all, by threads, and the batches would be others.
        return shared | {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]}
    return shared | {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "HF_HUB_OFFLINE": "1",
    }


def claim_of(name: str, scale: str = "cpu") -> Any:
    """The claim of that name, at that scale.

    Raises:
        ValueError: it has no runs for a GPU.
    """
    if name not in SCALES[scale]:
        raise ValueError(f"--scale {scale}: {name} has no runs for it; those that have: {', '.join(SCALES[scale])}")
    folder = "claims" if scale == "cpu" else "gpu"
    return import_module(f"launch.reproduce.{folder}.{name.replace('-', '_')}").CLAIM


def stored_name(name: str, scale: str) -> str:
    """Under which a result is kept: one of a GPU stands beside that of a CPU."""
    return name if scale == "cpu" else f"{name}-{scale}"


def reproduce(claim: Any, place: Any, processes: int, command: str) -> int:
    """Runs what is not done yet, and writes the result; 0 where the claim holds, and for a rehearsal, which decides nothing."""
    from launch.common.processes import Lease
    from launch.pipelines.stages import StageRunner
    from launch.reproduce import result as results

    place.folder.mkdir(parents=True, exist_ok=True)
    with Lease.take_or_refuse(place.folder / ".lock", f"--out {place.folder}") as lease:
        runner = StageRunner(place.folder, claim.stages(place), environment(claim.scale), lease, processes)
        if runner.run() != 0:
            return 1
        found = results.make_result(claim, place, claim.measure(place), runner.costs(), command)
        write_bytes(place.folder / PICTURE, results.draw(found))
        write_text(place.folder / TABLE, results.table(found))
        write_text(place.folder / PART, results.part_of_page(found, PICTURE))
        write_json(place.folder / RESULT, found)
    print(f"\n{results.table(found)}\n{results.verdict(found)}\n{place.folder / RESULT}")
    return 0 if found["holds"] or place.rehearsal else 1


def publish(name: str, folder: Path, docs: Path) -> None:
    """Puts a result beside the others under `docs`, and its part into the page that has a place for it.

    Raises:
        ValueError: a rehearsal, or no page has the place.
    """
    from launch.reproduce import choosing
    from launch.reproduce import result as results

    found = read_object(folder / RESULT)
    results.check_result(found, name)
    target = docs / "results" / "claims"
    page, before, after = _page_of(name, docs)
    target.mkdir(parents=True, exist_ok=True)
    write_bytes(target / f"{name}.png", (folder / PICTURE).read_bytes())
    write_json(target / f"{name}.json", found)
    write_text(page, f"{before}{results.part_of_page(found, f'results/claims/{name}.png')}{after}")
    choosing.write(docs)
    print(page)


def _page_of(name: str, docs: Path) -> tuple[Path, str, str]:
    """The page of a claim, and what stands there before and behind its part."""
    begin = BEGIN.format(name=name)
    for page in sorted(docs.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if begin in text:
            before, _, rest = text.partition(begin)
            _, found, after = rest.partition(END)
            if not found:
                raise ValueError(f"{page}: no line {END!r} behind {begin.strip()!r}")
            return page, before + begin, END + after
    raise ValueError(f"{docs}: no page has the line {begin.strip()!r}")


def check(names: Sequence[str], docs: Path, scale: str = "cpu") -> int:
    """Reads the stored results again; 0 where each is there, whole, what its page says, and holds.

    Raises:
        ValueError: a contradictory result, or a page that says something else.
    """
    from launch.reproduce import choosing
    from launch.reproduce import result as results

    choosing.check(docs)
    code = 0
    for asked in names:
        name = stored_name(asked, scale)
        file = docs / "results" / "claims" / f"{name}.json"
        if not file.is_file():
            flags = "" if scale == "cpu" else f" --scale {scale}"
            print(f"{name}: no result yet, `python -m launch reproduce {asked}{flags} --out DIR` gives one")
            code = 1
            continue
        found = read_object(file)
        results.check_result(found, name)
        page, before, after = _page_of(name, docs)
        if page.read_text("utf-8") != f"{before}{results.part_of_page(found, f'results/claims/{name}.png')}{after}":
            raise ValueError(f"{page}: the part of {name} is not what {file} gives; `--publish` writes it")
        print(f"{name}: {results.verdict(found)} ({found['commit']})")
        code = code if found["holds"] else 1
    return code


def main(argv: list[str]) -> int:
    """Exit status 0 when every claim holds."""
    args = make_parser().parse_args(argv)
    if bool(args.name) == args.all:
        raise ValueError(f"name one claim, or --all: {', '.join(NAMES)}")
    names = list(SCALES[args.scale]) if args.all else [args.name]
    claims = {name: claim_of(name, args.scale) for name in names}
    if args.check:
        return check(names, args.docs, args.scale)
    if args.out is None:
        raise ValueError("--out is missing: the folder of the runs")
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        raise ValueError(f"--seeds {args.seeds}: different whole numbers of at least 0")
    processes = args.processes or PROCESSES[args.scale]
    if args.scale == "gpu" and processes > 1:
        raise ValueError(f"--processes {processes}: a run has the GPU for itself, with --scale gpu 1 is valid")
    from launch.reproduce.claim import Place

    codes = []
    for name, claim in claims.items():
        folder = (args.out / name if args.all else args.out).resolve()
        place = Place(folder, tuple(args.seeds) if claim.counted == "seeds" else (0,), args.rehearsal)
        if args.plan:
            print_plan(claim, place)
            continue
        codes.append(reproduce(claim, place, processes, _command(name, args)))
        if args.publish is not None and (folder / RESULT).is_file():
            publish(stored_name(name, args.scale), folder, args.publish)
    return max(codes, default=0)


def print_plan(claim: Any, place: Any) -> None:
    """Every stage with its command lines, and the hours of those that have an estimate."""
    from launch.pipelines.stages import StageRunner
    from launch.reproduce.hours import in_words, total

    hours = {} if claim.hours is None else claim.hours(place)
    notes = {stage: in_words(value) for stage, value in hours.items()}
    StageRunner(place.folder, claim.stages(place), environment(claim.scale)).print_plan(notes)
    if hours:
        print(total(hours))


def _command(name: str, args: Any) -> str:
    """What gives the same again, as a reader would type it."""
    words = ["python", "-m", "launch", "reproduce", name, "--out", f"runs/{stored_name(name, args.scale)}"]
    if args.scale != "cpu":
        words += ["--scale", args.scale]
    if args.seeds != SEEDS:
        words += ["--seeds", *map(str, args.seeds)]
    words += ["--rehearsal"] * args.rehearsal
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
