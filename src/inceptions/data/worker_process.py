"""The child process of `workers`: orders come on stdin, images go into shared memory, answers to stdout."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import traceback
import warnings
from queue import SimpleQueue
from typing import Any

from inceptions.data.batches import Work
from inceptions.data.worker_pool import receive, send, slots_in
from inceptions.system import open_shared_memory


def main() -> None:
    """Serves orders until the parent is gone."""
    faulthandler.enable()  # a crash inside a decoder says where
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow thinks of a file, nobody reads here
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides when to stop
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not come between the answers
    memory = open_shared_memory(sys.argv[1], int(sys.argv[2]))
    orders: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    while True:
        match orders.get():
            case (Work() as work, shape, dtype):
                slots = slots_in(memory, shape, dtype)
            case (slot, sources, indices):
                try:
                    answer: object = work.fill(slots[slot], sources, indices)
                except Exception:
                    answer = traceback.format_exc()
                send(answers, answer)


def _listen(orders: SimpleQueue[Any]) -> None:
    """Takes orders as they come, so the parent never waits to give one; ends the process when there is no parent."""
    with os.fdopen(0, "rb", buffering=0, closefd=False) as pipe:
        while True:
            try:
                orders.put(receive(pipe))
            except EOFError:
                os._exit(0)


if __name__ == "__main__":
    main()
