"""A driver's long work in a process of its own, where the interpreter lock holds up nobody.

What a worker reads or writes goes through pipes. The daemon's thread that waits for it feeds it
meanwhile, unless the other end of the pipe is a worker too.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final, TypeVar, TypeVarTuple, cast

from naru.kernel.pipes import pipe
from naru.kernel.workers import Job, Workers
from naru.spec.errors import InternalError
from naru.store.compression import Readable
from naru.store.driver import Apart, StorageDriver

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PIECE: Final = 1 << 20


class PipeReader(io.FileIO):
    """The reading end of a pipe that another worker writes to."""


def goes_apart(driver: StorageDriver, workers: Workers | None) -> Workers | None:
    """The workers, where there are some and the driver may be used in another process."""
    return workers if isinstance(driver, Apart) else None


def fed(
    workers: Workers,
    source: Readable,
    stop: threading.Event,
    function: Callable[[list[int], *Ts], T],
    *args: *Ts,
    fds: Sequence[int] = (),
) -> T:
    """`function([a pipe with the bytes of source, *fds], *args)` in a worker -> its result.

    An error of `source` ends the worker, and is raised.
    """
    if isinstance(source, PipeReader):
        with workers.begin([source.fileno(), *fds], function, *args) as job:
            source.close()
            return job.result()
    reading, writing = pipe()
    with open(writing, "wb", buffering=0) as out:
        try:
            job = workers.begin([reading, *fds], function, *args)
        finally:
            os.close(reading)
        with job:
            with contextlib.suppress(BrokenPipeError):  # it wants no more: its result says why
                _feed(source, out, stop)
            out.close()
            return job.result()


@contextmanager
def writing(
    workers: Workers,
    function: Callable[[list[int], *Ts], object],
    *args: *Ts,
    fds: Sequence[int] = (),
) -> Iterator[BinaryIO]:
    """What `function([a pipe, *fds], *args)` writes in a worker; an error of it comes at the end.

    Where the block fails for want of what the worker did not write, the worker's error is raised.
    """
    reading, written = pipe()
    with PipeReader(reading) as source:
        try:
            job: Job[object] = workers.begin([written, *fds], function, *args)
        finally:
            os.close(written)
        with job:
            try:
                yield cast(BinaryIO, source)
            except BaseException:
                source.close()
                with contextlib.suppress(BrokenPipeError):
                    job.result()  # raises why it wrote no more, if that was why
                raise
            job.result()


def _feed(source: Readable, out: io.FileIO, stop: threading.Event) -> None:
    while piece := source.read(_PIECE):
        view = memoryview(piece)
        while view:
            if stop.is_set():
                raise InternalError("the registration was cancelled")
            view = view[out.write(view) :]
