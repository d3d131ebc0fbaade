"""nf_tables by netlink: tables, chains, rules, sets and the expressions that rules are made of.

Written for the few shapes that Naru needs; `nft` is not run. The names of the expression functions
are those of nft's language, and every function returns bytes or a `Message`: nothing here does I/O
but `Transactions`.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from naru.network.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    Message,
    NetlinkSocket,
    attribute,
    attributes,
    nested,
    text,
    walk,
)

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11
_NEWTABLE, _DELTABLE = 0, 2
_NEWCHAIN, _GETCHAIN = 3, 4
_NEWRULE, _DELRULE = 6, 8
_NEWSET = 9
_NEWELEMENT, _GETELEMENT, _DELELEMENT = 12, 13, 14

INET, IPV4 = 1, 2  # NFPROTO_INET, NFPROTO_IPV4
NFPROTO_IPV4, NFPROTO_IPV6 = 2, 10
PREROUTING, FORWARD, OUTPUT, POSTROUTING = 0, 2, 3, 4

SET_INTERVAL, SET_MAP, SET_CONCAT = 0x4, 0x8, 0x80
_ELEMENT_INTERVAL_END = 0x1

# nft's numbers of data types, so that `nft list` prints the sets as they are meant.
IPV4_ADDR, IPV6_ADDR, INET_PROTO, INET_SERVICE, IFNAME = 7, 8, 12, 13, 41

REG_1 = 1
_VERDICT = 0
_DROP, _ACCEPT, _JUMP = 0, 1, -3


class Element(NamedTuple):
    key: bytes
    data: bytes = b""
    end: bool = False  # the first key after an interval


def concatenated(*types: int) -> int:
    """The type of `a . b . c`: six bits for each."""
    number = 0
    for kind in types:
        number = number << 6 | kind
    return number


def register(word: int) -> int:
    """The register that holds the `word`-th four bytes counted from REG_1."""
    return 8 + word


# -- expressions: what a rule tests and does, in the order in which it runs ---------------------


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _expression(name: str, *members: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *members))


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(1, data))


_META = {"iifname": 6, "oifname": 7, "nfproto": 15, "l4proto": 16}


def meta(key: str, *, into: int = REG_1) -> bytes:
    return _expression("meta", _be32(1, into), _be32(2, _META[key]))


def payload(base: int, offset: int, length: int, *, into: int = REG_1) -> bytes:
    return _expression(
        "payload", _be32(1, into), _be32(2, base), _be32(3, offset), _be32(4, length)
    )


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
    return _expression("cmp", _be32(1, of), _be32(2, 0), _value(3, data))


def unequal(data: bytes, *, of: int = REG_1) -> bytes:
    return _expression("cmp", _be32(1, of), _be32(2, 1), _value(3, data))


def masked(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        _be32(1, REG_1),
        _be32(2, REG_1),
        _be32(3, len(mask)),
        _value(4, mask),
        _value(5, bytes(len(mask))),
    )


def in_set(name: str, *, invert: bool = False) -> bytes:
    flags = [_be32(5, 1)] if invert else []
    return _expression("lookup", text(1, name), _be32(2, REG_1), *flags)


def looked_up(name: str) -> bytes:
    """Replace the key in REG_1 by what map `name` gives for it; no entry: the rule ends."""
    return _expression("lookup", text(1, name), _be32(2, REG_1), _be32(3, REG_1))


def immediate(data: bytes, *, into: int = REG_1) -> bytes:
    return _expression("immediate", _be32(1, into), _value(2, data))


def fib_daddr_local() -> bytes:
    """`fib daddr type local`: is the destination one of this host's own addresses."""
    lookup = _expression("fib", _be32(1, REG_1), _be32(2, 3), _be32(3, 2))
    return lookup + equal(struct.pack("=I", 2))


def ct_state_established() -> bytes:
    state = _expression("ct", _be32(1, REG_1), _be32(2, 0))
    return state + masked(struct.pack("=I", 2 | 4)) + unequal(bytes(4))


def ct_status_dnat() -> bytes:
    status = _expression("ct", _be32(1, REG_1), _be32(2, 2))
    return status + masked(struct.pack("=I", 1 << 5)) + unequal(bytes(4))


def family_is(family: int) -> bytes:
    return meta("nfproto") + equal(bytes([family]))


def dnat(family: int, *, address: int, port: int) -> bytes:
    """Send to the address and port that the two registers hold."""
    return _expression("nat", _be32(1, 1), _be32(2, family), _be32(3, address), _be32(5, port))


def masquerade() -> bytes:
    return _expression("masq")


def _verdict(code: int, chain: str | None = None) -> bytes:
    members = [_be32(1, code)]
    if chain is not None:
        members.append(text(2, chain))
    return _expression("immediate", _be32(1, _VERDICT), nested(2, nested(2, *members)))


def accept() -> bytes:
    return _verdict(_ACCEPT)


def drop() -> bytes:
    return _verdict(_DROP)


def jump(chain: str) -> bytes:
    return _verdict(_JUMP, chain)


def ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


# -- tables and what is in them -----------------------------------------------------------------


