"""How results come to their place: made beside it under a name of our own, and renamed when they are whole.

A kill leaves `.NAME.<12 hex digits>.tmp`. The next writer of the same NAME removes it, unless a live process holds it:
each is locked from its making until it has its final name, and the kernel frees the locks of a process that is gone.
Nothing else is ever removed: a folder of results is written to a new or an empty one.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def made_beside(target: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new file or folder beside `target`, to be filled and renamed; what still has this name at the end is removed.

    Args:
        make: makes an empty file or folder of the given name, which must not be there yet.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target)
    lock = None
    while lock is None:  # once more when a sweep came between the making and the lock
        temporary = _unfinished(target)
        make(temporary)
        lock = _lock(temporary)
    try:
        yield temporary
    finally:
        _remove(temporary)
        os.close(lock)


def sweep(target: Path) -> None:
    """Removes what killed writers of `target` left; what a live one holds, or cannot be locked, stays."""
    for name in [entry.name for entry in os.scandir(target.parent) if is_unfinished(entry.name, target)]:
        path = target.with_name(name)
        with suppress(OSError):  # gone meanwhile, another user's, held, or a file system without locks
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(descriptor)


def _unfinished(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")


def is_unfinished(name: str, target: Path) -> bool:
    """Whether a file of this name beside `target` is one that its writers fill, or that a killed one left."""
    return re.fullmatch(re.escape(f".{target.name}.") + r"[0-9a-f]{12}\.tmp", name) is not None


def _lock(path: Path) -> int | None:
    """An open, locked descriptor; None when the path is no longer there. Without locks in the file system: unlocked,
    and then no sweep can lock it either.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
        return descriptor
    os.close(descriptor)
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def check_new_folder(out: str | os.PathLike[str], flag: str = "--out") -> None:
    """Refuses a place whose files would have to go.

    Raises:
        ValueError: `out` is there already and not an empty folder.
    """
    out = Path(out)
    if (out.exists() or out.is_symlink()) and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{flag} {out}: is there already and not an empty folder; name a new one")


@contextmanager
def new_folder(out: str | os.PathLike[str], flag: str = "--out") -> Iterator[Path]:
    """A folder to write into, which becomes `out`, on disk, when the block ends well, and nothing otherwise.

    Raises:
        ValueError: `out` is there already and not an empty folder, now or when the block has ended.
    """
    check_new_folder(out, flag)
    target = Path(os.path.realpath(out))
    with made_beside(target, Path.mkdir) as folder:
        yield folder
        _sync_all(folder)
        check_new_folder(out, flag)
        folder.rename(target)
        sync(target.parent)


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `target`, on disk, when the block ends well; what was there goes.

    A kill between the two renames leaves no `target`, never a part of one. For the states of a run; what a user names
    goes to a `new_folder`.
    """
    target, old = Path(os.path.realpath(target)), None
    with made_beside(target, Path.mkdir) as folder:
        yield folder
        _sync_all(folder)
        if target.exists():
            old = target.rename(_unfinished(target))
        folder.rename(target)
        sync(target.parent)
    if old is not None:
        _remove(old)


def _sync_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Puts a file's content, or the names of a folder's files, on the disk: without the latter a power cut can take a
    rename or a new file back.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
