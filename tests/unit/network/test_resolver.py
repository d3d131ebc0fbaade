from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from tests.unit.network.test_dns import query

from naru.network import dns
from naru.network.resolver import Resolver


class Names:
    def addresses(self, name: str) -> Sequence[IPv4Address | IPv6Address] | None:
        return [IPv4Address("10.0.0.2")] if name == "web" else None

    def name_of(self, address: IPv4Address | IPv6Address) -> str | None:
        return "web.front" if address == ip_address("10.0.0.2") else None


def resolver() -> Resolver:
    return Resolver(names=Names(), servers=lambda: ())


async def test_known_names_are_answered_and_others_are_not() -> None:
    assert b"\x0a\0\0\x02" in (resolver().answer(query("web", dns.A)) or b"")
    assert resolver().answer(query("web", dns.AAAA)) is not None
    assert resolver().answer(query("example.org", dns.A)) is None
    assert resolver().answer(query("web", 16)) is None


async def test_addresses_have_names() -> None:
    assert b"\x03web\x05front" in (
        resolver().answer(query("2.0.0.10.in-addr.arpa", dns.PTR)) or b""
    )


async def test_without_name_servers_what_is_unknown_fails_at_once() -> None:
    reply = await resolver()._forwarded(query("example.org", dns.A), _never)
    assert reply is not None
    assert reply[3] & 0xF == dns.SERVER_FAILURE


async def _never(server: str, data: bytes) -> bytes:
    raise AssertionError("nobody to ask")
