"""The edge on uvloop, whose transports are not asyncio's: the delicate parts once more."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from tests.harness.edge import Edge

from naru.api.messages import HIJACKED, Answer, Hijacked, Request
from naru.api.router import RouteTable
from naru.api.server import Server

uvloop = pytest.importorskip("uvloop")


async def conversation(path: Path) -> bytes:
    left = asyncio.Event()

    async def echo(conn: Hijacked) -> None:
        while data := await conn.read():
            await conn.write(data)
        await conn.write(b"<eof>")
        await conn.wait_closed()
        left.set()

    async def attach(request: Request) -> Answer:
        await echo(await request.hijack())
        return HIJACKED

    edge = Edge(path, RouteTable(), server := Server(router=(router := RouteTable())))
    router.add("POST", "/attach", attach)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    await server.listen(sock)
    client = await edge.connect()
    data = bytes(8 << 20)
    await client.send(
        b"POST /attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly"
    )
    await client.head()

    async def send() -> None:
        await client.send(data)
        client.half_close()

    sending = asyncio.create_task(send())
    got = await client.reader.readexactly(len(data) + len(b"early<eof>"))
    await sending
    await client.close()
    await left.wait()
    await server.close(grace=5)
    return got.replace(data, b"...")


async def test_a_hijacked_conversation(tmp_path: Path) -> None:
    def run() -> bytes:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(asyncio.wait_for(conversation(tmp_path / "n.sock"), 60))

    assert await asyncio.to_thread(run) == b"early...<eof>"
