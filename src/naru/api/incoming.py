"""What a connection reads: requests one after another, each with its body.

h11 is the parser. It is asked for nothing beyond the end of a request until that request is
answered: what the client sent behind it may be the next request or, if the handler takes the
connection over, bytes for a container. Nor is it asked for a body before a handler wants it: a long
one may go past the parser and the event loop (`straight`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11

from naru.api.body import Body
from naru.api.header_deadline import HeaderDeadline
from naru.api.straight import SocketBody, plain_socket

HEADER_LIMIT = 1024 * 1024
"""Go's limit; X-Registry-Config of a client with many registries is long."""

BEHIND_LIMIT = 256 * 1024
"""Bytes kept that came behind a request, or behind its headers, and are not parsed yet."""


class Incoming:
    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        began: Callable[[h11.Request, dict[str, str]], None],
        refused: Callable[[h11.RemoteProtocolError], None],
        proceed: Callable[[], None],
    ) -> None:
        """`began` is told of a request and its headers, when `body` is there; `refused` of what is
        not HTTP; `proceed` sends the 100 that a client may wait for.
        """
        self.http = _parser()
        self.body: Body | None = None  # of the request that is being answered
        self._transport = transport
        self._began = began
        self._refused = refused
        self._proceed = proceed
        self._length: int | None = 0  # of the body; None: it comes in chunks
        self._behind = 0
        self._holds: set[str] = set()  # why reading is paused
        self._let_go = False
        self._straight = False  # the body goes, or went, past the parser
        self._skipped = 0  # bytes in the parser that belong to it
        self._after = b""  # what came behind it
        # Without a word, as Go does: who sends half a header is hardly listening.
        self._headers_due = HeaderDeadline(lambda: transport.close())
        self._headers_due.begin()

    def receive(self, data: bytes) -> None:
        if self.body is not None and (self.body.complete or not self.body.begun):
            self._behind += len(data)
            if self._behind > BEHIND_LIMIT:
                self._hold("behind", True)
        self.http.receive_data(data)
        self.advance()

    def advance(self) -> None:
        """Let the parser go on until it needs data, a handler, or one request is complete."""
        while self.body is None or (self.body.begun and not self.body.complete):
            if self._straight:
                return
            try:
                event = self.http.next_event()
            except h11.RemoteProtocolError as error:
                self._headers_due.end()
                self._refused(error)
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                assert self.body is not None
                self.body.feed(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert self.body is not None
                self.body.finish()
            else:  # NEED_DATA; PAUSED after the last request of a connection
                if self.body is None and self.http.trailing_data[0]:
                    self._headers_due.begin()
                return

    def begin_body(self) -> None:
        """Parse it from here on: somebody wants it, or to know whether it is all here."""
        if self.body is not None and not self.body.begun:
            self.body.begun = True
            self._stop_counting()
            self.advance()

    def straight(self) -> SocketBody | None:
        """The body for a thread to read; None where it has begun, or the socket speaks TLS."""
        assert self.body is not None
        if self.body.begun or (sock := plain_socket(self._transport)) is None:
            return None
        self.body.begun = self._straight = True
        self._stop_counting()
        self._hold("straight", True)
        self._proceed()
        head = self.http.trailing_data[0]
        self._skipped = len(head)
        return SocketBody(sock, head, self._length, self._went_straight)

    @property
    def unparsed(self) -> bytes:
        """What the client sent behind the request."""
        return self._after + self.http.trailing_data[0][self._skipped :]

    def next_request(self) -> bool:
        """Go on with what the client sent behind the answered one -> False if that cannot be."""
        if self.http.our_state is not h11.DONE:
            return False
        if self._straight:
            rest = self.unparsed
            self.http = _parser()
            if rest:
                self.http.receive_data(rest)
            self._straight, self._skipped, self._after = False, 0, b""
        elif self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        else:
            return False
        self.body = None
        self._stop_counting()
        return True

    def let_go(self) -> None:
        """Read on whatever held it: nobody will ask for another request."""
        self._headers_due.end()
        self._let_go = True
        if self._holds and not self._transport.is_closing():
            self._transport.resume_reading()

    def _begin(self, event: h11.Request) -> None:
        self._headers_due.end()
        headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self.body = Body(wanted=self._wanted, pace=lambda slow: self._hold("body", slow))
        chunked = "transfer-encoding" in headers
        self._length = None if chunked else int(headers.get("content-length", "0"))
        self.body.begun = self._length == 0
        self._began(event, headers)

    def _wanted(self) -> None:
        self.begin_body()
        self._proceed()

    def _went_straight(self, after: bytes | None) -> None:
        """`after`: what came behind the whole body."""
        assert self.body is not None
        if after is not None:
            self._after = after
            self.body.finish()
        self._hold("straight", False)

    def _stop_counting(self) -> None:
        self._behind = 0
        self._hold("behind", False)

    def _hold(self, reason: str, on: bool) -> None:
        before = bool(self._holds)
        (self._holds.add if on else self._holds.discard)(reason)
        if self._let_go or bool(self._holds) == before:
            return
        if self._holds:
            self._transport.pause_reading()
        elif not self._transport.is_closing():
            self._transport.resume_reading()


def _parser() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_LIMIT)
