"""An engine's API by one kept connection: server time, without a client's start."""

from __future__ import annotations

import http.client
import socket
from typing import Protocol


class Engine(Protocol):
    @property
    def host(self) -> str: ...


class Api:
    def __init__(self, engine: Engine) -> None:
        self._connection = http.client.HTTPConnection("localhost")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(engine.host.removeprefix("unix://"))

    def call(
        self, method: str, path: str, body: bytes | None = None, content_type: str | None = None
    ) -> bytes:
        headers = {"Content-Type": content_type} if content_type else {}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data.decode()}")
        return data

    def close(self) -> None:
        self._connection.close()
