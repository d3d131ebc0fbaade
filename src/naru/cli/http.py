"""Just enough HTTP/1.1 for the daemon that the client belongs to: connections and responses.

On `_socket` and without http.client: importing that stack alone would take longer than a whole
`naru ps`.
"""

from __future__ import annotations

import _socket
import io

from naru.cli.failures import CliError
from naru.cli.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


_CHUNK = 1 << 18


class Connection:
    """A socket with the bytes read too many; also the hijacked connection of attach and exec."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.pending = b""

    def fileno(self) -> int:
        return int(self.sock.fileno())

    def send(self, data: bytes | memoryview) -> None:
        self.sock.sendall(data)

    def send_chunk(self, data: bytes | memoryview) -> None:
        """One of a body in chunks; the empty one ends it."""
        self.sock.sendall(b"".join((b"%x\r\n" % len(data), data, b"\r\n")))

    def chunked(self) -> io.BufferedWriter:
        """A file whose content goes out in chunks, without the one that ends them."""
        return io.BufferedWriter(_Chunks(self), _CHUNK)

    def read(self, limit: int = 65536) -> bytes:
        """Some bytes, or b"" at the end."""
        if self.pending:
            data, self.pending = self.pending[:limit], self.pending[limit:]
            return data
        try:
            return self.sock.recv(limit)  # type: ignore[no-any-return]
        except ConnectionResetError:
            return b""

    def line(self) -> bytes:
        while b"\r\n" not in self.pending:
            more = self.sock.recv(65536)
            if not more:
                raise CliError("error during connect: unexpected EOF")
            self.pending += more
        line, _, self.pending = self.pending.partition(b"\r\n")
        return line

    def close_write(self) -> None:
        try:
            if hasattr(self.sock, "unwrap"):
                return  # TLS has no half-close that both sides understand
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # the other side has gone already

    def close(self) -> None:
        self.sock.close()


class _Chunks(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._connection.send_chunk(data)
        return len(data)


class Response:
    """Status, headers (lower-case names), and the body as it arrives."""

    def __init__(self, connection: Connection, method: str) -> None:
        self.connection = connection
        status = connection.line().split(b" ", 2)
        self.status = int(status[1])
        self.headers: dict[str, str] = {}
        while line := connection.line():
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        length = self.headers.get("content-length")
        self._left = int(length) if length is not None else None
        if method == "HEAD" or self.status in (204, 304):
            self._left, self._chunked = 0, False
        self._done = False

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces as they come; closes the connection at its end."""
        connection = self.connection
        if self._chunked:
            while True:
                size = int(connection.line().split(b";")[0] or b"0", 16)
                if not size:
                    break
                while size:
                    data = connection.read(min(size, 65536))
                    if not data:
                        raise CliError("unexpected EOF")
                    size -= len(data)
                    yield data
                connection.line()
        elif self._left is not None:
            while self._left:
                data = connection.read(min(self._left, 65536))
                if not data:
                    raise CliError("unexpected EOF")
                self._left -= len(data)
                yield data
        else:
            while data := connection.read():
                yield data
        connection.close()

    def body(self) -> bytes:
        return b"".join(self.chunks())

    def lines(self) -> Iterator[bytes]:
        """The body's lines, for streams of JSON documents."""
        rest = b""
        for data in self.chunks():
            rest += data
            *whole, rest = rest.split(b"\n")
            for line in whole:
                if line.strip():
                    yield line
        if rest.strip():
            yield rest

    def json(self) -> Any:
        body = self.body()
        return loads(body) if body.strip() else None
