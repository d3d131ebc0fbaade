"""One client connection: HTTP/1.1 requests one after another, then perhaps raw bytes.

h11 is the parser. It is asked for nothing beyond the end of a request until that request is
answered: what the client sent behind it may be the next request or, if the handler takes the
connection over, bytes for a container.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

import h11

from naru.api.body import Body, ClientGone
from naru.api.header_deadline import HeaderDeadline
from naru.api.hijack import RawConnection
from naru.api.messages import HIJACKED, Answer, Response, Stream
from naru.api.outgoing import Outgoing
from naru.api.request import HttpRequest
from naru.spec.errors import InvalidParameter

log = logging.getLogger(__name__)

HEADER_LIMIT = 1024 * 1024
"""Go's limit; X-Registry-Config of a client with many registries is long."""

BEHIND_LIMIT = 256 * 1024
"""Bytes kept that came behind a request which is not answered yet."""

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
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_LIMIT)
        self._transport: asyncio.Transport
        self._out: Outgoing
        self._body: Body | None = None  # of the request that is being answered
        self._raw: RawConnection | None = None
        self._behind = 0
        self._holds: set[str] = set()  # why reading is paused
        self._eof = False
        self._lost = False
        self._closing = False
        self._lingering = False
        self._watchers: set[asyncio.Future[None]] = set()
        # Without a word, as Go does: who sends half a header is hardly listening.
        self._headers_due = HeaderDeadline(lambda: self._transport.close())
        self.task: asyncio.Task[None] | None = None

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._out = Outgoing(self._transport, self._http, self._headers)
        self._headers_due.begin()
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        if self._raw is not None:
            self._raw.feed(data)
        elif not self._lingering:
            if self._body is not None and self._body.complete:
                self._behind += len(data)
                if self._behind > BEHIND_LIMIT:
                    self._hold("behind", True)
            self._http.receive_data(data)
            self._advance()

    def eof_received(self) -> bool:
        """Half-close: the answer can still be sent; True keeps the connection for it."""
        self._eof = True
        if self._raw is not None:
            self._raw.feed_eof()
            return True
        if self._body is None or self._lingering:
            return False
        self._body.fail(ClientGone("the client closed the connection within its request"))
        self._tell_watchers()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._headers_due.end()
        if self._body is not None:
            self._body.fail(ClientGone("the client closed the connection"))
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

    def _advance(self) -> None:
        """Let the parser go on until it needs data or one request is complete."""
        while self._body is None or not self._body.complete:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error)
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                assert self._body is not None
                self._body.feed(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert self._body is not None
                self._body.finish()
            else:  # NEED_DATA; PAUSED after the last request of a connection
                if self._body is None and self._http.trailing_data[0]:
                    self._headers_due.begin()
                return

    def _begin(self, event: h11.Request) -> None:
        self._headers_due.end()
        headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self._body = Body(wanted=self._body_wanted, pace=lambda slow: self._hold("body", slow))
        request = HttpRequest(
            method=event.method.decode("latin-1"),
            target=event.target.decode("latin-1"),
            headers=headers,
            body=self._body,
            take_over=self._take_over,
            watch=self._watch,
        )
        self.task = self._loop.create_task(self._serve(request, self._body))

    def _body_wanted(self) -> None:
        if (
            self._http.they_are_waiting_for_100_continue
            and self._http.our_state is h11.SEND_RESPONSE
        ):
            self._out.send(
                h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            )

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """The client does not speak HTTP: say so if that is still possible, and hang up."""
        log.debug("Bad request: %s", error)
        if self._body is not None:
            self._body.fail(InvalidParameter(f"malformed request body: {error}"))
            self._closing = True
            return
        self._headers_due.end()
        self._out.refuse(error)
        self._linger()

    def _hold(self, reason: str, on: bool) -> None:
        before = bool(self._holds)
        (self._holds.add if on else self._holds.discard)(reason)
        if self._lost or self._raw is not None or bool(self._holds) == before:
            return
        if self._holds:
            self._transport.pause_reading()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

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
        elif (
            self._closing
            or self._eof
            or self._http.our_state is not h11.DONE
            or self._http.their_state is not h11.DONE
        ):
            self._transport.close()
        else:
            self._http.start_next_cycle()
            self._body = None
            self._behind = 0
            self._hold("behind", False)
            self._advance()

    def _linger(self) -> None:
        """Close, but not under a client that is still sending: a reset would take our answer."""
        self._lingering = True
        self._body = None
        self._holds.clear()
        if self._lost:
            return
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(LINGER, self._transport.close)

    def _take_over(self, head: bytes) -> RawConnection:
        if self._lost:
            raise ClientGone("the client closed the connection")
        if self._holds:
            self._holds.clear()
            self._transport.resume_reading()
        first, _ = self._http.trailing_data
        self._raw = RawConnection(
            self._transport, first=bytes(first), eof=self._eof, drain=self._out.drain
        )
        self._transport.write(head)
        return self._raw
