"""A server on a Unix socket in a temporary directory, with whatever routes a test gives it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop
from tests.harness.edge import Edge

from naru.api.router import RouteTable
from naru.api.server import Server

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Streams that leave the loop meet its transports: those are tried on uvloop too."""
    loops: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem == "test_straight":
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    router = RouteTable()
    server = Server(router=router)
    path = tmp_path / "edge.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    await server.listen(sock)
    async with asyncio.timeout(60):
        edge = Edge(path, router, server)
        yield edge
    for client in edge.clients:
        if not client.closed:  # asyncio's transport has let go of its loop by then
            client.writer.transport.abort()
    await server.close(grace=0.1)
