"""What differs between operating systems, in one place: nothing else in the package asks which system it runs on."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM})
"""What file systems answer that know no flushing (network and shared folders, FUSE), least of all of folders."""
_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of glibc's mallopt


def peak_memory() -> int:
    """The most memory this process ever had resident, bytes; on a system that keeps no such count, what it has now."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        now = psutil.Process().memory_info()
        return int(getattr(now, "peak_wset", now.rss))
    # the one fact on which the POSIX systems disagree: macOS counts bytes, the others kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def keep_freed_memory() -> None:
    """Has the C library keep what is freed: the system would clear every page again that the next step asks for, which
    takes a tenth of a training step. Only glibc has such a setting; elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_MAX, 0)  # no block, however large, is a mapping of its own
        library.mallopt(_TRIM_THRESHOLD, -1)  # nor is the end of the heap ever given back


def flush(path: Path) -> None:
    """Brings a file, or the names in a folder, to the disk, where the system has a way to say so.

    Raises:
        OSError: the disk failed, or is full.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except PermissionError:  # a folder that may be written to and not listed; on Windows, any
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Brings what was written to an open file to the disk, where the file system knows such a thing."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def death(code: int) -> tuple[str, bool]:
    """How a process with this exit code ended, in words, and whether the system may have killed it for its memory."""
    if code >= 0:
        return f"ended with code {code}", False
    return f"was killed by {signal.Signals(-code).name}", -code == getattr(signal, "SIGKILL", None)


class SharedMemory:
    """Memory that a child process shares: without a name, so that the size of `/dev/shm` does not limit it.

    Where the system has no such memory it is a temporary file, mapped by its path and deleted by whoever made it.
    """

    def __init__(self, size: int) -> None:
        self._file: Path | None = None
        self.descriptors: tuple[int, ...] = ()
        """What the child must inherit (`pass_fds`); empty where it opens a path."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("inceptions")
            self.descriptors = (descriptor,)
        else:
            descriptor, path = tempfile.mkstemp(prefix="inceptions-")
            self._file = Path(path)
        try:
            os.ftruncate(descriptor, size)
            self.memory = mmap.mmap(descriptor, size)
        except BaseException:
            os.close(descriptor)
            self._delete()
            raise
        if not self.descriptors:
            os.close(descriptor)

    @property
    def name(self) -> str:
        """What the child passes to `open_shared_memory`."""
        return str(self.descriptors[0]) if self.descriptors else str(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Gives the descriptor back once the child has inherited it; the memory stays until `close`."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()

    def give_back(self) -> None:
        """Frees the pages until they are written again, where the system can."""
        if hasattr(mmap, "MADV_REMOVE"):
            with suppress(OSError):  # not every file system can
                self.memory.madvise(mmap.MADV_REMOVE)

    def close(self) -> None:
        """Frees it in this process."""
        with suppress(BufferError):  # an array still looks into it, and frees it with itself
            self.memory.close()
        self._delete()

    def _delete(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # Windows keeps a file that a dying child still maps
                self._file.unlink(missing_ok=True)


def open_shared_memory(name: str, size: int) -> mmap.mmap:
    """In the child: the memory that its parent called `name`."""
    if name.isdigit():
        return mmap.mmap(int(name), size)
    with open(name, "r+b") as file:
        return mmap.mmap(file.fileno(), size)
