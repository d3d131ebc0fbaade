"""The Engine API over one socket per call: requests, streams, hijacked connections."""

from __future__ import annotations

import _socket

from naru.cli.failures import ApiError, CannotConnect, CliError
from naru.cli.http import Connection, Response
from naru.cli.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, BinaryIO

NEWEST = (1, 50)
OLDEST = (1, 24)
DEFAULT_HOST = "unix:///run/naru.sock"
_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~")


def percent(text: str, keep: str = "") -> str:
    """Percent-encoding as in a query; `keep` names characters left alone."""
    kept = _SAFE | frozenset(keep.encode())
    return "".join(
        chr(byte) if byte in kept else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def query(**parameters: Any) -> str:
    """`?a=1&b=x` of what is neither None nor False nor empty; a list repeats its name."""
    pairs: list[str] = []
    for name, value in parameters.items():
        name = name.rstrip("_").replace("__", "-")
        if value is None or value is False or value == "" or value == [] or value == {}:
            continue
        if isinstance(value, dict):
            value = dumps(value)
        for item in value if isinstance(value, list) else [value]:
            pairs.append(f"{name}={percent('1' if item is True else str(item))}")
    return "?" + "&".join(sorted(pairs)) if pairs else ""


class Tls:
    """Certificates and keys for a tcp:// host."""

    def __init__(self, *, verify: bool, ca: str, cert: str, key: str) -> None:
        self.verify = verify
        self.ca = ca
        self.cert = cert
        self.key = key


class Client:
    """Calls one daemon; knows the API version both sides speak."""

    def __init__(self, host: str, tls: Tls | None = None, version: str | None = None) -> None:
        self.host = host
        self.tls = tls
        self.version = version
        self.headers: dict[str, str] = {}

    def connect(self) -> Connection:
        scheme, _, address = self.host.partition("://")
        try:
            if scheme == "unix":
                sock: Any = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
                sock.connect(address)
                return Connection(sock)
            from naru.cli import tcp

            sock = tcp.connect(address)
        except FileNotFoundError:
            raise self._unreachable() from None
        except PermissionError:
            raise CannotConnect(
                "permission denied while trying to connect to the Naru daemon socket at "
                f"{self.host}: connect: permission denied"
            ) from None
        except OSError:
            raise self._unreachable() from None
        return Connection(sock if self.tls is None else tcp.secured(sock, address, self.tls))

    def _unreachable(self) -> CannotConnect:
        return CannotConnect(
            f"Cannot connect to the Naru daemon at {self.host}. Is the naru daemon running?"
        )

    def path(self, path: str) -> str:
        return f"/v{self.version}{path}" if self.version else path

    def negotiate(self) -> str:
        """The API version to speak, asked of the daemon once."""
        if self.version is None:
            response = self.send("HEAD", "/_ping", versioned=False)
            offered = response.headers.get("api-version", "1.24")
            response.connection.close()
            major, _, minor = offered.partition(".")
            theirs = (int(major), int(minor or 0))
            self.version = offered if theirs < NEWEST else "{}.{}".format(*NEWEST)
        return self.version

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        stream: Iterable[bytes] | None = None,
        write: Callable[[BinaryIO], None] | None = None,
        headers: dict[str, str] | None = None,
        versioned: bool = True,
    ) -> Response:
        """Sends a request, whatever the answer's status.

        `stream`, or what `write` writes to a file, is a body that goes out in chunks.
        """
        if versioned:
            self.negotiate()
        connection = self.connect()
        head = [
            f"{method} {self.path(path) if versioned else path} HTTP/1.1",
            f"Host: {'api.naru' if self.host.startswith('unix') else self.host.partition('://')[2]}",
            "User-Agent: Naru-Client/0.1.0 (linux)",
        ]
        for name, value in {**self.headers, **(headers or {})}.items():
            head.append(f"{name}: {value}")
        if stream is not None or write is not None:
            head.append("Transfer-Encoding: chunked")
        elif body is not None or method in ("POST", "PUT"):
            head.append(f"Content-Length: {len(body or b'')}")
        data = "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n"
        try:
            connection.send(data + (body or b""))
            if stream is not None:
                for piece in stream:
                    if piece:
                        connection.send_chunk(piece)
                connection.send_chunk(b"")
            elif write is not None:
                with connection.chunked() as out:
                    write(out)
                connection.send_chunk(b"")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon refused early: its answer says why
        return Response(connection, method)

    def call(self, method: str, path: str, json: Any = None, **options: Any) -> Response:
        """Like `send`, raising ApiError for an answer of 400 and above."""
        if json is not None:
            options["body"] = dumps(json).encode()
            options["headers"] = {
                "Content-Type": "application/json",
                **(options.get("headers") or {}),
            }
        response = self.send(method, path, **options)
        if response.status >= 400:
            raise api_error(response)
        return response

    def get(self, path: str) -> Any:
        return self.call("GET", path).json()

    def post(self, path: str, json: Any = None) -> Any:
        return self.call("POST", path, json).json()

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path).json()

    def hijack(self, path: str, json: Any = None) -> tuple[Connection, bool]:
        """A raw connection behind an upgrade, and whether its output is multiplexed for sure."""
        response = self.call(
            "POST", path, json, headers={"Connection": "Upgrade", "Upgrade": "tcp"}
        )
        kind = response.headers.get("content-type", "")
        return response.connection, kind == "application/vnd.docker.multiplexed-stream"


def api_error(response: Response) -> ApiError:
    """The error that a response of 400 and above carries."""
    body = response.body()
    try:
        reason = str(loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        reason = body.decode("utf-8", "replace").strip()
    return ApiError(response.status, reason.strip() or f"status {response.status}")


def normalise_host(text: str, *, tls: bool = False) -> str:
    """A -H value as `scheme://address`, with Docker's defaults filled in."""
    text = text.strip()
    if not text:
        return DEFAULT_HOST
    scheme, separator, address = text.partition("://")
    if not separator:
        scheme, address = "tcp", text
    if scheme == "unix":
        return f"unix://{address or DEFAULT_HOST.partition('://')[2]}"
    if scheme in ("http", "https"):
        scheme = "tcp"
    if scheme != "tcp":
        raise CliError(f"unable to resolve the daemon's address: {scheme}:// is not supported")
    name, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = address, "2376" if tls else "2375"
    if not port.partition("/")[0].isdigit():
        raise CliError(f'unable to parse docker host "{text}"')
    return f"tcp://{name or '127.0.0.1'}:{port}"
