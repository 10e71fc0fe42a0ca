"""The first rows of a preference data set, read as the run's method needs them, with counts by reason."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from datasets_builders.fields import RowError
from datasets_builders.io import SUFFIXES, SkipCounter, read_located_rows
from launch.doctor.arguments import is_here
from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.setup import Setup, here
from trl_ext.modpo.pair_rows import check_pair

NAME = "rows"
# A few bad rows of many are the builders' counted skips; more means that the file is of another kind.
MOST_BAD = 0.01
EQUAL = "the chosen answer equals the rejected one"
SAYS = ("assistant", "tool_call")  # roles of what the policy itself writes
Row = dict[str, Any]


def swift_pair_fault(row: Row, where: str) -> str | None:
    """Why ms-swift's DPO cannot learn from a row, as a short reason; None: it can."""
    from launch.doctor.swift_rows import read_pair

    if not row.get("rejected_response", row.get("rejected_messages")):
        return "no rejected_response"
    try:
        chosen, rejected = read_pair(row)
    except ValueError as problem:
        if str(problem).startswith("rejected_response: "):
            return EQUAL
        raise
    ends = [(response or prompt)[-1]["role"] for prompt, response in (chosen, rejected)]
    if ends[0] not in SAYS:
        return f"messages end with {ends[0]}, not with the chosen assistant answer"
    if ends[1] not in SAYS or not _said(rejected[1]):
        return "no rejected_response"
    if not _said(chosen[1]).strip():
        return "the chosen answer is empty"
    return EQUAL if chosen == rejected else None


def _said(response: list[dict[str, Any]]) -> str:
    return "".join(str(message["content"]) for message in response if message["role"] in SAYS)


def trl_pair_fault(row: Row, where: str) -> str | None:
    """The same for TRL's DPO, by the reader with which MODPO's script checks its rows; a RowError says why not."""
    check_pair(row)
    return None


def prompt_fault(row: Row, where: str) -> str | None:
    """Why ms-swift's GRPO cannot generate from a row: it needs messages."""
    from launch.doctor.swift_rows import read_prompt

    if "messages" not in row:
        return "no column messages"
    read_prompt(row)
    return None


FAULTS: dict[str, Callable[[Row, str], str | None]] = {
    "pairs": swift_pair_fault,
    "trl pairs": trl_pair_fault,
    "scored pairs": prompt_fault,
    "judged pairs": prompt_fault,
}


def count_faults(source: str, fault: Callable[[Row, str], str | None], limit: int | None) -> SkipCounter:
    """Usable and unusable rows among the first `limit`, lines that hold no row among the latter."""
    counter = SkipCounter()

    def bad_line(problem) -> None:
        counter.skip(problem.reason, str(problem))

    for where, row in islice(read_located_rows(source, bad_line), limit):
        first = str(where)
        try:
            reason = fault(row, first)
        except RowError as problem:
            reason, first = problem.reason, f"{where}: {problem}"
        except ValueError:
            reason = "messages are no list of role and content"
        counter.keep() if reason is None else counter.skip(reason, first)
    return counter


def sources(setup: Setup) -> list[str]:
    """The data sets that a run names, files and hub names alike."""
    if setup.run.method.upstream == "trl":
        return [str(setup.value("dataset_name"))] if setup.value("dataset_name") else []
    found: list[str] = []
    for name in ("dataset", "val_dataset"):
        given = setup.value(name) or []
        found += [str(one) for one in (given if isinstance(given, list) else [given])]
    return found


def readable(source: str) -> bool:
    """Whether a source is a local file, or a folder of files, of a kind that the project's reader reads."""
    path = here(source)
    return path is not None and (path.is_dir() or path.name.endswith(SUFFIXES))


def check_rows(setup: Setup, limit: int | None) -> list[Finding]:
    """Usable rows and the others by reason, for each local file; what is not here is said."""
    fault = FAULTS.get(setup.run.method.rows)
    named = sources(setup)
    if setup.run.method.name.startswith("trl-") and (files := [one for one in named if Path(one).is_file()]):
        found = f"{files[0]} is a file: TRL's own scripts take a data set's name, or a folder of files"
        return error(NAME, found, f"dataset_name: a folder that holds nothing but {Path(files[0]).name}")
    if fault is None:
        return []
    if not named and setup.value("datasets"):
        return skipped(NAME, f"{len(setup.value('datasets'))} data sets of a mixture: their rows are not checked")
    if not named:
        return error(NAME, f"{setup.run.method.name} names no data set", "dataset: FILE")
    if not is_here(setup.run.method):
        return skipped(NAME, "ms-swift, which reads the rows, is not installed here")
    findings: list[Finding] = []
    for source in named:
        if not readable(source):
            findings += skipped(
                NAME, f"{source} is not here, or no {', '.join(SUFFIXES)}: its rows are not checked", _fetch(source)
            )
        else:
            findings += _judge(source, count_faults(str(here(source)), fault, limit), limit)
    return findings


def _fetch(source: str) -> str:
    return "run the command of the run file's line Data:, or run the doctor where the data is"


def _judge(source: str, counter: SkipCounter, limit: int | None) -> list[Finding]:
    of = f"of the first {counter.total}" if limit and counter.total >= limit else f"of {counter.total}"
    if not counter.total:
        return error(NAME, f"{source} holds 0 rows", "make the data again")
    if not counter.skipped:
        return ok(NAME, f"{source}: {counter.kept} {of} rows are usable")
    reasons = "; ".join(
        f"{count} x {reason} (first: {counter.first[reason]})" for reason, count in counter.skipped.items()
    )
    bad = sum(counter.skipped.values())
    say = error if bad > MOST_BAD * counter.total else warning
    return say(
        NAME,
        f"{source}: {bad} {of} rows are unusable: {reasons}",
        "python -m launch check-pairs, or build the data again",
    )


def column_names(rows: Iterable[Row]) -> set[str]:
    """Columns that every one of the rows has, with a value."""
    sets = [{name for name, value in row.items() if value is not None} for row in rows]
    return set.intersection(*sets) if sets else set()
