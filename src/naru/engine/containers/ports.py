"""Port numbers and protocols as containers name them: `80/tcp`, `8000-8010/udp`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from naru.spec.containers import PortBinding
from naru.spec.errors import InvalidParameter

_PROTOCOLS = ("tcp", "udp", "sctp")


def split(port: str) -> tuple[str, str]:
    """ "80/tcp" -> ("80", "tcp"); the protocol is tcp when it is not said."""
    number, _, protocol = port.partition("/")
    return number, protocol.lower() or "tcp"


def number_of(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise InvalidParameter(f'invalid port specification: "{text}"')
    return int(text)


def check_exposed(ports: Mapping[str, Any]) -> None:
    for port in ports:
        number, protocol = split(port)
        first, dash, last = number.partition("-")
        if number_of(first) == 0 or protocol not in _PROTOCOLS:
            raise InvalidParameter(f'invalid port specification: "{port}"')
        if dash and number_of(last) < number_of(first):
            raise InvalidParameter(f'invalid port specification: "{port}"')


def check_bindings(bindings: Mapping[str, Sequence[PortBinding] | None]) -> None:
    """Keys are single container ports; host ports may be "", one port or a range."""
    for port, hosts in bindings.items():
        number, protocol = split(port)
        if number_of(number) == 0 or protocol not in _PROTOCOLS:
            raise InvalidParameter(f'invalid port specification: "{port}"')
        for host in hosts or ():
            first, dash, last = split(host.host_port)[0].partition("-")
            if first:
                number_of(first)
            if dash and (not first or number_of(last) < number_of(first)):
                raise InvalidParameter(f'invalid port specification: "{host.host_port}"')


def normalized(
    bindings: Mapping[str, Sequence[PortBinding] | None],
) -> dict[str, list[PortBinding] | None]:
    """Every key with its protocol; a port without any host binding gets one that says "any"."""
    named: dict[str, list[PortBinding] | None] = {}
    for port, hosts in bindings.items():
        key = "/".join(split(port))
        named[key] = [*(named.get(key) or []), *(hosts or [PortBinding()])]
    return named


def expanded(ports: Mapping[str, Any]) -> list[str]:
    """Exposed ports, ranges taken apart: {"80-81": {}} -> ["80/tcp", "81/tcp"]."""
    single: list[str] = []
    for port in ports:
        number, protocol = split(port)
        first, dash, last = number.partition("-")
        top = int(last) if dash else int(first)
        single.extend(f"{value}/{protocol}" for value in range(int(first), top + 1))
    return single
