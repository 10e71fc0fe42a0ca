"""What the name of a model or an adapter can be: a folder on this machine, or a name that a hub is asked for."""

import os
from glob import escape
from pathlib import Path

# Where pages and run files put what commands make. To ask a hub for `models/rm` ends in advice on accounts and tokens.
OWN_FOLDERS = ("models", "out", "runs")
EMBEDDED = "smollm2"  # what pages and run files call the embedded model's folder


def is_path(name: str) -> bool:
    """Whether a name can only be that of a folder here: a hub's is `NAME` or `OWNER/NAME`, and begins with no dot or tilde.

    A name in a folder where this pack's pages and run files put models and runs, such as `models/rm`, is a folder too.
    """
    owner, *rest = name.rstrip("/").split("/")
    in_own_folder = owner in OWN_FOLDERS and bool(rest)
    return os.path.isabs(name) or name.startswith((".", "~")) or len(rest) > 1 or in_own_folder


def refuse_missing_folder(name: str | os.PathLike[str], what: str, made_by: str = "") -> None:
    """Refuses the name of a model or an adapter that can only be a folder here, where there is none; asks no hub.

    Args:
        what: the flag, key or thing that the name was given for.
        made_by: the command that makes such a folder, as a sentence's part: `python -m ... makes it of ...`.

    Raises:
        ValueError: no such folder, a file, or a ``~`` that was left as it is (loaders do not read it).
    """
    name = os.fspath(name)
    if not is_path(name) or os.path.isdir(name):
        return
    if os.path.isdir(os.path.expanduser(name)):
        raise ValueError(f"{what}: write {os.path.expanduser(name)} in place of {name}: loaders do not read the ~")
    found = "is a file" if os.path.exists(name) else "does not exist"
    if Path(name).name == EMBEDDED:
        made_by = f"python -m launch embedded-model --out {name} makes it"
    raise ValueError(
        f"{what}: {name} {found}; the folder of a model or an adapter is needed, or a name on the hub"
        f"{in_a_numbered_run(name)}{made_by and f'; {made_by}'}"
    )


def merged_reward_model(name: str) -> str:
    """For a message that a reward model is missing: what makes the folder of this name."""
    return (
        f"python -m launch merge-rm --adapter RUN --out {name} makes it of a reward model's run "
        "(python -m launch runs show d2po/rm_trl)"
    )


def in_a_numbered_run(folder: str | os.PathLike[str]) -> str:
    """For a message that a folder is missing: where it is, if ms-swift put it into a numbered run (`v0-...`) beside.

    Returns:
        A sentence with the newest such folder; nothing where there is none.
    """
    wanted = Path(folder)
    found = [path for path in wanted.parent.glob(f"v*-*/{escape(wanted.name)}") if path.is_dir()]
    return f"; there is {max(found, key=os.path.getmtime)}" if found else ""