class Table:
    """Messages about one table; `family` is INET or IPV4."""

    def __init__(self, family: int, name: str) -> None:
        self.family = family
        self.name = name

    def _message(self, kind: int, flags: int, *members: bytes) -> Message:
        head = struct.pack(">BBH", self.family, 0, 0)
        return Message(_SUBSYSTEM << 8 | kind, flags, head + b"".join(members))

    def add(self) -> Message:
        return self._message(_NEWTABLE, NLM_F_CREATE, text(1, self.name), _be32(2, 0))

    def delete(self) -> Message:
        return self._message(_DELTABLE, 0, text(1, self.name))

    def chain(
        self, name: str, *, hook: int | None = None, priority: int = 0, kind: str = "filter"
    ) -> Message:
        """A chain; with `hook` a base chain, whose policy is accept."""
        members = [text(1, self.name), text(3, name)]
        if hook is not None:
            members += [
                nested(4, _be32(1, hook), _be32(2, priority)),
                _be32(5, _ACCEPT),
                text(7, kind),
            ]
        return self._message(_NEWCHAIN, NLM_F_CREATE, *members)

    def flush_chain(self, name: str) -> Message:
        return self._message(_DELRULE, 0, text(1, self.name), text(2, name))

    def rule(self, chain: str, *expressions: bytes) -> Message:
        append = 0x800
        return self._message(
            _NEWRULE,
            NLM_F_CREATE | append,
            text(1, self.name),
            text(2, chain),
            nested(4, *expressions),
        )

    def set(
        self,
        name: str,
        *,
        key: Sequence[int],
        size: int,
        data: Sequence[int] = (),
        data_size: int = 0,
        flags: int = 0,
        number: int,
    ) -> Message:
        """A set, or with `data` a map. Sizes are in bytes; `number` is unique in the batch."""
        members = [text(1, self.name), text(2, name)]
        if data:
            flags |= SET_MAP
        members += [_be32(3, flags), _be32(4, concatenated(*key)), _be32(5, size)]
        if data:
            members += [_be32(6, concatenated(*data)), _be32(7, data_size)]
        members.append(_be32(10, number))
        if tuple(key) == (IFNAME,):
            # For `nft list` alone: names are in the host's byte order.
            members.append(attribute(13, struct.pack("=BBI", 0, 4, 1)))
        return self._message(_NEWSET, NLM_F_CREATE, *members)

    def add_elements(self, name: str, elements: Iterable[Element]) -> Message:
        return self._elements(_NEWELEMENT, NLM_F_CREATE, name, elements)

    def delete_elements(self, name: str, elements: Iterable[Element]) -> Message:
        bare = [Element(key=element.key, end=element.end) for element in elements]
        return self._elements(_DELELEMENT, 0, name, bare)

    def flush_set(self, name: str) -> Message:
        return self._message(_DELELEMENT, 0, text(1, self.name), text(2, name))

    def get_elements(self, name: str) -> Message:
        return self._message(_GETELEMENT, NLM_F_DUMP, text(1, self.name), text(2, name))

    def _elements(self, kind: int, flags: int, name: str, elements: Iterable[Element]) -> Message:
        members = []
        for element in elements:
            parts = [_value(1, element.key)]
            if element.data:
                parts.append(_value(2, element.data))
            if element.end:
                parts.append(_be32(3, _ELEMENT_INTERVAL_END))
            members.append(nested(1, *parts))
        return self._message(kind, flags, text(1, self.name), text(2, name), nested(3, *members))


class Transactions:
    """The nf_tables of the namespace in which this was made; one thread at a time."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(_NETLINK_NETFILTER)

    def close(self) -> None:
        self._netlink.close()

    def commit(self, *messages: Message) -> None:
        """Apply all, or nothing and raise `OSError`."""
        head = struct.pack(">BBH", 0, 0, _SUBSYSTEM)
        while True:
            try:
                self._netlink.batch(Message(_BEGIN, 0, head), messages, Message(_END, 0, head))
                return
            except OSError as error:
                # Another program changed nf_tables meanwhile; the kernel asks to send it again.
                if error.errno not in (errno.EINTR, errno.EAGAIN):
                    raise

    def elements(self, table: Table, name: str) -> list[Element]:
        found = []
        for reply in self._netlink.ask(table.get_elements(name)):
            for member, body in walk(attributes(reply.payload[4:]).get(3, b"")):
                if member != 1:
                    continue
                fields = attributes(body)
                key = attributes(fields[1]).get(1, b"")
                data = attributes(fields[2]).get(1, b"") if 2 in fields else b""
                (flags,) = struct.unpack(">I", fields.get(3, bytes(4)))
                found.append(Element(key, data, bool(flags & _ELEMENT_INTERVAL_END)))
        return found

    def dropping_forward_chains(self) -> list[str]:
        """Base chains of the forward hook, of any table, whose policy is drop: "filter FORWARD"."""
        head = struct.pack(">BBH", 0, 0, 0)
        dump = Message(_SUBSYSTEM << 8 | _GETCHAIN, NLM_F_DUMP, head)
        found = []
        for reply in self._netlink.ask(dump):
            fields = attributes(reply.payload[4:])
            if 4 not in fields or 5 not in fields:
                continue
            hook = attributes(fields[4]).get(1, b"")
            if hook == struct.pack(">I", FORWARD) and fields[5] == bytes(4):
                names = (fields[1], fields[3])
                found.append(" ".join(name.rstrip(b"\0").decode() for name in names))
        return found
