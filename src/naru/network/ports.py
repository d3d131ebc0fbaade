"""Host ports: chosen, and held while they are published.

A port is held by a bound socket that nobody listens on: other programs then fail to bind it, as
with Docker, and a connection that no rule translates is refused. While the daemon is down only
the firewall's map element remains: the port still works, and the next daemon binds it again.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from naru.network.firewall import PortMap, Protocols
from naru.spec.errors import InternalError

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortRequest(NamedTuple):
    """What to publish; host ports `first`..`last`, 0..0 for any free one."""

    protocol: Protocols
    host_ip: str
    first: int
    last: int
    container_ip: str
    container_port: int


class HostPorts:
    """The ports this daemon holds, by container; for one thread."""

    def __init__(self) -> None:
        self._held: dict[str, list[tuple[PortMap, socket.socket | None]]] = {}
        self._next_ephemeral = 0

    def hold(self, owner: str, requests: Sequence[PortRequest]) -> list[PortMap]:
        """Bind a port for each request, all or none. The same port for both IP families.

        `InternalError` has Docker's text, without what it puts in front.
        """
        taken: list[tuple[PortMap, socket.socket | None]] = []
        chosen: dict[tuple[str, int, int, int], int] = {}
        try:
            for request in requests:
                # 0.0.0.0 and [::] of one published port get the same number.
                same = (request.protocol, request.container_port, request.first, request.last)
                wanted = chosen.get(same) if ip_address(request.host_ip).is_unspecified else None
                port, bound = self._bind(request, wanted)
                if ip_address(request.host_ip).is_unspecified and wanted is None:
                    chosen[same] = port
                elif wanted is not None:
                    del chosen[same]
                taken.append((_map(request, port), bound))
        except BaseException:
            for _, held in taken:
                if held is not None:
                    held.close()
            raise
        self._held.setdefault(owner, []).extend(taken)
        return [held for held, _ in taken]

    def hold_again(self, owner: str, maps: Iterable[PortMap]) -> list[PortMap]:
        """After a restart -> those that another program has bound meanwhile.

        They stay published: the translation comes before the other program's socket.
        """
        lost = []
        for held in maps:
            bound: socket.socket | None = None
            try:
                bound = _bound(held.protocol, held.host_ip, held.host_port)
            except OSError:
                lost.append(held)
            self._held.setdefault(owner, []).append((held, bound))
        return lost

    def release(self, owner: str, maps: Iterable[PortMap] | None = None) -> None:
        """Let go of the owner's ports: those of `maps`, or all."""
        gone = None if maps is None else set(maps)
        kept = []
        for held, bound in self._held.pop(owner, []):
            if gone is not None and held not in gone:
                kept.append((held, bound))
            elif bound is not None:
                bound.close()
        if kept:
            self._held[owner] = kept

    def close(self) -> None:
        for owner in list(self._held):
            self.release(owner)

    def _bind(self, request: PortRequest, wanted: int | None) -> tuple[int, socket.socket]:
        if wanted is not None:
            candidates: Iterable[int] = [wanted]
        elif request.first == 0:
            candidates = self._ephemeral()
        else:
            candidates = range(request.first, request.last + 1)
        failure: OSError | None = None
        for port in candidates:
            try:
                bound = _bound(request.protocol, request.host_ip, port)
            except OSError as error:
                failure = error
                if error.errno != errno.EADDRINUSE:
                    break
                continue
            if request.first == 0:
                self._next_ephemeral = port + 1
            return port, bound
        raise self._refusal(request, wanted or request.first, failure) from failure

    def _refusal(self, request: PortRequest, port: int, failure: OSError | None) -> InternalError:
        host = f"[{request.host_ip}]" if ":" in request.host_ip else request.host_ip
        if failure is not None and failure.errno != errno.EADDRINUSE:
            reason = (failure.strerror or str(failure)).lower()
            if failure.errno == errno.EADDRNOTAVAIL:
                reason = "cannot assign requested address"
            return InternalError(
                f"failed to bind host port {host}:{port}/{request.protocol}: {reason}"
            )
        if request.first != request.last or request.first == 0:
            return InternalError(f"Bind for {host}:{port} failed: all ports are allocated")
        if any(
            held.protocol == request.protocol and held.host_port == port
            for owned in self._held.values()
            for held, _ in owned
        ):
            return InternalError(f"Bind for {host}:{port} failed: port is already allocated")
        return InternalError(
            f"failed to bind host port {host}:{port}/{request.protocol}: address already in use"
        )

    def _ephemeral(self) -> Iterable[int]:
        low, high = (int(word) for word in _EPHEMERAL.read_text().split())
        start = self._next_ephemeral if low <= self._next_ephemeral <= high else low
        return [*range(start, high + 1), *range(low, start)]


def _bound(protocol: str, host_ip: str, port: int) -> socket.socket:
    address = ip_address(host_ip)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    bound = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if address.version == 6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Ignore what is left of closed connections (TIME_WAIT), then hold in earnest: with
            # the flag cleared no other program can listen on the port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host_ip, port))
        if protocol == "tcp":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        else:
            # Nothing should arrive; what does is not kept.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    except BaseException:
        bound.close()
        raise
    return bound


def _map(request: PortRequest, port: int) -> PortMap:
    return PortMap(
        protocol=request.protocol,
        host_ip=request.host_ip,
        host_port=port,
        container_ip=request.container_ip,
        container_port=request.container_port,
    )
