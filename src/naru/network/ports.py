"""Host ports: chosen, and held while they are published.

A port is held by a bound socket that nobody listens on: other programs then fail to bind it, as
with Docker, and a connection that no rule translates is refused. While the daemon is down only
the firewall's map element remains: the port still works, and the next daemon binds it again.
What the daemon holds itself it knows by a table, and asks the kernel about others alone.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
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


class _Held(NamedTuple):
    """`socket` is None where another program has bound the port since."""

    map: PortMap
    socket: socket.socket | None


class HostPorts:
    """The ports this daemon holds, by container; for one thread."""

    def __init__(self) -> None:
        self._held: dict[str, list[_Held]] = {}
        self._taken: dict[tuple[str, int], list[IPv4Address | IPv6Address]] = {}
        self._next_ephemeral = 0

    def hold(self, owner: str, requests: Sequence[PortRequest]) -> list[PortMap]:
        """Bind a port for each request, all or none. The same port for both IP families.

        `InternalError` has Docker's text, without what it puts in front.
        """
        fresh: list[_Held] = []
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
                held = _Held(_map(request, port), bound)
                fresh.append(held)
                self._take(held.map)
        except BaseException:
            for held in fresh:
                self._let_go(held)
            raise
        self._held.setdefault(owner, []).extend(fresh)
        return [held.map for held in fresh]

    def exchange(self, owner: str, requests: Sequence[PortRequest]) -> list[PortMap]:
        """Hold these instead of all that `owner` has; what serves both stays, with its number.

        All or none, as `hold`.
        """
        before = self._held.pop(owner, [])
        kept: list[tuple[int, _Held]] = []
        wanted: list[tuple[int, PortRequest]] = []
        left = list(before)
        for place, request in enumerate(requests):
            same = next((held for held in left if _serves(held.map, request)), None)
            if same is None:
                wanted.append((place, request))
            else:
                left.remove(same)
                kept.append((place, _Held(_map(request, same.map.host_port), same.socket)))
        for held in left:  # first: one may be in the way of what is wanted
            self._let_go(held)
        try:
            maps = self.hold(owner, [request for _, request in wanted])
        except BaseException:
            self._held[owner] = [held for held in before if held not in left]
            self.hold_again(owner, [held.map for held in left])
            raise
        self._held.setdefault(owner, []).extend(held for _, held in kept)
        found = {place: held.map for place, held in kept}
        found.update(zip((place for place, _ in wanted), maps, strict=True))
        return [found[place] for place in range(len(requests))]

    def hold_again(self, owner: str, maps: Iterable[PortMap]) -> list[PortMap]:
        """After a restart -> those that another program has bound meanwhile.

        They stay published: the translation comes before the other program's socket.
        """
        lost = []
        for wanted in maps:
            bound: socket.socket | None = None
            try:
                bound = _bound(wanted.protocol, wanted.host_ip, wanted.host_port)
            except OSError:
                lost.append(wanted)
            self._take(wanted)
            self._held.setdefault(owner, []).append(_Held(wanted, bound))
        return lost

    def release(self, owner: str, maps: Iterable[PortMap] | None = None) -> None:
        """Let go of the owner's ports: those of `maps`, or all."""
        gone = None if maps is None else set(maps)
        kept = []
        for held in self._held.pop(owner, []):
            if gone is not None and held.map not in gone:
                kept.append(held)
            else:
                self._let_go(held)
        if kept:
            self._held[owner] = kept

    def close(self) -> None:
        for owner in list(self._held):
            self.release(owner)

    def _take(self, taken: PortMap) -> None:
        key = (taken.protocol, taken.host_port)
        self._taken.setdefault(key, []).append(ip_address(taken.host_ip))

    def _let_go(self, held: _Held) -> None:
        key = (held.map.protocol, held.map.host_port)
        self._taken[key].remove(ip_address(held.map.host_ip))
        if not self._taken[key]:
            del self._taken[key]
        if held.socket is not None:
            held.socket.close()

    def _is_taken(self, request: PortRequest, port: int) -> bool:
        """All addresses of a family overlap each of that family."""
        asked = ip_address(request.host_ip)
        return any(
            other.version == asked.version
            and (other == asked or other.is_unspecified or asked.is_unspecified)
            for other in self._taken.get((request.protocol, port), ())
        )

    def _bind(self, request: PortRequest, wanted: int | None) -> tuple[int, socket.socket]:
        if wanted is not None:
            candidates: Iterable[int] = [wanted]
        elif request.first == 0:
            candidates = self._ephemeral()
        else:
            candidates = range(request.first, request.last + 1)
        failure: OSError | None = None
        for port in candidates:
            if self._is_taken(request, port):
                continue
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
        raise _refusal(request, wanted or request.first, failure) from failure

    def _ephemeral(self) -> Iterable[int]:
        low, high = (int(word) for word in _EPHEMERAL.read_text().split())
        start = self._next_ephemeral if low <= self._next_ephemeral <= high else low
        return [*range(start, high + 1), *range(low, start)]


def _refusal(request: PortRequest, port: int, failure: OSError | None) -> InternalError:
    """Docker's text. `failure` is the kernel's last one; None: the ports are this daemon's."""
    host = f"[{request.host_ip}]" if ":" in request.host_ip else request.host_ip
    if failure is not None and failure.errno != errno.EADDRINUSE:
        reason = (failure.strerror or str(failure)).lower()
        if failure.errno == errno.EADDRNOTAVAIL:
            reason = "cannot assign requested address"
        return InternalError(f"failed to bind host port {host}:{port}/{request.protocol}: {reason}")
    if request.first != request.last or request.first == 0:
        return InternalError(f"Bind for {host}:{port} failed: all ports are allocated")
    if failure is None:
        return InternalError(f"Bind for {host}:{port} failed: port is already allocated")
    return InternalError(
        f"failed to bind host port {host}:{port}/{request.protocol}: address already in use"
    )


def _serves(held: PortMap, request: PortRequest) -> bool:
    return (
        held.protocol == request.protocol
        and held.host_ip == request.host_ip
        and held.container_port == request.container_port
        and (request.first == 0 or request.first <= held.host_port <= request.last)
    )


def _bound(protocol: str, host_ip: str, port: int) -> socket.socket:
    """A socket that keeps others from the port; `OSError` when somebody listens there."""
    address = ip_address(host_ip)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    bound = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if address.version == 6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "udp":
            bound.bind((host_ip, port))
            # Nothing should arrive; what does is not kept.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            return bound
        # Ignore what is left of closed connections (TIME_WAIT), then hold in earnest: with the
        # flag cleared no other program can listen on the port.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host_ip, port))
        # An older kernel (seen: 6.1) lets whoever sets the flag bind the port as well, as long as
        # all that were bound to it had set it and none has listened: so this one has listened.
        bound.listen(0)
        bound.shutdown(socket.SHUT_RD)  # the port stays bound, connections are refused again
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
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
