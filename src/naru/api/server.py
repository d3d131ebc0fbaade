"""The API's HTTP edge: accepts connections on given sockets and answers from a route table.

Sockets come from `daemon/listeners`; what is answered from the routes. TLS is our own layer
(`api/tls`), because asyncio's has no half-close and a docker client half-closes at once when it
has no stdin to send.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from naru.api.connection import Connection
from naru.api.dispatch import Dispatcher
from naru.api.router import RouteTable
from naru.api.tls import TlsLayer


class Server:
    def __init__(self, *, router: RouteTable) -> None:
        self._dispatch = Dispatcher(router=router)
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._changed = asyncio.Event()

    async def listen(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a bound socket, which the server then owns."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            connection = self._connection()
            return connection if tls is None else TlsLayer(connection, context=tls)

        if sock.family == socket.AF_UNIX:
            server = await loop.create_unix_server(protocol, sock=sock, backlog=1024)
        else:
            server = await loop.create_server(protocol, sock=sock, backlog=1024)
        self._servers.append(server)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def stop_accepting(self) -> None:
        for server in self._servers:
            server.close()

    async def close(self, *, grace: float) -> None:
        """Stop accepting, let requests finish for `grace` seconds, then cut what is left."""
        self.stop_accepting()
        for connection in list(self._connections):
            connection.finish()
        try:
            async with asyncio.timeout(grace):
                while self._connections:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            tasks = [c.task for c in self._connections if c.task is not None]
            for connection in list(self._connections):
                connection.abort()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _connection(self) -> Connection:
        return Connection(
            dispatch=self._dispatch,
            headers=self._dispatch.headers,
            opened=self._connections.add,
            closed=self._gone,
        )

    def _gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._changed.set()
