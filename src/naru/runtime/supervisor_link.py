"""One connection to the supervisor: requests, replies with descriptors, exits it announces."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from naru.runtime.supervisor_process import wire
from naru.spec.errors import InternalError

_READS_AT_ONCE = 64


class LinkLost(InternalError):
    """The supervisor went away while a request was under way."""


class Reply(NamedTuple):
    body: dict[str, Any]
    fds: list[int]  # the receiver's


class Link:
    def __init__(
        self,
        connection: socket.socket,
        *,
        on_exit: Callable[[dict[str, Any]], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._socket = connection
        self._on_exit = on_exit
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._loop.add_reader(connection.fileno(), self._readable)

    @classmethod
    def open(
        cls,
        exec_root: Path,
        *,
        on_exit: Callable[[dict[str, Any]], None],
        on_lost: Callable[[], None],
    ) -> Link:
        """Connect, or raise `FileNotFoundError` or `ConnectionRefusedError`: none runs."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        # The address of a Unix socket is at most 107 bytes long, an exec root may be longer.
        directory = os.open(exec_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{directory}/supervisor.sock")
        except BaseException:
            connection.close()
            raise
        finally:
            os.close(directory)
        connection.setblocking(False)
        return cls(connection, on_exit=on_exit, on_lost=on_lost)

    async def request(self, op: str, passed: Sequence[int] = (), /, **arguments: Any) -> Reply:
        """Send one request, with copies of the descriptors `passed`; `LinkLost` when it dies."""
        number = next(self._ids)
        message = msgspec.json.encode({"id": number, "op": op, **arguments})
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            await self._send(message, passed)
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def _send(self, message: bytes, passed: Sequence[int]) -> None:
        while True:
            try:
                self._socket.sendmsg([message], wire.rights(passed))
                return
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                self._lose()
                raise LinkLost("the supervisor went away") from error

    async def _writable(self) -> None:
        # Several senders may wait at once, a loop has one writer callback per descriptor: each
        # waits on a descriptor of its own.
        copy = os.dup(self._socket.fileno())
        event = asyncio.Event()
        self._loop.add_writer(copy, event.set)
        try:
            await event.wait()
        finally:
            self._loop.remove_writer(copy)
            os.close(copy)

    def _readable(self) -> None:
        for _ in range(_READS_AT_ONCE):
            try:
                data, fds = wire.receive(self._socket)
            except BlockingIOError:
                return
            if not data:
                self._lose()
                return
            self._dispatch(msgspec.json.decode(data, type=dict[str, Any]), fds)
            if self._socket.fileno() < 0:
                return

    def _dispatch(self, message: dict[str, Any], fds: list[int]) -> None:
        if "exit" in message:
            self._on_exit(message["exit"])
            return
        answer = self._waiting.pop(message["id"], None)
        if answer is not None and not answer.done():
            answer.set_result(Reply(message, fds))
        else:
            for fd in fds:  # whoever asked has given up
                os.close(fd)

    def _lose(self) -> None:
        if self._socket.fileno() < 0:
            return
        self.close()
        self._on_lost()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LinkLost("the supervisor went away"))
                answer.exception()  # its request may fail on the way out, and never look
        self._waiting.clear()
