"""The embedded DNS server of one container: names of its networks, the rest forwarded.

It listens inside the container's namespace, on sockets that were opened there, and asks the
host's name servers from outside. 127.0.0.11:53 leads to it by a rule of the namespace, so that the
container may run a name server on port 53 itself; where there can be no rule it is at port 53.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from naru.network import dns
from naru.network.dns_redirect import redirect
from naru.network.files import RESOLVER
from naru.network.namespaces import Namespace, inside

_log = logging.getLogger(__name__)

_PATIENCE = 4.0  # seconds for one name server's answer; resolvers inside wait five
_AT_ONCE = 256


class Names(Protocol):
    """What a container may learn of the containers around it."""

    def addresses(self, name: str) -> Sequence[IPv4Address | IPv6Address] | None:
        """All addresses of a name; None when it is nobody's here."""

    def name_of(self, address: IPv4Address | IPv6Address) -> str | None: ...


class Resolver:
    """`start` once; `close` when the container leaves its last network."""

    def __init__(self, *, names: Names, servers: Callable[[], Sequence[str]]) -> None:
        self._names = names
        self._servers = servers
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._work: set[asyncio.Task[None]] = set()
        self._datagrams: asyncio.DatagramTransport | None = None
        self._streams: asyncio.Server | None = None

    async def start(self, namespace: Namespace) -> None:
        """Serve in `namespace`; `OSError` when it cannot be done there."""
        loop = asyncio.get_running_loop()
        datagram, stream = _bound(namespace)
        try:
            udp, tcp = datagram.getsockname()[1], stream.getsockname()[1]
            if not await asyncio.to_thread(redirect, namespace, udp=udp, tcp=tcp):
                datagram.close()
                stream.close()
                datagram, stream = await asyncio.to_thread(_at_port_53, namespace)
            stream.listen(16)
            datagram.setblocking(False)
            stream.setblocking(False)
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._serve_datagram), sock=datagram
            )
            self._streams = await asyncio.start_server(self._serve_stream, sock=stream)
        except BaseException:
            datagram.close()
            stream.close()
            self.close()
            raise

    def close(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        if self._streams is not None:
            self._streams.close()
        for task in self._work:
            task.cancel()

    def _serve_datagram(self, query: bytes, sender: tuple[str, int]) -> None:
        if self._slots.locked():
            return  # a flood: the client asks again
        task = asyncio.get_running_loop().create_task(self._answer_datagram(query, sender))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answer_datagram(self, query: bytes, sender: tuple[str, int]) -> None:
        async with self._slots:
            reply = self.answer(query) or await self._forwarded(query, _ask_datagram)
        if reply is not None and self._datagrams is not None:
            self._datagrams.sendto(reply, sender)

    async def _serve_stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                async with asyncio.timeout(_PATIENCE * 2):
                    (length,) = struct.unpack(">H", await reader.readexactly(2))
                    query = await reader.readexactly(length)
                reply = self.answer(query) or await self._forwarded(query, _ask_stream)
                if reply is None:
                    return
                writer.write(struct.pack(">H", len(reply)) + reply)
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            writer.close()

    def answer(self, query: bytes) -> bytes | None:
        """The answer to what is known here; None for what must be forwarded."""
        asked = dns.question(query)
        if asked is None:
            return None
        if asked.kind in (dns.A, dns.AAAA):
            found = self._names.addresses(asked.name)
            if found is not None:
                return dns.addresses(asked, found)
        elif asked.kind == dns.PTR:
            address = dns.reversed_address(asked.name)
            name = self._names.name_of(address) if address is not None else None
            if name is not None:
                return dns.pointer(asked, name)
        return None

    async def _forwarded(self, query: bytes, ask: _Ask) -> bytes | None:
        for server in self._servers():
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await ask(server, query)
            except (OSError, EOFError, TimeoutError) as error:
                _log.debug("name server %s: %s", server, error or "no answer")
        asked = dns.question(query)
        return dns.failure(asked, dns.SERVER_FAILURE) if asked is not None else None


def _bound(namespace: Namespace) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP at any free ports, the namespace's sockets, which it closes on its own."""
    datagram, stream = namespace.datagram.dup(), namespace.stream.dup()
    try:
        for unbound in (datagram, stream):
            if unbound.getsockname()[1] == 0:  # else by a resolver that was closed since
                unbound.bind((RESOLVER, 0))
    except BaseException:
        datagram.close()
        stream.close()
        raise
    return datagram, stream


def _at_port_53(namespace: Namespace) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP, opened inside the namespace: those it came with are bound elsewhere."""

    def opened() -> tuple[socket.socket, socket.socket]:
        with ExitStack() as undo:
            datagram = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            stream = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of the last daemon
            for unbound in (datagram, stream):
                unbound.bind((RESOLVER, 53))
            undo.pop_all()
        return datagram, stream

    return inside(namespace.fd, opened)


class _Ask(Protocol):
    async def __call__(self, server: str, query: bytes) -> bytes: ...


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received(data, addr)


class _Reply(asyncio.DatagramProtocol):
    """The one datagram with the query's number that comes back."""

    def __init__(self, number: bytes) -> None:
        self._number = number
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:2] == self._number and not self.reply.done():
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reply.done():
            self.reply.cancel()


async def _ask_datagram(server: str, query: bytes) -> bytes:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Reply(query[:2]), remote_addr=(server, 53)
    )
    try:
        transport.sendto(query)
        return await protocol.reply
    finally:
        transport.close()


async def _ask_stream(server: str, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53)
    try:
        writer.write(struct.pack(">H", len(query)) + query)
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()
