"""`python -m launch doctor [RUN FILE] [flags of the run]`: what is wrong with a run, before it costs money.

Reads the run file as upstream will, checks it and the machine, prints one table, and ends with 1 when something is wrong.
Nothing is downloaded and no model is loaded, but for small ones that a margin is probed with (see --load).
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json
from datasets_builders.secret_settings import secrets_in
from launch.cli.verbs import verb_parser
from launch.doctor.findings import Finding, as_json, error, exit_code, print_table, without_secrets
from launch.doctor.methods import METHODS
from launch.doctor.run_file import Run, environment_of, read_run
from swift_ext import PREFIXES

if TYPE_CHECKING:
    from launch.doctor.setup import Setup

# The doctor asks no hub; taken back afterwards.
_QUIET = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}


def make_parser() -> Parser:
    """The command line; what it does not know is a flag of the run."""
    parser = verb_parser("doctor", __doc__)
    parser.add_argument(
        "--method", help="which kind of run this is, when its keys do not say (any other word lists them)"
    )
    parser.add_argument(
        "--num_processes", type=positive_integer, help="processes of the run (default: NPROC_PER_NODE x NNODES)"
    )
    parser.add_argument("--accelerate_config", type=Path, metavar="FILE", help="the --config_file of accelerate launch")
    parser.add_argument(
        "--constraints", type=Path, metavar="FILE", help="versions to compare with (default: the tested set)"
    )
    parser.add_argument("--rows", type=int, default=2000, help="rows of a file that are read (default 2000; 0: all)")
    parser.add_argument("--margin_pairs", metavar="FILE", help="held-out pairs that a margin adapter should rank")
    parser.add_argument("--probe_pairs", type=positive_integer, default=32, help="at most so many of them (default 32)")
    parser.add_argument("--load", action="store_true", help="load models to count and to probe, however large they are")
    parser.add_argument(
        "--samples", type=Path, metavar="PATH", help="sampled scores: a folder of `variance`, or rows with `rewards`"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the findings here")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 1 when a check found an error, 0 otherwise (warnings do not fail)."""
    run_file = Path(argv[0]) if argv and not argv[0].startswith("--") else None
    options, flags = make_parser().parse_known_args(argv[run_file is not None :])
    with quietly():
        run = read_run(run_file, flags, options.method, options.num_processes, options.accelerate_config)
        with environment_of(run):
            secrets = [*secrets_in(run.given, os.environ)]
            findings = without_secrets([*examine(run, options)], secrets)
    name = run.method.name if run.method else "nothing but the environment"
    print_table(findings, f"doctor: {run.file or 'no run file'} ({name})")
    if options.json:
        write_json(options.json, as_json(findings, run_file=str(run.file or ""), method=name, processes=run.processes))
    return exit_code(findings)


@contextmanager
def quietly() -> Iterator[None]:
    """Offline, and without upstream's log and warnings; environment and logging are as before afterwards."""
    before, disabled = dict(os.environ), logging.root.manager.disable
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        os.environ.clear()
        os.environ.update(before)


def examine(run: Run, options: argparse.Namespace) -> Iterator[Finding]:
    """Every finding about a run, in the order of the table."""
    from launch.doctor import keys, machine, plugin, seams, setup, versions

    yield from guarded("versions", lambda: versions.check_versions(options.constraints))
    if run.given:
        yield from guarded("upstream", lambda: plugin.check_upstream(run))
    yield from guarded("seams", lambda: seams.check_seams(run.method if run.given else None))
    if not run.given:
        yield from guarded("machine", lambda: machine.check_machine(None))
        yield from of_environment(run)
        return
    if run.method is None:
        raise ValueError(
            f"nothing says what kind of run {run.file or 'this'} is: --method, one of {', '.join(METHODS)}"
        )
    yield from guarded("keys", lambda: keys.check_keys(run))
    yield from guarded("plugin", lambda: plugin.check_plugin(run, dict(os.environ)))
    found, refusals = setup.read_setup(run)
    yield from refusals
    yield from guarded("settings", setup.check_judge_reward)
    yield from guarded("machine", lambda: machine.check_machine(found))
    if run.method.upstream in ("ms-swift", "trl"):
        yield from of_training(found, options)


def of_environment(run: Run) -> Iterator[Finding]:
    """Without a run: the settings that the environment holds for each plugin, and which way its margins push."""
    from launch.doctor import margins, setup

    for name, prefix in PREFIXES.items():
        if any(key.startswith(prefix) for key in os.environ):
            found, refusals = setup.read_setup(replace(run, method=METHODS[name]))
            yield from refusals
            yield from guarded("margin direction", lambda found=found: margins.check_margins(found, margins.Probe()))
    yield from guarded("settings", setup.check_judge_reward)


def of_training(found: "Setup", options: argparse.Namespace) -> Iterator[Finding]:
    """What is found about data, batches, models and room of a run that trains here."""
    from launch.doctor import (
        batches,
        disk,
        lengths,
        margins,
        memory,
        pairs,
        prompts,
        reference,
        rewards,
        rows,
        spread,
        trainability,
    )

    limit = options.rows or None
    probe = margins.Probe(options.margin_pairs, options.probe_pairs, options.load)
    yield from guarded("rows", lambda: rows.check_rows(found, limit))
    yield from guarded("rows", lambda: prompts.check_prompts(found, limit))
    yield from guarded("lengths", lambda: lengths.check_lengths(found))
    yield from guarded("pairs", lambda: pairs.check_pairs(found))
    yield from guarded("rewards", lambda: rewards.check_rewards(found, limit))
    yield from guarded("batches", lambda: batches.check_batches(found))
    yield from guarded("margin direction", lambda: margins.check_margins(found, probe))
    yield from guarded("trainability", lambda: trainability.check_trainability(found, options.load))
    yield from guarded("reference", lambda: reference.check_reference(found))
    yield from guarded("zero variance", lambda: spread.check_spread(found, options.samples))
    yield from guarded("memory", lambda: memory.check_memory(found))
    yield from guarded("disk", lambda: disk.check_disk(found))


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
