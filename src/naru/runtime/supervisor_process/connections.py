"""The daemons' connections."""

from __future__ import annotations

import _socket as socket
import json
import os
import select

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .wire import Json

_SEND_BUFFER = 4 << 20
_SO_SNDBUFFORCE = 32


class Connections:
    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self.clients: dict[int, socket.socket] = {}  # by descriptor

    def welcome(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            client.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        except PermissionError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.clients[client.fileno()] = client
        self._epoll.register(client.fileno(), select.EPOLLIN)

    def receive(self, client: socket.socket) -> tuple[Json | None, list[int]]:
        """A request and its descriptors. None: there is none yet, or no more."""
        try:
            data, fds = wire.receive(client)
        except BlockingIOError:
            return None, []
        try:
            return json.loads(data), fds  # b"", the end of the connection, is no JSON either
        except ValueError:
            for fd in fds:
                os.close(fd)
            self.drop(client)
            return None, []

    def send(self, client: socket.socket, message: Json, fds: Sequence[int] = ()) -> None:
        """A daemon that does not read is cut off: it reconnects and finds all in the files."""
        try:
            client.sendmsg([json.dumps(message).encode()], wire.rights(fds))
        except OSError:
            self.drop(client)

    def tell_all(self, message: Json) -> None:
        for client in list(self.clients.values()):
            self.send(client, message)

    def drop(self, client: socket.socket) -> None:
        if self.clients.pop(client.fileno(), None) is not None:
            self._epoll.unregister(client.fileno())
            client.close()
