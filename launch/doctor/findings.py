"""What a check says: a level, what was found, and the fix."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from datasets_builders.secrets import hide_passwords, redact

Level = Literal["ok", "warning", "error", "skipped"]
LEVELS: tuple[Level, ...] = ("error", "warning", "skipped", "ok")
_COLOURS = {"ok": "green", "warning": "yellow", "error": "bold red", "skipped": "dim"}


@dataclass(frozen=True)
class Finding:
    """One outcome of one check.

    Attributes:
        check: name of the check, as in the table of docs/doctor.md.
        level: `error` fails the doctor, `warning` does not; `skipped` says why nothing could be said.
        found: what was found, with its numbers.
        fix: what to do; empty where nothing is to be done.
    """

    check: str
    level: Level
    found: str
    fix: str = ""


def ok(check: str, found: str) -> list[Finding]:
    return [Finding(check, "ok", found)]


def warning(check: str, found: str, fix: str = "") -> list[Finding]:
    return [Finding(check, "warning", found, fix)]


def error(check: str, found: str, fix: str = "") -> list[Finding]:
    return [Finding(check, "error", found, fix)]


def skipped(check: str, found: str, fix: str = "") -> list[Finding]:
    return [Finding(check, "skipped", found, fix)]


def without_secrets(findings: Sequence[Finding], secrets: Sequence[str]) -> list[Finding]:
    """The findings with `***` for every secret and for the password of every address, whoever's message it stands in."""
    hidden = [
        (hide_passwords(redact(one.found, *secrets)), hide_passwords(redact(one.fix, *secrets))) for one in findings
    ]
    return [replace(one, found=found, fix=fix) for one, (found, fix) in zip(findings, hidden, strict=True)]


def exit_code(findings: Sequence[Finding]) -> int:
    """1 when there is an error, 0 otherwise."""
    return int(any(one.level == "error" for one in findings))


def summary(findings: Sequence[Finding]) -> str:
    """`2 errors, 1 warning, 3 skipped, 9 ok`."""
    counts = {level: sum(one.level == level for one in findings) for level in LEVELS}
    plural = {"error": "errors", "warning": "warnings"}
    return ", ".join(f"{n} {plural.get(level, level) if n != 1 else level}" for level, n in counts.items())


def as_json(findings: Sequence[Finding], **head: Any) -> dict[str, Any]:
    """What `--json` writes: the head, the counts' sentence, the exit code and every finding."""
    return {
        **head,
        "summary": summary(findings),
        "exit_code": exit_code(findings),
        "findings": [*map(asdict, findings)],
    }


def print_table(findings: Sequence[Finding], title: str) -> None:
    """The findings as a table on the terminal, in the order of the checks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:  # a log has no width of its own
        console = Console(width=160)
    table = Table(title=Text(title), show_lines=True, title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("level", no_wrap=True)
    table.add_column("found", ratio=3, overflow="fold")
    table.add_column("fix", ratio=2, overflow="fold")
    for one in findings:
        style = _COLOURS[one.level]
        table.add_row(one.check, Text(one.level, style), Text(one.found), Text(one.fix))  # Text: no markup from data
    console.print(table)
    console.print(Text(summary(findings)))
