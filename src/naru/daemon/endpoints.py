"""What `-H` may say, without opening anything: unix://PATH, tcp://ADDR:PORT, fd://[NUMBER]."""

from __future__ import annotations

import ipaddress

import msgspec

PLAIN_PORT = 2375
TLS_PORT = 2376


class EndpointError(Exception):
    """A host that cannot be understood."""


class UnixEndpoint(msgspec.Struct, frozen=True):
    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


class TcpEndpoint(msgspec.Struct, frozen=True):
    address: str
    port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"tcp://{address}:{self.port}"

    @property
    def loopback(self) -> bool:
        if self.address == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.address).is_loopback
        except ValueError:
            return False


class InheritedEndpoint(msgspec.Struct, frozen=True):
    """Sockets of systemd's socket activation; `number` is None for all of them."""

    number: int | None

    def __str__(self) -> str:
        return f"fd://{'' if self.number is None else self.number}"


Endpoint = UnixEndpoint | TcpEndpoint | InheritedEndpoint


def parse(text: str, *, default_socket: str, tls: bool) -> Endpoint:
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        if not scheme:
            return UnixEndpoint(default_socket)
        scheme, rest = "tcp", scheme
    if scheme == "unix":
        return UnixEndpoint(rest or default_socket)
    if scheme == "tcp":
        return _tcp(rest, TLS_PORT if tls else PLAIN_PORT, text)
    if scheme == "fd":
        if rest in ("", "*"):
            return InheritedEndpoint(None)
        if rest.isdecimal():
            return InheritedEndpoint(int(rest))
    raise EndpointError(f"invalid bind address format: {text}")


def _tcp(rest: str, default_port: int, text: str) -> TcpEndpoint:
    if "/" in rest or "@" in rest or "?" in rest:
        raise EndpointError(f"invalid bind address format: {text}")
    if rest.startswith("["):
        address, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise EndpointError(f"invalid bind address format: {text}")
        port = port[1:]
    else:
        address, _, port = rest.partition(":")
    if port and not (port.isdecimal() and 0 <= int(port) < 65536):
        raise EndpointError(f"invalid bind address format: {text}")
    return TcpEndpoint(address or "localhost", int(port) if port else default_port)
