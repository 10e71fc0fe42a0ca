"""The flags of every command that asks a server for many paid answers."""

from collections.abc import Callable
from typing import Any

from datasets_builders.choices import positive_integer, whole_number


def add_request_flags(add: Callable[..., Any], attempts: str) -> None:
    """Declares how fast a server is asked, how often again, and that answers on the disk are kept.

    Args:
        add: `add_argument` of a parser or of a group.
        attempts: what `--max_attempts` counts, for its help.
    """
    add("--concurrency", type=positive_integer, default=8, help="requests under way at once (default %(default)s)")
    add("--rpm_limit", type=positive_integer, default=50, help="requests per minute, retries included")
    add(
        "--max_retries",
        type=whole_number,
        default=3,
        help="how often a request that fails on its way is sent again (default %(default)s)",
    )
    add("--max_attempts", type=positive_integer, default=3, help=attempts)
    add("--resume", action="store_true", help="continue with the answers that are in --out")
