"""One client connection: HTTP/1.1 requests one after another, then perhaps raw bytes.

`Incoming` is what it reads and `Outgoing` what it sends; here the requests are answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

import h11

from naru.api.body import Body, ClientGone
from naru.api.hijack import RawConnection
from naru.api.incoming import Incoming
from naru.api.messages import HIJACKED, Answer, Response, Stream
from naru.api.outgoing import Outgoing
from naru.api.request import HttpRequest
from naru.api.straight import SocketBody
from naru.spec.errors import InvalidParameter

log = logging.getLogger(__name__)

LINGER = 2.0
"""Seconds in which a client may notice an early answer while it still sends its body."""


class Connection(asyncio.Protocol):
    def __init__(
        self,
        *,
        dispatch: Callable[[HttpRequest], Awaitable[Answer]],
        headers: dict[str, str],
        opened: Callable[[Connection], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self._dispatch = dispatch
        self._headers = headers
        self._opened = opened
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._in: Incoming
        self._out: Outgoing
        self._raw: RawConnection | None = None
        self._eof = False
        self._lost = False
        self._closing = False
        self._lingering = False
        self._watchers: set[asyncio.Future[None]] = set()
        self.task: asyncio.Task[None] | None = None

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._in = Incoming(
            self._transport, began=self._begin, refused=self._refuse, proceed=self._proceed
        )
        self._out = Outgoing(self._transport, self._in.http, self._headers)
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        if self._raw is not None:
            self._raw.feed(data)
        elif not self._lingering:
            self._in.receive(data)

    def eof_received(self) -> bool:
        """Half-close: the answer can still be sent; True keeps the connection for it."""
        self._eof = True
        if self._raw is not None:
            self._raw.feed_eof()
            return True
        if self._in.body is None or self._lingering:
            return False
        self._in.body.fail(ClientGone("the client closed the connection within its request"))
        self._tell_watchers()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._in.let_go()
        if self._in.body is not None:
            self._in.body.fail(ClientGone("the client closed the connection"))
        if self._raw is not None:
            self._raw.lost()
        self._out.lose()
        self._tell_watchers()
        self._closed(self)

    def pause_writing(self) -> None:
        self._out.block()

    def resume_writing(self) -> None:
        self._out.unblock()

    # What the server asks.

    @property
    def idle(self) -> bool:
        return self.task is None or self.task.done()

    def finish(self) -> None:
        """Close once the present request is answered; streams are told that the client left."""
        self._closing = True
        if self.idle:
            self._transport.close()
        elif self._raw is not None:
            # Cancelled, not closed: to a handler, a closed connection is the end of a client's
            # input, and a container that reads it must outlive this daemon.
            assert self.task is not None
            self.task.cancel()
        else:
            self._tell_watchers()

    def abort(self) -> None:
        self._transport.abort()

    # Reading.

    def _begin(self, event: h11.Request, headers: dict[str, str]) -> None:
        body = self._in.body
        assert body is not None
        request = HttpRequest(
            method=event.method.decode("latin-1"),
            target=event.target.decode("latin-1"),
            headers=headers,
            body=body,
            take_over=self._take_over,
            watch=self._watch,
            straight=self._straight,
        )
        self.task = self._loop.create_task(self._serve(request, body))

    def _proceed(self) -> None:
        http = self._in.http
        if http.they_are_waiting_for_100_continue and http.our_state is h11.SEND_RESPONSE:
            self._out.send(
                h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            )

    def _straight(self) -> SocketBody | None:
        return None if self._eof or self._lost else self._in.straight()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """The client does not speak HTTP: say so if that is still possible, and hang up."""
        log.debug("Bad request: %s", error)
        if self._in.body is not None:
            self._in.body.fail(InvalidParameter(f"malformed request body: {error}"))
            self._closing = True
            return
        self._out.refuse(error)
        self._linger()

    def _watch(self) -> asyncio.Future[None]:
        """A future of the caller's own: cancelling it harms nobody else."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self._eof or self._lost or self._closing:
            future.set_result(None)
        else:
            self._watchers.add(future)
            future.add_done_callback(self._watchers.discard)
        return future

    def _tell_watchers(self) -> None:
        for future in list(self._watchers):
            if not future.done():
                future.set_result(None)

    # Answering.

    async def _serve(self, request: HttpRequest, body: Body) -> None:
        try:
            answer = await self._dispatch(request)
            if request.hijacked is not None:
                if answer is not HIJACKED and isinstance(answer, Response):
                    log.error("%s failed after the connection was taken over", request.path)
                request.hijacked.close()
                return
            body_wanted = request.method != "HEAD"
            # What is left of the body would be taken for the next request.
            self._in.begin_body()
            close = self._closing or not body.complete
            if isinstance(answer, Stream):
                await self._out.stream(answer, body=body_wanted, close=close)
            elif isinstance(answer, Response):
                await self._out.respond(answer, body=body_wanted, close=close)
            else:
                raise RuntimeError("the handler said HIJACKED and did not take the connection")
        except ClientGone as error:
            log.debug("%s %s: %s", request.method, request.path, error)
            self._transport.abort()
        except asyncio.CancelledError:
            if self._raw is not None:
                self._raw.close()
            else:
                self._transport.abort()
            raise
        except Exception:
            log.exception("%s %s: the answer could not be completed", request.method, request.path)
            self._transport.abort()  # a clean end would look like a complete answer
        else:
            self._next_request(body)

    def _next_request(self, body: Body) -> None:
        if not body.complete and not self._eof:
            self._linger()
        elif self._closing or self._eof or not self._in.next_request():
            self._transport.close()
        else:
            self._out.renew(self._in.http)
            self._in.advance()

    def _linger(self) -> None:
        """Close, but not under a client that is still sending: a reset would take our answer."""
        self._lingering = True
        self._in.let_go()
        if self._lost:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(LINGER, self._transport.close)

    def _take_over(self, head: bytes) -> RawConnection:
        if self._lost:
            raise ClientGone("the client closed the connection")
        self._in.let_go()
        self._raw = RawConnection(
            self._transport, first=self._in.unparsed, eof=self._eof, drain=self._out.drain
        )
        self._transport.write(head)
        return self._raw
