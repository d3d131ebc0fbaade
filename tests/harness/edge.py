"""The HTTP edge under test, and a raw client for it that sends exactly what a test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from naru.api.messages import Handler
from naru.api.router import RouteTable
from naru.api.server import Server


@dataclass
class Edge:
    path: Path
    router: RouteTable
    server: Server
    clients: list[Client] = field(default_factory=list)

    def route(self, method: str, pattern: str, handler: Handler) -> None:
        self.router.add(method, pattern, handler)

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        client = Client(reader, writer)
        self.clients.append(client)
        return client


@dataclass
class Client:
    """A raw client: what it sends is exactly what the test says."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closed: bool = False

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[str, dict[str, str]]:
        """(status line, headers) of the next answer."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return lines[0], {name.lower(): value.strip() for name, _, value in pairs}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer with its body, chunked or by length."""
        status, headers = await self.head()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
        elif length := int(headers.get("content-length", "0")):
            body = await self.reader.readexactly(length)
        return int(status.split()[1]), headers, body

    async def rest(self) -> bytes:
        return await self.reader.read(-1)

    def half_close(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()
        self.closed = True
