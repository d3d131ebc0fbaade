"""The HTTP side of the edge: what it makes of requests, and how it answers."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness.edge import Edge

from naru.api import header_deadline
from naru.api.messages import Answer, Request, Response, Stream
from naru.spec import errors


def get(path: str, extra: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: docker\r\n{extra}\r\n".encode()


async def say_path(request: Request) -> Answer:
    return Response({"path": request.path, "params": dict(request.params)})


async def take_body(request: Request) -> Answer:
    return Response({"size": len(await request.body())})


async def test_every_answer_has_dockers_headers(edge: Edge) -> None:
    edge.route("GET", "/thing", say_path)
    client = await edge.connect()
    for path, status in (("/thing", 200), ("/v1.41/thing", 200), ("/nothing", 404)):
        await client.send(get(path))
        got, headers, _ = await client.answer()
        assert got == status
        assert headers["api-version"] == "1.55"
        assert headers["docker-experimental"] == "false"
        assert headers["ostype"] == "linux"
        assert headers["server"].startswith("Naru/")
        assert headers["content-type"] == "application/json"
        assert headers["date"].endswith(" GMT")


async def test_header_names_are_sent_in_their_usual_case(edge: Edge) -> None:
    edge.route("GET", "/thing", say_path)
    client = await edge.connect()
    await client.send(get("/thing", "Connection: close\r\n"))
    raw = await client.rest()
    for name in (b"Api-Version:", b"Docker-Experimental:", b"Ostype:", b"Content-Type:", b"Date:"):
        assert name in raw


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1.23/thing", 400, "client version 1.23 is too old. Minimum supported API version is"
         " 1.24, please upgrade your client to a newer version"),
        ("/v1.10/thing", 400, "client version 1.10 is too old. Minimum supported API version is"
         " 1.24, please upgrade your client to a newer version"),
        ("/v1.99/thing", 400, "client version 1.99 is too new. Maximum supported API version is"
         " 1.55"),
        ("/v2.0/thing", 400, "client version 2.0 is too new. Maximum supported API version is"
         " 1.55"),
        ("/v1.50/nothing", 404, "page not found"),
        ("/nothing", 404, "page not found"),
        ("/vx/thing", 404, "page not found"),
        ("/", 404, "page not found"),
        ("//", 404, "page not found"),
    ],
)  # fmt: skip
async def test_versions_and_unknown_pages(edge: Edge, path: str, status: int, message: str) -> None:
    edge.route("GET", "/thing", say_path)
    client = await edge.connect()
    await client.send(get(path))
    got, _, body = await client.answer()
    assert (got, json.loads(body)) == (status, {"message": message})


async def test_another_method_is_an_unknown_page_as_in_docker(edge: Edge) -> None:
    edge.route("GET", "/thing", say_path)
    client = await edge.connect()
    await client.send(b"DELETE /v1.50/thing HTTP/1.1\r\nHost: d\r\n\r\n")
    status, _, body = await client.answer()
    assert (status, json.loads(body)) == (404, {"message": "page not found"})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidParameter("a"), 400),
        (errors.Unauthorized("a"), 401),
        (errors.Forbidden("a"), 403),
        (errors.NotFound("a"), 404),
        (errors.Conflict("a"), 409),
        (errors.Unsupported("a"), 501),
        (errors.Unavailable("a"), 503),
        (errors.DeadlineExceeded("a"), 504),
        (errors.InternalError("a"), 500),
    ],
)
async def test_errors_become_statuses(edge: Edge, error: Exception, status: int) -> None:
    async def handler(request: Request) -> Answer:
        raise error

    edge.route("GET", "/thing", handler)
    client = await edge.connect()
    await client.send(get("/thing"))
    got, _, body = await client.answer()
    assert (got, json.loads(body)) == (status, {"message": "a"})


async def test_not_modified_has_no_body(edge: Edge) -> None:
    async def handler(request: Request) -> Answer:
        raise errors.NotModified("already")

    edge.route("POST", "/thing", handler)
    client = await edge.connect()
    for _ in range(2):  # and the connection goes on
        await client.send(b"POST /thing HTTP/1.1\r\nHost: d\r\n\r\n")
        status, headers, body = await client.answer()
        assert (status, body) == (304, b"")
        assert "content-type" not in headers


async def test_a_bug_answers_500_and_is_logged(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Answer:
        return {}["missing"]  # type: ignore[return-value]

    edge.route("GET", "/thing", handler)
    client = await edge.connect()
    await client.send(get("/thing"))
    status, _, body = await client.answer()
    assert status == 500
    assert json.loads(body) == {"message": "KeyError: 'missing'"}
    assert "Traceback" in caplog.text


async def test_a_handler_that_answers_nonsense_is_our_fault(edge: Edge) -> None:
    async def handler(request: Request) -> Answer:
        return None

    edge.route("GET", "/thing", handler)
    client = await edge.connect()
    await client.send(get("/thing"))
    assert (await client.answer())[0] == 500


async def test_keep_alive_and_pipelining(edge: Edge) -> None:
    edge.route("GET", "/things/{id}", say_path)
    client = await edge.connect()
    await client.send(b"".join(get(f"/things/{n}") for n in range(50)))
    for n in range(50):
        assert json.loads((await client.answer())[2])["params"] == {"id": str(n)}
    await client.send(get("/things/last", "Connection: close\r\n"))
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await client.rest() == b""


async def test_pipelined_requests_are_not_collected_without_bound(edge: Edge) -> None:
    go_on = asyncio.Event()
    reached = asyncio.Event()

    async def handler(request: Request) -> Answer:
        reached.set()
        await go_on.wait()
        return Response(b"")

    edge.route("GET", "/thing", handler)
    client = await edge.connect()
    one = get("/thing", "X: " + "x" * 1000 + "\r\n")
    sending = asyncio.create_task(client.send(one * 4000))
    await reached.wait()
    _, pending = await asyncio.wait({sending}, timeout=0.1)
    assert pending
    go_on.set()
    for _ in range(4000):
        assert (await client.answer())[0] == 200
    await sending


async def test_a_head_request_gets_the_headers_alone(edge: Edge) -> None:
    async def handler(request: Request) -> Answer:
        return Response(b"OK")

    edge.route("HEAD", "/_ping", handler)
    edge.route("GET", "/_ping", handler)
    client = await edge.connect()
    await client.send(b"HEAD /_ping HTTP/1.1\r\nHost: d\r\n\r\n" + get("/_ping"))
    status, headers = await client.head()
    assert (status, headers["content-length"]) == ("HTTP/1.1 200 OK", "2")
    assert (await client.answer())[2] == b"OK"


async def test_http_1_0_is_answered_and_closed(edge: Edge) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def handler(request: Request) -> Answer:
        return Stream(pieces())

    edge.route("GET", "/thing", handler)
    client = await edge.connect()
    await client.send(b"GET /thing HTTP/1.0\r\n\r\n")
    _, headers = await client.head()
    assert "transfer-encoding" not in headers
    assert await client.rest() == b"one two"


async def test_bodies_by_length_and_chunked(edge: Edge) -> None:
    edge.route("POST", "/thing", take_body)
    client = await edge.connect()
    await client.send(
        b"POST /thing HTTP/1.1\r\nHost: d\r\nContent-Length: 10\r\n\r\n0123456789"
        b"POST /thing HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\n01234\r\n3;x=y\r\n567\r\n0\r\n\r\n"
        b"POST /thing HTTP/1.1\r\nHost: d\r\n\r\n"
    )
    for size in (10, 8, 0):
        assert json.loads((await client.answer())[2]) == {"size": size}


async def test_a_body_beyond_the_limit_is_refused_and_the_answer_arrives(edge: Edge) -> None:
    edge.route("POST", "/thing", take_body)
    client = await edge.connect()
    size = 20 << 20
    await client.send(b"POST /thing HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % size)
    sending = asyncio.create_task(client.send(bytes(size)))
    status, headers, body = await client.answer()
    assert status == 400
    assert headers["connection"] == "close"
    assert b"too large" in body
    await sending
    await client.close()


async def test_a_body_may_be_read_twice(edge: Edge) -> None:
    async def handler(request: Request) -> Answer:
        return Response([await request.json(dict[str, int]), len(await request.body())])

    edge.route("POST", "/thing", handler)
    client = await edge.connect()
    await client.send(
        b"POST /thing HTTP/1.1\r\nHost: d\r\nContent-Type: application/json; charset=utf-8"
        b'\r\nContent-Length: 7\r\n\r\n{"a":1}'
    )
    assert json.loads((await client.answer())[2]) == [{"a": 1}, 7]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "malformed Content-Type header (): mime: no media type"),
        ("Content-Type: text/plain\r\n", "unsupported Content-Type header (text/plain): must be"
         " 'application/json'"),
    ],
)  # fmt: skip
async def test_json_must_say_that_it_is_json(edge: Edge, header: str, message: str) -> None:
    async def handler(request: Request) -> Answer:
        return Response(await request.json(dict[str, int]))

    edge.route("POST", "/thing", handler)
    client = await edge.connect()
    await client.send(
        f"POST /thing HTTP/1.1\r\nHost: d\r\n{header}Content-Length: 2\r\n\r\n{{}}".encode()
    )
    status, _, body = await client.answer()
    assert (status, json.loads(body)) == (400, {"message": message})
    await client.send(f"POST /thing HTTP/1.1\r\nHost: d\r\n{header}\r\n".encode())
    assert (await client.answer())[2] == b"{}"  # no body, no matter


async def test_a_malformed_body_is_the_clients_fault(edge: Edge) -> None:
    edge.route("POST", "/thing", take_body)
    client = await edge.connect()
    await client.send(
        b"POST /thing HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
    )
    status, headers, body = await client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert b"malformed request body" in body


async def test_expect_100_continue(edge: Edge) -> None:
    edge.route("POST", "/thing", take_body)
    client = await edge.connect()
    head = b"HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    await client.send(b"POST /thing " + head)
    status, _ = await client.head()
    assert status.startswith("HTTP/1.1 100 ")
    await client.send(b"body")
    assert json.loads((await client.answer())[2]) == {"size": 4}
    # A request that is refused does not ask for its body.
    await client.send(b"POST /nothing " + head)
    assert (await client.answer())[0] == 404


async def test_streamed_bodies_are_paced_by_the_handler(edge: Edge) -> None:
    go_on = asyncio.Event()

    async def handler(request: Request) -> Answer:
        await go_on.wait()
        size = 0
        async for piece in request.stream():
            size += len(piece)
        return Response({"size": size})

    edge.route("POST", "/load", handler)
    client = await edge.connect()
    size = 32 << 20
    await client.send(b"POST /load HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % size)
    sending = asyncio.create_task(client.send(bytes(size)))
    _, pending = await asyncio.wait({sending}, timeout=0.2)
    assert pending
    go_on.set()
    await sending
    assert json.loads((await client.answer())[2]) == {"size": size}


async def test_progress_is_sent_while_the_body_still_comes(edge: Edge) -> None:
    async def pieces(request: Request) -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield b"got %d\n" % len(piece)

    async def handler(request: Request) -> Answer:
        return Stream(pieces(request))

    edge.route("POST", "/build", handler)
    client = await edge.connect()
    await client.send(b"POST /build HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send(b"3\r\nabc\r\n")
    await client.head()
    assert await client.reader.readuntil(b"got 3\n\r\n")
    await client.send(b"2\r\nde\r\n0\r\n\r\n")
    assert (await client.rest()).endswith(b"got 2\n\r\n0\r\n\r\n")


async def test_a_client_that_leaves_within_its_body(edge: Edge) -> None:
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def handler(request: Request) -> Answer:
        try:
            await request.body()
        except ConnectionError as error:
            failed.set_result(error)
            raise
        return Response(b"")

    edge.route("POST", "/thing", handler)
    client = await edge.connect()
    await client.send(b"POST /thing HTTP/1.1\r\nHost: d\r\nContent-Length: 10\r\n\r\n123")
    await client.close()
    assert isinstance(await failed, ConnectionError)


async def test_stream_headers_go_out_before_there_is_data(edge: Edge) -> None:
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b""
        await go_on.wait()
        yield b'{"StatusCode":0}'

    async def handler(request: Request) -> Answer:
        return Stream(pieces())

    edge.route("POST", "/wait", handler)
    client = await edge.connect()
    await client.send(b"POST /wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
    status, headers = await client.head()
    assert (status, headers["transfer-encoding"]) == ("HTTP/1.1 200 OK", "chunked")
    go_on.set()
    assert await client.reader.readuntil(b"0\r\n\r\n") == b'10\r\n{"StatusCode":0}\r\n0\r\n\r\n'
    await client.send(get("/nothing"))  # and the connection goes on
    assert (await client.answer())[0] == 404


async def test_an_error_before_the_first_piece_is_an_error_answer(edge: Edge) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        raise errors.no_such_image("x")
        yield b""

    async def handler(request: Request) -> Answer:
        return Stream(pieces())

    edge.route("GET", "/thing", handler)
    client = await edge.connect()
    await client.send(get("/thing"))
    status, _, body = await client.answer()
    assert (status, json.loads(body)) == (404, {"message": "No such image: x"})


async def test_an_error_within_a_stream_is_no_clean_end(edge: Edge) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"part"
        raise RuntimeError("bug")

    async def handler(request: Request) -> Answer:
        return Stream(pieces())

    edge.route("GET", "/thing", handler)
    client = await edge.connect()
    await client.send(get("/thing"))
    await client.head()
    with pytest.raises(ConnectionResetError):
        raise ConnectionResetError if b"0\r\n\r\n" not in await client.rest() else AssertionError


async def test_disconnected_is_told_to_a_stream(edge: Edge) -> None:
    ended = asyncio.Event()

    async def pieces(request: Request) -> AsyncIterator[bytes]:
        yield b""
        await request.disconnected()
        ended.set()

    async def handler(request: Request) -> Answer:
        return Stream(pieces(request))

    edge.route("GET", "/events", handler)
    client = await edge.connect()
    await client.send(get("/events"))
    await client.head()
    await client.close()
    await ended.wait()


async def test_cancelling_one_watcher_leaves_the_others(edge: Edge) -> None:
    ended = asyncio.Event()

    async def handler(request: Request) -> Answer:
        request.disconnected().cancel()
        await request.disconnected()
        ended.set()
        return Response(b"")

    edge.route("GET", "/thing", handler)
    client = await edge.connect()
    await client.send(get("/thing"))
    await client.close()
    await ended.wait()


async def test_a_client_that_left_closes_the_stream_at_its_next_piece(edge: Edge) -> None:
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def handler(request: Request) -> Answer:
        return Stream(pieces())

    edge.route("GET", "/export", handler)
    client = await edge.connect()
    await client.send(get("/export"))
    await client.head()
    client.writer.transport.abort()
    await closed.wait()


async def test_a_stream_is_paced_by_its_client(edge: Edge) -> None:
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(512):
            made += 1
            yield bytes(65536)

    async def handler(request: Request) -> Answer:
        return Stream(pieces())

    edge.route("GET", "/export", handler)
    client = await edge.connect()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.send(get("/export"))
    before = -1
    while made != before:
        before = made
        await asyncio.sleep(0.05)
    assert made < 100
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len((await client.answer())[2]) == 512 * 65536


async def test_half_close_after_a_request_still_gets_the_answer(edge: Edge) -> None:
    edge.route("GET", "/thing", say_path)
    client = await edge.connect()
    await client.send(get("/thing"))
    client.half_close()
    assert (await client.rest()).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /thing HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /thing HTTP/1.1\r\nHost: d\r\nX: " + b"x" * (2 << 20), 431),
        (b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: x\r\n\r\n", 400),
    ],
)
async def test_what_is_not_http_is_refused(edge: Edge, raw: bytes, status: int) -> None:
    client = await edge.connect()
    sending = asyncio.create_task(client.send(raw))
    line, headers = await client.head()
    assert int(line.split()[1]) == status
    assert headers["connection"] == "close"
    await asyncio.gather(sending, return_exceptions=True)
    client.half_close()
    await client.rest()


async def test_headers_must_come_in_time_and_requests_need_not(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge.route("GET", "/thing", say_path)
    idle, again = await edge.connect(), await edge.connect()
    for client in (idle, again):
        await client.send(get("/thing"))
        assert (await client.answer())[0] == 200
    monkeypatch.setattr(header_deadline, "SECONDS", 0.01)
    silent, half = await edge.connect(), await edge.connect()
    await half.send(b"GET /thing HTTP/1.1\r\nHost: do")
    await again.send(b"GE")
    for client in (silent, half, again):
        assert await client.rest() == b""
    await idle.send(get("/thing"))
    assert (await idle.answer())[0] == 200


async def test_paths_and_queries_are_decoded(edge: Edge) -> None:
    seen: dict[str, Any] = {}

    async def handler(request: Request) -> Answer:
        seen.update(
            name=request.params["name"],
            version=request.version,
            filters=request.query.filters(),
            flag=request.query.flag("all"),
            empty=request.query.flag("size"),
            header=request.headers["x-registry-auth"],
        )
        return Response(None)

    edge.route("GET", "/images/{name:.*}/json", handler)
    client = await edge.connect()
    await client.send(
        get(
            "/v1.44/images/127.0.0.1:5000/a%2Fb%3Alatest/json?all=1&size="
            "&filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D",
            "X-Registry-Auth: e30=\r\n",
        )
    )
    status, headers, body = await client.answer()
    assert (status, body) == (204, b"")
    assert "content-length" not in headers
    assert seen == {
        "name": "127.0.0.1:5000/a/b:latest",
        "version": (1, 44),
        "filters": {"label": ["a=b"]},
        "flag": True,
        "empty": False,
        "header": "e30=",
    }


async def test_pythons_http_client(edge: Edge) -> None:
    edge.route("GET", "/thing", say_path)
    edge.route("POST", "/thing", take_body)

    def talk(path: Path) -> list[bytes]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        answers = []
        connection.request("GET", "/thing")
        answers.append(connection.getresponse().read())
        connection.request("POST", "/thing", body=iter([b"ab", b"c"]), encode_chunked=True)
        answers.append(connection.getresponse().read())
        connection.close()
        return answers

    answers = await asyncio.to_thread(talk, edge.path)
    assert answers == [b'{"path":"/thing","params":{}}', b'{"size":3}']


async def test_closing_lets_requests_finish_and_cuts_those_that_do_not(edge: Edge) -> None:
    reached = asyncio.Event()
    go_on = asyncio.Event()
    cancelled = asyncio.Event()

    async def slow(request: Request) -> Answer:
        reached.set()
        await go_on.wait()
        return Response(b"done")

    async def stuck(request: Request) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Response(b"")

    edge.route("GET", "/slow", slow)
    edge.route("GET", "/stuck", stuck)
    idle, one, two = await edge.connect(), await edge.connect(), await edge.connect()
    await two.send(get("/stuck"))
    await one.send(get("/slow"))
    await reached.wait()
    closing = asyncio.create_task(edge.server.close(grace=0.3))
    assert await idle.rest() == b""
    go_on.set()
    assert (await one.answer())[2] == b"done"
    await closing
    assert cancelled.is_set()
    assert await two.rest() == b""
    assert edge.server.connections == 0
