"""How far a long command is and how long it will still take: one bar for all commands, on the error stream.

Where nobody sits before a terminal (a log, a stage of a pipeline), each state is a line of its own, and rare. A command that is
done within a few seconds shows nothing.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

SILENT = 2.0  # seconds from the start without a word
BETWEEN_LINES = 15.0  # seconds, in a log
ON_TERMINAL = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} {unit}, {remaining} left{postfix}"
IN_LOG = "{desc}: {n_fmt} of {total_fmt} {unit}, {elapsed} gone, {remaining} left{postfix}"


class _Lines:
    """The error stream for a bar: lines instead of states that overwrite each other."""

    def write(self, text: str) -> None:
        if text := text.strip():
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress(total: int, what: str, unit: str, done: int = 0, shown: bool = True) -> "tqdm":
    """A bar, to be used as a context manager, with `update(n)` after every step.

    Args:
        what: names the work.
        unit: in the plural: "answers".
        done: of `total`, by an earlier call; it does not count for the estimate.
        shown: False is a bar that says nothing, such as on a process other than the first.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        disable=not shown,
        file=sys.stderr if terminal else _Lines(),
        bar_format=ON_TERMINAL if terminal else IN_LOG,
        dynamic_ncols=terminal,
        ascii=None if terminal else True,
        mininterval=0.2 if terminal else BETWEEN_LINES,
        maxinterval=float("inf"),  # no thread that watches
        miniters=1,
        leave=terminal,  # a log has the last state already
        delay=SILENT if terminal else BETWEEN_LINES,
    )


def left(done: int, total: int, seconds: float) -> str:
    """`3 of 12, about 45 min left`, for work whose steps announce themselves.

    Args:
        done: steps of this call, in `seconds`.
        total: steps of this call in all.
    """
    text = f"{done} of {total}"
    return f"{text}, {about(seconds / done * (total - done))} left" if 0 < done < total else text


def about(seconds: float) -> str:
    """`about 45 min`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {seconds:.0f} s"
