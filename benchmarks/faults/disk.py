"""SmallDisk: the place of the history, which can be filled up.

Where this process may mount, it is a file system of a few megabytes in memory, and full means full. Elsewhere the size
of the files that the control service may write is limited instead, which fails its writes in another way.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEGABYTES = 24
_CHUNK = b"\0" * (1 << 16)
#: Below a page of the write-ahead log.
_LIMIT_BYTES = 2048


class SmallDisk:
    """A folder.

    Attributes:
        folder: Where it is.
        real: Whether it is a file system of its own.
    """

    def __init__(self, folder: Path, *, real: bool) -> None:
        self.folder = folder
        self.real = real
        self._filler = folder / "filler"

    def fill(self, pid: int) -> None:
        """Leave no room.

        Args:
            pid: Who is to notice, where only the size of files can be limited.
        """
        if not self.real:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (_LIMIT_BYTES, hard))
            return
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(_CHUNK):
                pass

    def free(self, pid: int) -> None:
        """Give the room back. Idempotent."""
        if not self.real:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """A small disk at ``folder`` until the block ends."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield SmallDisk(folder, real=mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)
