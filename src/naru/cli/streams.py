"""Carries bytes between the user's stdio and a hijacked connection, signals in between.

One thread, one poll: stdin to the container, its output back, and each signal handled between
two reads, so that no byte waits for a lock.
"""

from __future__ import annotations

import os
import select
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from naru.cli.http import Connection, Response

_HEADER = 8


class DetachKeys:
    """Finds the detach sequence in what the user types, across reads."""

    def __init__(self, text: str) -> None:
        self._keys = parse_detach_keys(text)
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what may pass to the container, whether the sequence is complete)."""
        out = bytearray()
        for byte in data:
            if self._keys and byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(out), True
                continue
            out += self._keys[: self._matched]
            self._matched = 0
            if self._keys and byte == self._keys[0]:
                self._matched = 1
            else:
                out.append(byte)
        return bytes(out), False


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` -> b"\\x10\\x11"; ValueError for a key there is no name for."""
    keys = bytearray()
    for name in text.split(",") if text else []:
        if len(name) == 1:
            keys += name.encode()
        elif name.startswith("ctrl-") and len(name) == 6 and "@" <= name[5].upper() <= "_":
            keys.append(ord(name[5].upper()) - 64)
        else:
            raise ValueError(f"Unknown character: '{name}'")
    return bytes(keys)


class Demultiplexer:
    """Splits the framed stream (stream, 0, 0, 0, length) into writes to fd 1 and 2."""

    def __init__(self, write: Callable[[int, bytes], None]) -> None:
        self._write = write
        self._pending = b""
        self._left = 0
        self._fd = 1

    def feed(self, data: bytes) -> None:
        data = self._pending + data
        self._pending = b""
        at = 0
        while at < len(data):
            if not self._left:
                if len(data) - at < _HEADER:
                    self._pending = data[at:]
                    return
                kind = data[at]
                self._left = int.from_bytes(data[at + 4 : at + 8], "big")
                at += _HEADER
                if kind == 3:
                    from naru.cli.failures import CliError

                    raise CliError(
                        f"error from daemon in stream: {data[at:].decode(errors='replace')}"
                    )
                self._fd = 2 if kind == 2 else 1
                continue
            piece = data[at : at + self._left]
            self._write(self._fd, piece)
            at += len(piece)
            self._left -= len(piece)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])


class Signals:
    """Handlers for the length of a block; an fd wakes the poll, `take` gives the signals."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self._before: dict[int, object] = {}
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def catch(self, *numbers: int) -> None:
        for number in numbers:
            if number not in self._before:
                self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.pending.append(number)

    def fileno(self) -> int:
        return self._reader

    def take(self) -> list[int]:
        try:  # noqa: SIM105 - contextlib costs 2 ms to import
            os.read(self._reader, 4096)
        except BlockingIOError:
            pass  # woken for another reason
        taken, self.pending = self.pending, []
        return taken

    def __enter__(self) -> Signals:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)


def proxied() -> list[int]:
    """What is passed on to a container: all but what the kernel and Go's runtime keep."""
    kept = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGKILL,
            signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGSEGV,
            signal.SIGBUS, signal.SIGFPE, signal.SIGILL}  # fmt: skip
    return [number for number in signal.Signals if number not in kept]


def carry(
    connection: Connection,
    *,
    tty: bool,
    stdin: int | None,
    output: bool = True,
    signals: Signals | None = None,
    on_signal: Callable[[int], None] | None = None,
    detach: DetachKeys | None = None,
    ended: Response | None = None,
) -> bool:
    """Runs until the container's output ends; True when the user detached.

    `ended` is a response whose arrival of a body also ends it when there is no output to wait for.
    """
    demultiplexer = None if tty else Demultiplexer(write_all)
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if signals is not None:
        poll.register(signals, select.POLLIN)
    if stdin is not None:
        poll.register(stdin, select.POLLIN)
    if ended is not None and not output:
        poll.register(ended.connection, select.POLLIN)
    while True:
        if signals is not None and on_signal is not None:
            for number in signals.take():
                on_signal(number)
        ready = [] if connection.pending else poll.poll()
        fds = {fd for fd, _ in ready}
        if connection.pending or connection.fileno() in fds:
            data = connection.read()
            if not data:
                return False
            if demultiplexer is None:
                write_all(1, data)
            else:
                demultiplexer.feed(data)
        elif ended is not None and not output and ended.connection.fileno() in fds:
            return False
        if stdin is not None and stdin in fds:
            data = os.read(stdin, 32768)
            if not data:
                poll.unregister(stdin)
                stdin = None
                connection.close_write()
                continue
            gone = False
            if detach is not None:
                data, gone = detach.feed(data)
            try:
                connection.send(data)
            except (BrokenPipeError, ConnectionResetError):
                poll.unregister(stdin)
                stdin = None
            if gone:
                return True
