"""Worker processes that decode ahead.

Plain child processes: no fork of a process that has threads, no second run of the user's script (as "spawn" does). A
task carries its images' paths only, so no process holds a copy of the data set. Pixels travel through anonymous
shared memory, which the size of /dev/shm does not limit. A child that fails or dies closes its pipe, which is noticed
at once; a child whose parent is gone ends by itself. Children that have finished an epoch wait for the next one: they
need a second or two to start.
"""

from __future__ import annotations

import atexit
import mmap
import os
import pickle
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from inceptions.data.batches import Batch, Work, assemble
from inceptions.data.dataset import Split
from inceptions.system import SharedMemory, death

_AHEAD = 2  # batches in the works for each worker: one being made while the last one waits to be taken

_LENGTH = struct.Struct("<Q")


def send(pipe: IO[bytes], message: object) -> None:
    """Writes one message to an unbuffered pipe."""
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    view = memoryview(_LENGTH.pack(len(content)) + content)
    while view:
        view = view[pipe.write(view) :]


def receive(pipe: IO[bytes]) -> Any:
    """Reads one message.

    Raises:
        EOFError: the other side is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    return pickle.loads(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        piece = pipe.read(size - len(content))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)


def work_ahead(split: Split, work: Work, parts: list[NDArray[np.int64]], count: int) -> Iterator[Batch]:
    """The batches of `parts`, in order; part k is made by worker k modulo `count`.

    Raises:
        ChildProcessError: a worker died.
        RuntimeError: a worker failed.
    """
    most = max(len(part) for part in parts)
    crew: list[_Worker] = []
    finished = False

    def order(number: int) -> None:
        if number < len(parts):
            part = parts[number]
            slot = number // count % _AHEAD
            crew[number % count].order(slot, [split.source(int(index)) for index in part], part.tolist())

    try:
        for _ in range(count):
            crew.append(_hire(_AHEAD * most * int(np.prod(work.shape)) * work.dtype.itemsize))
            crew[-1].begin(work, most)
        for number in range(count * _AHEAD):
            order(number)
        for number, part in enumerate(parts):
            images, refused = crew[number % count].take(number // count % _AHEAD, len(part))
            order(number + count * _AHEAD)  # its slot is free again, and the worker busy while the caller computes
            yield assemble(split, part, images, refused)
        finished = True
    finally:
        for worker in crew:
            if finished:
                worker.rest()
                _idle.append(worker)
            else:  # it may still be busy with what nobody wants any more
                worker.close()


def dismiss() -> None:
    """Ends the workers that wait for another epoch, as the end of the program does."""
    while _idle:
        _idle.pop().close()


def _hire(size: int) -> _Worker:
    """A waiting worker that has so many bytes of shared memory, or a new one."""
    while _idle:
        worker = _idle.pop()
        if worker.size >= size and worker.alive():
            return worker
        worker.close()
    return _Worker(size)


class _Worker:
    """One child process and the memory it shares with us: a slot for each batch it may have ready."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._orders: list[str] = []
        self._shared = SharedMemory(size)
        with self._shared as shared:
            self._process = subprocess.Popen(
                # -P: a file of the user's folder must not stand in for a module
                [sys.executable, "-P", "-m", "inceptions.data.worker_process", shared.name, str(size)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                pass_fds=shared.descriptors,
                # Pillow keeps the memory of the last few images for the next ones: giving it back to the system and
                # taking it anew is a fifth of the time. One thread each: together they keep every core busy.
                env={"PILLOW_BLOCKS_MAX": "4"}
                | os.environ
                | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for us: we finish the step and save
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def begin(self, work: Work, most: int) -> None:
        """Says what the next orders are about: at most `most` images each."""
        self._shape, self._dtype = (_AHEAD, most, *work.shape), work.dtype
        self._send((work, self._shape, self._dtype))

    def rest(self) -> None:
        """Gives the pages of the shared memory back until they are written again."""
        self._shared.give_back()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from, self._errors):
            pipe.close()
        self._shared.close()

    def order(self, slot: int, sources: list[Any], indices: list[int]) -> None:
        """Asks for one batch into a slot."""
        self._orders.append(f"{_label(sources[0])} ... {_label(sources[-1])}")
        self._send((slot, sources, indices))

    def take(self, slot: int, images: int) -> tuple[NDArray[Any], dict[int, str]]:
        """Waits for the oldest batch ordered, and copies it out of its slot."""
        try:
            answer = receive(self._from)
        except EOFError:
            raise self._dead() from None
        if isinstance(answer, str):
            raise RuntimeError(f"a data worker failed while it read {self._orders[0]}:\n{answer}")
        self._orders.pop(0)
        refused: dict[int, str] = answer
        slots = slots_in(self._shared.memory, self._shape, self._dtype)
        return slots[slot, : images - len(refused)].copy(), refused

    def _send(self, message: object) -> None:
        try:
            send(self._to, message)
        except BrokenPipeError:
            raise self._dead() from None

    def _dead(self) -> ChildProcessError:
        how, starved = death(self._process.wait())
        hint = " (out of memory? try fewer workers or a smaller batch)" if starved else ""
        self._errors.seek(0)
        said = self._errors.read()[-4000:].decode(errors="replace").strip()
        reading = f" while it read {self._orders[0]}" if self._orders else ""
        return ChildProcessError(
            f"data worker {self._process.pid} {how}{hint}{reading}" + (f":\n{said}" if said else "")
        )


def slots_in(memory: mmap.mmap, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The shared memory as batches: (slots, images, channels, height, width)."""
    return np.frombuffer(memory, dtype=dtype, count=int(np.prod(shape))).reshape(shape)


def _label(source: object) -> str:
    return "a table's row" if isinstance(source, bytes) else str(source)


_idle: list[_Worker] = []  # between two epochs
atexit.register(dismiss)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a forked child must not talk to its parent's workers
