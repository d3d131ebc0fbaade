"""The sockets that the API is served on: bound here, given to the server once it is ready."""

from __future__ import annotations

import errno
import grp
import logging
import os
import socket
import stat
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from naru.daemon import endpoints
from naru.daemon.config import Config
from naru.daemon.endpoints import InheritedEndpoint, TcpEndpoint, UnixEndpoint

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

_FIRST_INHERITED = 3  # SD_LISTEN_FDS_START
_DEFAULT_GROUP = "docker"


class ListenError(Exception):
    """A socket that cannot be had; the text says which and why."""


@dataclass
class Listener:
    """A bound socket. `path`: the file of a Unix socket that we made, gone with `remove`."""

    sock: socket.socket
    name: str
    tls: ssl.SSLContext | None = None
    path: str | None = None
    inode: int = 0

    def remove(self) -> None:
        """Close, and unlink our own socket file (not one that somebody else put there since)."""
        self.sock.close()
        if self.path is not None:
            with suppress(FileNotFoundError):
                if os.stat(self.path, follow_symlinks=False).st_ino == self.inode:
                    os.unlink(self.path)


def bind(config: Config, environ: MutableMapping[str, str] = os.environ) -> list[Listener]:
    """Bind every host of the configuration, or none: an error closes those already bound."""
    bound: list[Listener] = []
    try:
        context = _tls_context(config) if config.tls else None
        for host in dict.fromkeys(config.hosts):
            endpoint = endpoints.parse(host, default_socket=config.program.socket, tls=config.tls)
            match endpoint:
                case UnixEndpoint(path):
                    bound.append(_unix(path, group=config.group))
                case TcpEndpoint():
                    bound.extend(_tcp(endpoint, context))
                case InheritedEndpoint(number):
                    bound.extend(_inherited(number, context, environ))
    except endpoints.EndpointError as error:
        _remove(bound)
        raise ListenError(str(error)) from error
    except BaseException:
        _remove(bound)
        raise
    return bound


def _remove(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.remove()


def _unix(path: str, *, group: str) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
        _remove_stale(path)
        sock.bind(path)
        # Nobody can connect before listen(): the permissions are right from the first moment.
        os.chown(path, 0 if os.geteuid() == 0 else -1, _group_id(group))
        os.chmod(path, 0o660)
    except OSError as error:
        sock.close()
        raise ListenError(f"can't create unix socket {path}: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return Listener(sock, path, path=path, inode=os.stat(path).st_ino)


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on any more; nothing else that is at `path`."""
    try:
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except (TimeoutError, BlockingIOError):
            pass  # its backlog is full, so it lives
    raise ListenError(f"can't create unix socket {path}: another daemon is listening on it")


def _group_id(name: str) -> int:
    if not name:
        return -1
    with suppress(KeyError):
        return grp.getgrnam(name).gr_gid
    if name.isdecimal():
        return int(name)
    if name == _DEFAULT_GROUP:
        log.warning("could not change group of the unix socket to %s: group not found", name)
        return -1
    raise ListenError(f"could not change group of the unix socket to {name}: group not found")


def _tcp(endpoint: TcpEndpoint, context: ssl.SSLContext | None) -> Iterator[Listener]:
    if context is None:
        _warn_of_plain_tcp(endpoint)
    try:
        found = socket.getaddrinfo(
            endpoint.address, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ListenError(f"listen {endpoint}: {error.strerror}") from error
    # A name may have several addresses; dockerd listens on the first, IPv4 before IPv6.
    family, kind, protocol, _, address = min(found, key=lambda item: item[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit it
        if family == socket.AF_INET6 and endpoint.address != "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise ListenError(f"listen {endpoint}: bind: {error.strerror}") from error
    host, port = sock.getsockname()[:2]
    yield Listener(sock, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", context)


def _warn_of_plain_tcp(endpoint: TcpEndpoint) -> None:
    log.warning(
        "Binding to IP address without --tlsverify is insecure and gives root access on this"
        " machine to everyone who has access to your network. host=%s",
        endpoint,
    )
    if not endpoint.loopback:
        log.warning(
            "WARNING: API is accessible on %s without encryption and authentication, from other"
            " machines too. Use --tlsverify with --tlscacert, --tlscert and --tlskey, or an ssh"
            " tunnel.",
            endpoint,
        )


def _inherited(
    number: int | None, context: ssl.SSLContext | None, environ: MutableMapping[str, str]
) -> Iterator[Listener]:
    count = 0
    if environ.get("LISTEN_PID") == str(os.getpid()):
        count = int(environ.get("LISTEN_FDS", "0"))
    available = range(_FIRST_INHERITED, _FIRST_INHERITED + count)
    if not available:
        raise ListenError(
            "no sockets found via socket activation: make sure the service was started by systemd"
        )
    if number is not None and number not in available:
        raise ListenError(
            f"no socket {number} found via socket activation: systemd passed"
            f" {available.start} to {available.stop - 1}"
        )
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)  # not for the programs that we start
    for fd in available if number is None else [number]:
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)
        if sock.type != socket.SOCK_STREAM:
            raise ListenError(f"socket {fd} of systemd is not a stream socket")
        unix = sock.family == socket.AF_UNIX
        yield Listener(sock, f"fd {fd} ({sock.getsockname()})", None if unix else context)


def _tls_context(config: Config) -> ssl.SSLContext:
    import ssl  # only where TLS is asked for: it costs start-up time

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tlscert, config.tlskey)
    except OSError as error:
        raise ListenError(
            f"could not load X509 key pair (cert: {config.tlscert!r}, key: {config.tlskey!r}):"
            f" {error.strerror or error}"
        ) from error
    if config.tlsverify:
        try:
            context.load_verify_locations(config.tlscacert)
        except OSError as error:
            raise ListenError(
                f"could not read CA certificate {config.tlscacert!r}: {error.strerror or error}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
