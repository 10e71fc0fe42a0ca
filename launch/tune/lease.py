"""Who works on a trial: a locked file that the system itself gives free when the last process that holds it is gone.

Journal storage has no heartbeats. A lock needs none: no interval to choose, no clocks to compare, and no moment in which
a slow worker is taken for a dead one. The training run inherits the open file, so a trial whose worker was killed stays
taken until its run is gone as well. The lock is flock(2): local disks, NFS, GPFS, and Lustre mounted with `flock`.
"""

import fcntl
import json
import os
import socket
from pathlib import Path


class Lease:
    """An exclusive lock on `path`, held from `take` until `release` or the death of every process that has it open."""

    def __init__(self, path: Path, descriptor: int):
        self.path, self.descriptor = path, descriptor

    @classmethod
    def take(cls, path: Path, holder: str) -> "Lease | None":
        """The lease, or None while somebody else holds it. `holder` is written into the file, for people."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise ValueError(
                f"{path}: this file system cannot lock files ({error}); use another --output_root"
            ) from error
        os.truncate(descriptor, 0)
        os.write(descriptor, json.dumps({"holder": holder, "host": socket.gethostname(), "pid": os.getpid()}).encode())
        return cls(path, descriptor)

    def release(self) -> None:
        """Gives it free, unless a run that inherited it is still there."""
        os.close(self.descriptor)
