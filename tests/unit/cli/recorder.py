"""A daemon that answers just enough for a client to send its requests, and keeps them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from types import TracebackType
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        path = self.path
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        if path != "/_ping":
            self.server.requests.append((self.command, path, json.loads(body) if body else None))
        status, answer = self.server.answers.get(
            (self.command, path.partition("?")[0]), (200, self.server.default)
        )
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Api-Version", self.server.version)
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if data and self.command != "HEAD":  # who awaits no body has left by now
            self.wfile.write(data)
        self.close_connection = True

    do_GET = do_POST = do_DELETE = do_HEAD = do_PUT = _answer


class Recorder(ThreadingMixIn, UnixStreamServer):
    """`with Recorder(path) as daemon:` serves until the block ends."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.host = f"unix://{path}"
        self.version = "1.50"
        self.requests: list[tuple[str, str, Any]] = []
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {
            ("POST", "/containers/create"): (201, {"Id": "0" * 64, "Warnings": []}),
        }
        self.default: Any = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
