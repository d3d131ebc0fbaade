"""Long streams past the event loop: bodies that a thread reads, answers that come from a pipe.

Each test runs on the standard library's loop and on the one that narud prefers (see conftest).
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.edge import Edge

from naru.api.messages import Answer, Handler, Request, Response, Stream
from naru.api.straight import SocketBody
from naru.engine.pipes import BrokenStream, Inbound, Straight, outbound
from naru.kernel.pipes import Piped

ASK = b"GET /again HTTP/1.1\r\nHost: docker\r\n\r\n"
BIG = os.urandom(1 << 20) * 3


def put(body: bytes, *, chunk: int = 0, extra: str = "") -> bytes:
    """A request with that body, in chunks of a size or by its length."""
    framing = "Transfer-Encoding: chunked" if chunk else f"Content-Length: {len(body)}"
    head = f"PUT /body HTTP/1.1\r\nHost: docker\r\n{framing}\r\n{extra}\r\n".encode()
    return head + (chunked(body, chunk) if chunk else body)


def chunked(body: bytes, size: int, *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in parts)
    return framed + b"0\r\n" + trailers + b"\r\n"


def reading(work: Callable[[BinaryIO], bytes]) -> Handler:
    """A handler that answers with what `work` makes of the body, which must go straight."""

    async def handle(request: Request) -> Answer:
        stream = request.stream()
        assert isinstance(stream, Straight)
        try:
            return Response(await Inbound(stream).run(work), content_type="text/plain")
        except BrokenStream as error:
            return Response(str(error).encode(), status=400, content_type="text/plain")

    return handle


async def again(request: Request) -> Answer:
    return Response(b"again")


def everything(source: BinaryIO) -> bytes:
    return source.read()


@pytest.mark.parametrize("chunk", [0, 1000, 70_000])
async def test_a_thread_reads_a_body_and_the_connection_goes_on(edge: Edge, chunk: int) -> None:
    threads: list[threading.Thread] = []

    def work(source: BinaryIO) -> bytes:
        threads.append(threading.current_thread())
        return b"".join(iter(lambda: source.read(77_777), b""))

    edge.route("PUT", "/body", reading(work))
    edge.route("GET", "/again", again)
    client = await edge.connect()
    # Behind the body comes the next request at once, and one more after the answers.
    sending = asyncio.create_task(client.send(put(BIG, chunk=chunk) + ASK))
    assert (await client.answer())[2] == BIG
    await sending
    assert (await client.answer())[2] == b"again"
    await client.send(put(b"short", chunk=chunk) + ASK)
    assert [(await client.answer())[2] for _ in range(2)] == [b"short", b"again"]
    assert threading.main_thread() not in threads


async def test_a_client_that_waits_to_be_asked_is_asked(edge: Edge) -> None:
    edge.route("PUT", "/body", reading(everything))
    client = await edge.connect()
    await client.send(
        put(b"", chunk=1, extra="Expect: 100-continue\r\n").removesuffix(b"0\r\n\r\n")
    )
    assert (await client.head())[0] == "HTTP/1.1 100 Continue"
    await client.send(chunked(b"now", 2))
    assert (await client.answer())[2] == b"now"


async def test_what_a_handler_leaves_is_no_request(edge: Edge) -> None:
    edge.route("PUT", "/body", reading(lambda source: source.read(4)))
    edge.route("GET", "/again", again)
    client = await edge.connect()
    await client.send(put(b"tar and its padding", chunk=7) + ASK)
    assert [(await client.answer())[2] for _ in range(2)] == [b"tar ", b"again"]
    # Much more than is worth reading: an answer, and the end.
    sending = asyncio.create_task(client.send(put(BIG) + ASK))
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (200, "close", BIG[:4])
    sending.cancel()
    await asyncio.wait([sending])
    assert await client.rest() == b""


async def test_a_body_nobody_asks_for_costs_no_memory_and_no_later_request(edge: Edge) -> None:
    edge.route("GET", "/again", again)
    client = await edge.connect()
    await client.send(put(b"of no use") + ASK)
    assert [(await client.answer())[0] for _ in range(2)] == [404, 200]


async def test_a_client_that_leaves_is_told_to_the_thread(edge: Edge) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def work(source: BinaryIO) -> bytes:
        try:
            return source.read()
        except BrokenStream as error:
            loop.call_soon_threadsafe(told.put_nowait, str(error))
            raise

    edge.route("PUT", "/body", reading(work))
    for body in (put(BIG)[:-1], put(b"1234", chunk=4)[:-3]):
        client = await edge.connect()
        await client.send(body)
        await client.close()
        assert await told.get() == "unexpected EOF: the client closed the connection"


@pytest.mark.parametrize(
    "body",
    [b"x\r\nabc\r\n", b"-1\r\n", b"3\r\nabcd\r\n", b"\r\n", b"0x3\r\nabc\r\n", b"1" * 5000],
)
async def test_what_is_no_chunk_is_refused(edge: Edge, body: bytes) -> None:
    edge.route("PUT", "/body", reading(everything))
    client = await edge.connect()
    await client.send(put(b"", chunk=1).removesuffix(b"0\r\n\r\n") + body)
    status, headers, text = await client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert text.startswith(b"malformed request body: ")


async def test_a_cancelled_request_ends_its_thread(edge: Edge) -> None:
    begun, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(source: BinaryIO) -> bytes:
        source.read(1)
        loop.call_soon_threadsafe(begun.set)
        try:
            return source.read()
        finally:
            ended.set()

    edge.route("PUT", "/body", reading(work))
    client = await edge.connect()
    await client.send(put(BIG)[:200])
    await begun.wait()
    await edge.server.close(grace=0)
    assert ended.is_set()


@given(
    body=st.binary(max_size=300),
    size=st.integers(1, 40),
    cut=st.integers(0, 400),
    wanted=st.integers(1, 50),
    extension=st.sampled_from([b"", b";a=b", b" "]),
    trailers=st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]),
)
def test_any_framing_gives_the_same_bytes(
    body: bytes, size: int, cut: int, wanted: int, extension: bytes, trailers: bytes
) -> None:
    """`cut` is how much of it had come with the headers."""
    behind = b"GET"
    by_chunks = chunked(body, size, extension=extension, trailers=trailers)
    for framed, length in ((by_chunks, None), (body, len(body))):
        after: list[bytes | None] = []
        ours, theirs = socket.socketpair()
        with ours:
            sent = framed + behind
            ours.sendall(sent[cut:])
            with closing(SocketBody(theirs, sent[:cut], length, after.append)) as source:
                assert b"".join(iter(lambda: source.read(wanted), b"")) == body
            assert after[0] is not None
            assert behind.startswith(after[0])  # the rest is still in the socket


def sending(work: Callable[[BinaryIO], object]) -> Handler:
    async def handle(request: Request) -> Answer:
        return Stream(outbound(work), content_type="text/plain")

    return handle


async def test_what_a_thread_writes_goes_out_in_chunks(edge: Edge) -> None:
    edge.route("GET", "/long", sending(lambda out: [out.write(BIG[:n]) for n in (1, 70_000, 0)]))
    edge.route("GET", "/again", again)
    client = await edge.connect()
    await client.send(b"GET /long HTTP/1.1\r\nHost: docker\r\n\r\n" + ASK)
    status, headers, body = await client.answer()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert body == BIG[:1] + BIG[:70_000]
    assert (await client.answer())[2] == b"again"


async def test_old_clients_and_head_requests_get_it_by_the_loop(edge: Edge) -> None:
    for method in ("GET", "HEAD"):
        edge.route(method, "/long", sending(lambda out: out.write(BIG)))
    client = await edge.connect()
    await client.send(b"HEAD /long HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
    assert (await client.rest()).endswith(b"\r\n\r\n")
    client = await edge.connect()
    await client.send(b"GET /long HTTP/1.0\r\nHost: docker\r\n\r\n")
    assert (await client.rest()).partition(b"\r\n\r\n")[2] == BIG


async def test_a_slow_client_is_waited_for_and_one_that_left_is_not(edge: Edge) -> None:
    written: list[int] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(out: BinaryIO) -> None:
        try:
            while True:
                written.append(out.write(bytes(1 << 18)))
        finally:
            loop.call_soon_threadsafe(ended.set)

    edge.route("GET", "/long", sending(work))
    client = await edge.connect()
    await client.send(b"GET /long HTTP/1.1\r\nHost: docker\r\n\r\n")
    await client.head()
    for read in range(1, 9):
        await client.reader.readexactly(1 << 20)
        # Ahead of it are the pipe, the socket, and what the test's own reader holds.
        assert sum(written) < (read + 4) << 20
    await client.close()
    await ended.wait()


async def test_clients_that_stand_still_leave_the_shared_threads_alone(edge: Edge) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    async def handle(request: Request) -> Answer:
        return Response(await asyncio.to_thread(lambda: b"again"))

    edge.route("PUT", "/body", reading(everything))
    edge.route("GET", "/long", sending(lambda out: out.write(BIG)))
    edge.route("GET", "/again", handle)
    for said in (put(BIG)[:1000], b"GET /long HTTP/1.1\r\nHost: docker\r\n\r\n"):
        await (await edge.connect()).send(said)
    await edge.clients[-1].head()
    client = await edge.connect()
    await client.send(ASK)
    assert (await client.answer())[2] == b"again"


async def test_a_client_that_leaves_a_silent_stream_is_noticed(edge: Edge) -> None:
    reading_end, writing_end = os.pipe()
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes | Piped]:
        try:
            yield Piped(reading_end)
        finally:
            closed.set()

    async def handle(request: Request) -> Answer:
        return Stream(pieces())

    edge.route("GET", "/long", handle)
    client = await edge.connect()
    await client.send(b"GET /long HTTP/1.1\r\nHost: docker\r\n\r\n")
    await client.head()
    await client.close()
    await closed.wait()
    os.close(reading_end)
    os.close(writing_end)


async def test_a_failure_in_the_middle_is_no_clean_end(edge: Edge) -> None:
    def work(out: BinaryIO) -> None:
        out.write(BIG)
        raise ZeroDivisionError

    edge.route("GET", "/long", sending(work))
    client = await edge.connect()
    await client.send(b"GET /long HTTP/1.1\r\nHost: docker\r\n\r\n")
    raw = await client.rest()
    assert len(raw) > len(BIG)
    assert not raw.endswith(b"0\r\n\r\n")
