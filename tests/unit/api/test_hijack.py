"""Hijacking: every way in which docker's clients take a connection over."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable

import pytest
from tests.harness.edge import Client, Edge

from naru.api.messages import HIJACKED, Answer, Hijacked, Request

UPGRADE = (
    b"POST /v1.50/containers/x/attach?stream=1 HTTP/1.1\r\nHost: docker\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
)
PLAIN = b"POST /containers/x/attach HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n"
NO_LENGTH = b"POST /containers/x/attach HTTP/1.1\r\nHost: docker\r\n\r\n"
OLD = b"POST /containers/x/attach HTTP/1.0\r\n\r\n"

Session = Callable[[Hijacked], Awaitable[None]]


def attach(edge: Edge, session: Session, content_type: str | None = "application/x-raw") -> None:
    async def handler(request: Request) -> Answer:
        conn = await request.hijack(content_type)
        await session(conn)
        return HIJACKED

    edge.route("POST", "/containers/{id}/attach", handler)


async def echo(conn: Hijacked) -> None:
    while data := await conn.read():
        await conn.write(data)
    await conn.write(b"<eof>")


@pytest.mark.parametrize(
    ("request_bytes", "status_line"),
    [
        (UPGRADE, "HTTP/1.1 101 UPGRADED"),
        (PLAIN, "HTTP/1.1 200 OK"),
        (NO_LENGTH, "HTTP/1.1 200 OK"),
        (OLD, "HTTP/1.1 200 OK"),
    ],
)
@pytest.mark.parametrize("split", ["together", "apart", "bytewise"])
async def test_bytes_right_behind_the_request_reach_the_handler(
    edge: Edge, request_bytes: bytes, status_line: str, split: str
) -> None:
    attach(edge, echo)
    client = await edge.connect()
    early = b"GET / HTTP/1.1\r\n\r\nlooks like HTTP \x00\xff"
    if split == "together":
        await client.send(request_bytes + early)
    elif split == "apart":
        await client.send(request_bytes)
        await client.send(early)
    else:
        for byte in request_bytes + early:
            await client.send(bytes([byte]))
    client.half_close()
    status, headers = await client.head()
    assert status == status_line
    assert headers["content-type"] == "application/x-raw"
    assert headers.get("upgrade") == ("tcp" if request_bytes is UPGRADE else None)
    assert "transfer-encoding" not in headers
    assert "content-length" not in headers
    assert await client.rest() == early + b"<eof>"


async def test_bytes_before_the_answer_reach_the_handler_too(edge: Edge) -> None:
    reached = asyncio.Event()
    go_on = asyncio.Event()

    async def handler(request: Request) -> Answer:
        reached.set()
        await go_on.wait()
        conn = await request.hijack()
        await echo(conn)
        return HIJACKED

    edge.route("POST", "/containers/{id}/attach", handler)
    client = await edge.connect()
    await client.send(UPGRADE)
    await reached.wait()
    await client.send(b"typed ahead, ")
    await client.send(b"twice")
    client.half_close()
    go_on.set()
    await client.head()
    assert await client.rest() == b"typed ahead, twice<eof>"


async def test_more_typed_ahead_than_is_kept_is_not_lost(edge: Edge) -> None:
    go_on = asyncio.Event()
    reached = asyncio.Event()

    async def handler(request: Request) -> Answer:
        reached.set()
        await go_on.wait()
        conn = await request.hijack()
        size = 0
        while data := await conn.read():
            size += len(data)
        await conn.write(str(size).encode())
        return HIJACKED

    edge.route("POST", "/containers/{id}/attach", handler)
    client = await edge.connect()
    sending = asyncio.create_task(client.send(PLAIN + bytes(4 << 20)))
    await reached.wait()
    await asyncio.sleep(0)
    assert not sending.done()  # the client waits: the edge does not collect it all
    go_on.set()
    await sending
    client.half_close()
    await client.head()
    assert await client.rest() == str(4 << 20).encode()


async def test_half_close_of_the_client_does_not_end_the_output(edge: Edge) -> None:
    seen_eof = asyncio.Event()
    go_on = asyncio.Event()

    async def session(conn: Hijacked) -> None:
        assert await conn.read() == b""
        seen_eof.set()
        await go_on.wait()
        for _ in range(100):
            await conn.write(b"output\n")

    attach(edge, session)
    client = await edge.connect()
    await client.send(UPGRADE)
    client.half_close()
    await seen_eof.wait()
    go_on.set()
    await client.head()
    assert await client.rest() == b"output\n" * 100


async def test_half_close_of_the_server_leaves_the_input_open(edge: Edge) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def session(conn: Hijacked) -> None:
        await conn.write(b"all there is")
        conn.write_eof()
        conn.write_eof()
        pieces = []
        while data := await conn.read():
            pieces.append(data)
        got.set_result(b"".join(pieces))

    attach(edge, session)
    client = await edge.connect()
    await client.send(UPGRADE)
    await client.head()
    assert await client.rest() == b"all there is"
    await client.send(b"still listening?")
    await client.close()
    assert await got == b"still listening?"


async def test_exec_start_has_a_json_body_and_then_raw_bytes(edge: Edge) -> None:
    bodies: list[dict[str, bool]] = []

    async def handler(request: Request) -> Answer:
        bodies.append(await request.json(dict[str, bool]))
        await echo(await request.hijack("application/vnd.docker.multiplexed-stream"))
        return HIJACKED

    edge.route("POST", "/exec/{id}/start", handler)
    body = b'{"Detach": false, "Tty": true}'
    for framing in (
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    ):
        client = await edge.connect()
        await client.send(
            b"POST /v1.41/exec/e/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n" + framing + b"raw \r\n\x00"
        )
        client.half_close()
        status, headers = await client.head()
        assert status == "HTTP/1.1 101 UPGRADED"
        assert headers["content-type"] == "application/vnd.docker.multiplexed-stream"
        assert await client.rest() == b"raw \r\n\x00<eof>"
    assert bodies == [{"Detach": False, "Tty": True}] * 2


async def test_an_unread_body_is_not_taken_for_raw_bytes(edge: Edge) -> None:
    attach(edge, echo)
    client = await edge.connect()
    await client.send(UPGRADE.replace(b"Content-Length: 0", b"Content-Length: 4") + b"bodyraw")
    client.half_close()
    await client.head()
    assert await client.rest() == b"raw<eof>"


async def test_twenty_megabytes_each_way_at_once(edge: Edge) -> None:
    attach(edge, echo)
    client = await edge.connect()
    await client.send(UPGRADE)
    await client.head()
    data = os.urandom(20 << 20)

    async def send() -> None:
        for start in range(0, len(data), 1 << 16):
            await client.send(data[start : start + (1 << 16)])
        client.half_close()

    sending = asyncio.create_task(send())
    back = await client.rest()
    await sending
    assert len(back) == len(data) + 5
    assert hashlib.sha256(back[:-5]).digest() == hashlib.sha256(data).digest()


async def test_writing_waits_for_a_slow_client(edge: Edge) -> None:
    written = 0
    finished = asyncio.Event()

    async def session(conn: Hijacked) -> None:
        nonlocal written
        for _ in range(320):
            await conn.write(bytes(65536))
            written += 65536
        finished.set()

    attach(edge, session)
    client = await edge.connect()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.send(UPGRADE)
    before = -1
    while written != before:  # until it no longer advances
        before = written
        await asyncio.sleep(0.05)
    assert written < 4 << 20
    assert not finished.is_set()
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await client.head()
    assert len(await client.rest()) == 320 * 65536


async def test_reading_is_paced_by_the_handler(edge: Edge) -> None:
    go_on = asyncio.Event()
    total = 0

    async def session(conn: Hijacked) -> None:
        nonlocal total
        await go_on.wait()
        while data := await conn.read(1000):
            assert len(data) <= 1000
            total += len(data)

    attach(edge, session)
    client = await edge.connect()
    await client.send(UPGRADE)
    await client.head()
    sending = asyncio.create_task(client.send(bytes(8 << 20)))
    _, pending = await asyncio.wait({sending}, timeout=0.2)
    assert pending
    go_on.set()
    await sending
    client.half_close()
    await client.rest()
    assert total == 8 << 20


@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_client_that_leaves_is_noticed_without_reading(
    edge: Edge, half_closed: bool
) -> None:
    begun = asyncio.Event()
    gone = asyncio.Event()

    async def session(conn: Hijacked) -> None:
        if half_closed:
            assert await conn.read() == b""
        begun.set()
        await conn.wait_closed()
        gone.set()

    attach(edge, session)
    client = await edge.connect()
    await client.send(UPGRADE)
    await client.head()
    if half_closed:
        client.half_close()
    await begun.wait()
    await asyncio.sleep(0.02)
    assert not gone.is_set()  # a half-close alone is not leaving
    await client.close()
    await gone.wait()


async def test_writing_to_a_client_that_left_raises(edge: Edge) -> None:
    raised: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def session(conn: Hijacked) -> None:
        await conn.wait_closed()
        try:
            while True:
                await conn.write(bytes(65536))
                await asyncio.sleep(0)
        except ConnectionError as error:
            raised.set_result(error)
            raise

    attach(edge, session)
    client = await edge.connect()
    await client.send(UPGRADE)
    await client.head()
    await client.close()
    assert isinstance(await raised, ConnectionError)


async def test_a_reset_wakes_a_reader_and_a_writer(edge: Edge) -> None:
    ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def session(conn: Hijacked) -> None:
        ended.set_result(await conn.read())

    attach(edge, session)
    client = await edge.connect()
    await client.send(UPGRADE)
    await client.head()
    client.writer.transport.abort()
    assert await ended == b""


async def test_a_handler_that_fails_before_the_hijack_answers_as_http(edge: Edge) -> None:
    async def handler(request: Request) -> Answer:
        raise RuntimeError("bug")

    edge.route("POST", "/containers/{id}/attach", handler)
    client = await edge.connect()
    await client.send(UPGRADE)
    status, headers, body = await client.answer()
    assert status == 500
    assert headers["content-type"] == "application/json"
    assert b"bug" in body


async def test_a_handler_that_fails_after_the_hijack_closes(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    async def session(conn: Hijacked) -> None:
        await conn.write(b"some")
        raise RuntimeError("bug")

    attach(edge, session)
    client = await edge.connect()
    await client.send(UPGRADE)
    await client.head()
    assert await client.rest() == b"some"
    assert "bug" in caplog.text


async def test_a_server_that_closes_is_no_end_of_the_clients_input(edge: Edge) -> None:
    begun = asyncio.Event()
    seen: list[object] = []

    async def session(conn: Hijacked) -> None:
        await conn.write(b"sent before")
        begun.set()
        try:
            seen.append(await conn.read())
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    attach(edge, session)
    client = await edge.connect()
    await client.send(UPGRADE)
    await begun.wait()
    await edge.server.close(grace=5)
    assert seen == ["cancelled"]
    assert (await client.rest()).endswith(b"sent before")


async def test_an_h2c_upgrade_names_its_protocol(edge: Edge) -> None:
    attach(edge, echo, content_type=None)
    client = await edge.connect()
    await client.send(UPGRADE.replace(b"Upgrade: tcp", b"Upgrade: h2c") + b"PRI * HTTP/2.0\r\n\r\n")
    client.half_close()
    status, headers = await client.head()
    assert status.startswith("HTTP/1.1 101 ")
    assert headers["upgrade"] == "h2c"
    assert headers["connection"].lower() == "upgrade"
    assert await client.rest() == b"PRI * HTTP/2.0\r\n\r\n<eof>"


async def test_a_handler_may_add_headers_to_the_answer(edge: Edge) -> None:
    async def handler(request: Request) -> Answer:
        await request.hijack(headers={"Sec-WebSocket-Accept": "key"})
        return HIJACKED

    edge.route("GET", "/containers/{id}/attach/ws", handler)
    client = await edge.connect()
    await client.send(
        b"GET /containers/x/attach/ws HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
    )
    status, headers = await client.head()
    assert status.startswith("HTTP/1.1 101 ")
    assert headers["upgrade"] == "websocket"
    assert headers["sec-websocket-accept"] == "key"
    assert await client.rest() == b""


async def test_a_hijack_on_a_connection_that_was_used_before(edge: Edge) -> None:
    attach(edge, echo)
    client: Client = await edge.connect()
    await client.send(b"GET /nothing HTTP/1.1\r\nHost: d\r\n\r\n" + UPGRADE + b"x")
    assert (await client.answer())[0] == 404
    client.half_close()
    await client.head()
    assert await client.rest() == b"x<eof>"


async def test_hijack_over_tcp(edge: Edge) -> None:
    attach(edge, echo)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await edge.server.listen(sock)
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    await client.send(UPGRADE + b"over tcp")
    client.half_close()
    await client.head()
    assert await client.rest() == b"over tcp<eof>"
