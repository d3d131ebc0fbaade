"""nf_tables' expressions: what a rule tests and does, in the order in which it runs.

The names are those of nft's language. Every function returns bytes: nothing here does I/O.
"""

from __future__ import annotations

import struct

from naru.network.netlink import attribute, nested, text

NFPROTO_IPV4, NFPROTO_IPV6 = 2, 10
REG_1 = 1
ACCEPT = 1
_VERDICT = 0
_DROP, _JUMP = 0, -3


def be32(kind: int, number: int) -> bytes:
    """An attribute, as nearly all numbers of nf_tables are."""
    return attribute(kind, struct.pack(">I", number & 0xFFFFFFFF))


def value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(1, data))


def register(word: int) -> int:
    """The register that holds the `word`-th four bytes counted from REG_1."""
    return 8 + word


def _expression(name: str, *members: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *members))


_META = {"iifname": 6, "oifname": 7, "nfproto": 15, "l4proto": 16}


def meta(key: str, *, into: int = REG_1) -> bytes:
    return _expression("meta", be32(1, into), be32(2, _META[key]))


def payload(base: int, offset: int, length: int, *, into: int = REG_1) -> bytes:
    return _expression("payload", be32(1, into), be32(2, base), be32(3, offset), be32(4, length))


def ip_saddr(*, into: int = REG_1) -> bytes:
    return payload(1, 12, 4, into=into)


def ip_daddr(*, into: int = REG_1) -> bytes:
    return payload(1, 16, 4, into=into)


def ip6_saddr(*, into: int = REG_1) -> bytes:
    return payload(1, 8, 16, into=into)


def ip6_daddr(*, into: int = REG_1) -> bytes:
    return payload(1, 24, 16, into=into)


def th_dport(*, into: int = REG_1) -> bytes:
    return payload(2, 2, 2, into=into)


def equal(data: bytes, *, of: int = REG_1) -> bytes:
    return _expression("cmp", be32(1, of), be32(2, 0), value(3, data))


def unequal(data: bytes, *, of: int = REG_1) -> bytes:
    return _expression("cmp", be32(1, of), be32(2, 1), value(3, data))


def masked(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        be32(1, REG_1),
        be32(2, REG_1),
        be32(3, len(mask)),
        value(4, mask),
        value(5, bytes(len(mask))),
    )


def in_set(name: str, *, invert: bool = False) -> bytes:
    flags = [be32(5, 1)] if invert else []
    return _expression("lookup", text(1, name), be32(2, REG_1), *flags)


def looked_up(name: str) -> bytes:
    """Replace the key in REG_1 by what map `name` gives for it; no entry: the rule ends."""
    return _expression("lookup", text(1, name), be32(2, REG_1), be32(3, REG_1))


def immediate(data: bytes, *, into: int = REG_1) -> bytes:
    return _expression("immediate", be32(1, into), value(2, data))


def fib_daddr_local() -> bytes:
    """`fib daddr type local`: is the destination one of this host's own addresses."""
    lookup = _expression("fib", be32(1, REG_1), be32(2, 3), be32(3, 2))
    return lookup + equal(struct.pack("=I", 2))


def ct_state_established() -> bytes:
    state = _expression("ct", be32(1, REG_1), be32(2, 0))
    return state + masked(struct.pack("=I", 2 | 4)) + unequal(bytes(4))


def ct_status_dnat() -> bytes:
    status = _expression("ct", be32(1, REG_1), be32(2, 2))
    return status + masked(struct.pack("=I", 1 << 5)) + unequal(bytes(4))


def family_is(family: int) -> bytes:
    return meta("nfproto") + equal(bytes([family]))


def dnat(family: int, *, address: int, port: int) -> bytes:
    """Send to the address and port that the two registers hold."""
    return _expression("nat", be32(1, 1), be32(2, family), be32(3, address), be32(5, port))


def masquerade() -> bytes:
    return _expression("masq")


def _verdict(code: int, chain: str | None = None) -> bytes:
    members = [be32(1, code)]
    if chain is not None:
        members.append(text(2, chain))
    return _expression("immediate", be32(1, _VERDICT), nested(2, nested(2, *members)))


def accept() -> bytes:
    return _verdict(ACCEPT)


def drop() -> bytes:
    return _verdict(_DROP)


def jump(chain: str) -> bytes:
    return _verdict(_JUMP, chain)


def ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")
