"""`python -m launch doctor [RUN FILE] [flags of the run]`: what is wrong with a run, before it costs money.

Reads the run file as upstream will, checks it and the machine, prints one table, and ends with 1 when something is wrong.
Nothing is downloaded and no model is loaded, but for small ones that a margin is probed with (see --load).
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from datasets_builders.io import write_json
from launch.doctor.findings import Finding, as_json, error, exit_code, print_table
from launch.doctor.run_file import environment_of, read_run

# Only what the doctor itself needs to be quiet and offline; taken back afterwards.
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
}


def make_parser() -> argparse.ArgumentParser:
    """The command line; what it does not know is a flag of the run."""
    parser = argparse.ArgumentParser(
        prog="python -m launch doctor", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--method", help="which kind of run this is, when its keys do not say (names: docs/doctor.md)")
    parser.add_argument("--num_processes", type=int, help="processes of the run (default: NPROC_PER_NODE x NNODES)")
    parser.add_argument(
        "--constraints", type=Path, metavar="FILE", help="versions to compare with (default: the tested set)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the findings here")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 1 when a check found an error, 0 otherwise (warnings do not fail)."""
    run_file = Path(argv[0]) if argv and not argv[0].startswith("--") else None
    options, flags = make_parser().parse_known_args(argv[run_file is not None :])
    if options.num_processes is not None and options.num_processes < 1:
        raise ValueError(f"--num_processes is {options.num_processes}: at least 1 is valid")
    before = dict(os.environ)
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = read_run(run_file, flags, options.method, options.num_processes)
            with environment_of(run):
                findings = list(examine(run, options))
    finally:
        os.environ.clear()
        os.environ.update(before)
    name = run.method.name if run.method else "nothing but the environment"
    print_table(findings, f"doctor: {run.file or 'no run file'} ({name})")
    if options.json:
        write_json(options.json, as_json(findings, run_file=str(run.file or ""), method=name, processes=run.processes))
    return exit_code(findings)


def examine(run, options) -> Iterator[Finding]:
    """Every finding about a run, in the order of the table."""
    from launch.doctor import batches, keys, plugin, seams, setup, versions

    yield from guarded("versions", lambda: versions.check_versions(options.constraints))
    yield from guarded("upstream", lambda: plugin.check_upstream(run))
    yield from guarded("seams", lambda: seams.check_seams(run.method))
    if run.method is None:
        return
    yield from guarded("keys", lambda: keys.check_keys(run))
    yield from guarded("plugin", lambda: plugin.check_plugin(run, dict(os.environ)))
    found, refusals = setup.read_setup(run)
    yield from refusals
    yield from guarded("batches", lambda: batches.check_batches(found))


def guarded(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of a check. One check that breaks must not hide the others: its exception is a finding too."""
    try:
        return check()
    except ValueError as problem:  # a user's mistake, in the words of the code that refused it
        return error(name, str(problem))
    except Exception as problem:
        where = problem.__traceback__
        while where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}"
        return error(
            name, f"the check itself failed: {type(problem).__name__}: {problem} ({place})", "please report this"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
