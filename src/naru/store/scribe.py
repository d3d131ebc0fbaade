"""Small files are written by a process beside the one that reads the archive.

Making a file is system calls, finding out which is Python: with a process for each, two cores are
used. Only what order does not matter for goes there; see `beside`.

    pipe to the scribe:   sizes of two parts, marshalled records, the records' data back to back;
                          no records: everything is to be done now, and said
    pipe from it:         a byte for that, or the pickle of what failed; then it ends

The scribe is a fork, made in a process that may have threads: it calls nothing that waits for one.
"""

from __future__ import annotations

import marshal
import os
import pickle
import signal
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, Final, NoReturn

from naru.kernel.syscalls import libc
from naru.kernel.workers_main import sendable
from naru.store.apart import pipe

_HEAD: Final = struct.Struct("=II")
_DONE: Final = b"\0"  # no pickle begins so
_BATCH: Final = 256 << 10  # bytes of data
_RECORDS: Final = 256
_PR_SET_PDEATHSIG: Final = 1

Record = tuple[Any, ...]
"""What marshal can hold; the last item is the size of the data that belongs to it."""


class Scribe:
    """`write(record, data)` is called for each of them, in order, in the other process."""

    def __init__(self, write: Callable[[Record, memoryview], None]) -> None:
        self._records: list[Record] = []
        self._data: list[memoryview] = []
        self._size = 0
        read_end, to_scribe = pipe()
        from_scribe, write_end = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            os.close(to_scribe)
            os.close(from_scribe)
            _serve(parent, read_end, write_end, write)
        os.close(read_end)
        os.close(write_end)
        self._out: BinaryIO = open(to_scribe, "wb", buffering=0)  # noqa: SIM115
        self._answers: BinaryIO = open(from_scribe, "rb")  # noqa: SIM115

    def give(self, record: Record, data: memoryview) -> None:
        """An error of it may be raised by any later call."""
        self._records.append(record)
        self._data.append(data)
        self._size += len(data)
        if self._size >= _BATCH or len(self._records) >= _RECORDS:
            self._send()

    def settle(self) -> None:
        """Wait until all is written; raises what failed."""
        if self._records:
            self._send()
        self._write(_HEAD.pack(0, 0))
        if (answer := self._answers.read(1)) != _DONE:
            self._failed(answer)

    def close(self) -> None:
        """End it, whatever it is at. Idempotent."""
        if self._pid:
            self._out.close()
            self._answers.close()
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _send(self) -> None:
        records = marshal.dumps(self._records)
        self._write(b"".join((_HEAD.pack(len(records), self._size), records, *self._data)))
        self._records, self._data, self._size = [], [], 0

    def _write(self, message: bytes) -> None:
        view = memoryview(message)
        try:
            while view:
                view = view[self._out.write(view) :]
        except BrokenPipeError:
            self._failed()

    def _failed(self, begun: bytes = b"") -> NoReturn:
        told = begun + self._answers.read()
        raise pickle.loads(told) if told else OSError("the process that writes files has ended")


def _serve(
    parent: int, source: int, answers: int, write: Callable[[Record, memoryview], None]
) -> NoReturn:
    status = 1
    try:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            _work(source, answers, write)
            status = 0
    finally:
        os._exit(status)


def _work(source: int, answers: int, write: Callable[[Record, memoryview], None]) -> None:
    try:
        with open(source, "rb", buffering=_BATCH) as messages:
            while len(head := messages.read(_HEAD.size)) == _HEAD.size:
                marshalled, size = _HEAD.unpack(head)
                if not marshalled:
                    os.write(answers, _DONE)
                    continue
                records = marshal.loads(messages.read(marshalled))
                data, at = memoryview(messages.read(size)), 0
                for record in records:
                    write(record, data[at : at + record[-1]])
                    at += record[-1]
    except BaseException as error:
        os.write(answers, pickle.dumps(sendable(error)))
