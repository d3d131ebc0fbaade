"""TLS between a socket's transport and a protocol, half-close included.

asyncio's own TLS closes the whole connection when the client sends close_notify. Docker's client
does so right after an attach without stdin, and would lose all output. Here close_notify from the
client is `eof_received`, and `write_eof` sends ours; both directions end on their own (RFC 8446,
6.1). To the protocol above, `TlsLayer` is the transport.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from typing import Any, cast

log = logging.getLogger(__name__)

_CHUNK = 256 * 1024
HANDSHAKE_LIMIT = 60.0
"""Seconds a client may take for its handshake."""


class TlsLayer(asyncio.Protocol):
    """The protocol that the socket sees."""

    def __init__(self, inner: asyncio.Protocol, *, context: ssl.SSLContext) -> None:
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._handshaken = False
        self._inner_eof = False
        self._socket: asyncio.Transport
        self._transport: TlsTransport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)  # uvloop's do not derive from asyncio's
        self._transport = TlsTransport(self, self._socket)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDSHAKE_LIMIT, self._socket.abort)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if not self._handshaken:
                self._handshake()
            if self._handshaken:
                self._deliver()
        except ssl.SSLError as error:
            log.info("TLS error from %s: %s", self._socket.get_extra_info("peername"), error)
            self.flush()  # the alert
            self._socket.close()

    def eof_received(self) -> bool:
        """The socket ended, with close_notify or without."""
        if not self._handshaken or self._inner_eof:
            return False  # close_notify was before: now the client is gone altogether
        return self._deliver_eof()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._handshaken:
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        if self._handshaken:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._handshaken:
            self._inner.resume_writing()

    # What the transport above asks.

    def encrypt(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            sent = self._tls.write(view[:_CHUNK])
            self.flush()
            view = view[sent:]

    def close_notify(self) -> None:
        """Say that nothing more will come; reading goes on."""
        try:
            self._tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError, ssl.SSLZeroReturnError):
            pass  # ours is in the buffer; the client's may come later
        except ssl.SSLError as error:
            log.debug("TLS close_notify: %s", error)
        self.flush()

    def flush(self) -> None:
        if (data := self._outgoing.read()) and not self._socket.is_closing():
            self._socket.write(data)

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return
        self.flush()
        self._handshaken = True
        if self._timer is not None:
            self._timer.cancel()
        self._inner.connection_made(self._transport)

    def _deliver(self) -> None:
        while not self._inner_eof:
            try:
                data = self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                self.flush()  # key updates answer by themselves
                return
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                self._deliver_eof()
                return
            self._inner.data_received(data)

    def _deliver_eof(self) -> bool:
        if self._inner_eof:
            return True
        self._inner_eof = True
        keep = bool(self._inner.eof_received())
        if not keep:
            self._transport.close()
        return keep


class TlsTransport(asyncio.Transport):
    """The transport that the protocol above sees."""

    def __init__(self, layer: TlsLayer, transport: asyncio.Transport) -> None:
        super().__init__()
        self._layer = layer
        self._socket = transport
        self._finished = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._finished and not self._socket.is_closing():
            self._layer.encrypt(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._finished:
            self._finished = True
            self._layer.close_notify()

    def close(self) -> None:
        if not self._socket.is_closing():
            self.write_eof()
            self._socket.close()

    def abort(self) -> None:
        self._socket.abort()

    def is_closing(self) -> bool:
        return self._socket.is_closing()

    def pause_reading(self) -> None:
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        self._socket.resume_reading()

    def is_reading(self) -> bool:
        return self._socket.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._socket.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket.get_extra_info(name, default)
