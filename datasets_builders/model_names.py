"""What the name of a model or an adapter can be: a folder on this machine, or a name that a hub is asked for."""

import os
from glob import escape
from pathlib import Path


def is_path(name: str) -> bool:
    """Whether a name can only be that of a folder here: a hub's is `NAME` or `OWNER/NAME`, and begins with no dot or tilde."""
    return os.path.isabs(name) or name.startswith((".", "~")) or name.rstrip("/").count("/") > 1


def refuse_missing_folder(name: str | os.PathLike[str], what: str) -> None:
    """Refuses the name of a model or an adapter that can only be a folder here, where there is none; asks no hub.

    Args:
        what: the flag, key or thing that the name was given for.

    Raises:
        ValueError: no such folder, a file, or a ``~`` that was left as it is (loaders do not read it).
    """
    name = os.fspath(name)
    if not is_path(name) or os.path.isdir(name):
        return
    if os.path.isdir(os.path.expanduser(name)):
        raise ValueError(f"{what}: write {os.path.expanduser(name)} in place of {name}: loaders do not read the ~")
    found = "is a file" if os.path.exists(name) else "does not exist"
    raise ValueError(
        f"{what}: {name} {found}; the folder of a model or an adapter is needed, or a name on the hub{in_a_numbered_run(name)}"
    )


def in_a_numbered_run(folder: str | os.PathLike[str]) -> str:
    """For a message that a folder is missing: where it is, if ms-swift put it into a numbered run (`v0-...`) beside.

    Returns:
        A sentence with the newest such folder; nothing where there is none.
    """
    wanted = Path(folder)
    found = [path for path in wanted.parent.glob(f"v*-*/{escape(wanted.name)}") if path.is_dir()]
    return f"; there is {max(found, key=os.path.getmtime)}" if found else ""
