"""Sockets to a daemon at a tcp:// host, with TLS or without; imported for those alone."""

from __future__ import annotations

import _socket
import os

from naru.cli.failures import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.client import Tls


def connect(address: str) -> Any:
    address = address.partition("/")[0]
    name, _, port = address.rpartition(":")
    failure: OSError | None = None
    for family, kind, protocol, _, where in _socket.getaddrinfo(
        name.strip("[]") or "127.0.0.1", int(port), 0, _socket.SOCK_STREAM
    ):
        sock = _socket.socket(family, kind, protocol)
        try:
            sock.connect(where)
        except OSError as error:
            failure = error
            sock.close()
        else:
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            return sock
    raise failure or OSError("no address")


def secured(plain: Any, address: str, tls: Tls) -> Any:
    import socket
    import ssl

    context = ssl.create_default_context(cafile=tls.ca if tls.verify else None)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if os.path.exists(tls.cert) and os.path.exists(tls.key):
        context.load_cert_chain(tls.cert, tls.key)
    wrapped = socket.socket(fileno=plain.detach())
    try:
        return context.wrap_socket(wrapped, server_hostname=address.rpartition(":")[0].strip("[]"))
    except ssl.SSLError as error:
        raise CliError(f"error during connect: {error}") from error
