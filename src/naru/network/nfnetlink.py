"""nf_tables by netlink: tables, chains, rules and sets.

Written for the few shapes that Naru needs; `nft` is not run. Everything returns bytes or a
`Message`: nothing here does I/O but `Transactions`. What rules are made of is in `nf_expressions`.
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
from naru.network.nf_expressions import ACCEPT, be32, value

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11
_NEWTABLE, _DELTABLE = 0, 2
_NEWCHAIN, _GETCHAIN = 3, 4
_NEWRULE, _DELRULE = 6, 8
_NEWSET = 9
_NEWELEMENT, _GETELEMENT, _DELELEMENT = 12, 13, 14

INET, IPV4 = 1, 2  # NFPROTO_INET, NFPROTO_IPV4
PREROUTING, FORWARD, OUTPUT, POSTROUTING = 0, 2, 3, 4

SET_INTERVAL, SET_MAP, SET_CONCAT = 0x4, 0x8, 0x80
_ELEMENT_INTERVAL_END = 0x1

# nft's numbers of data types, so that `nft list` prints the sets as they are meant.
IPV4_ADDR, IPV6_ADDR, INET_PROTO, INET_SERVICE, IFNAME = 7, 8, 12, 13, 41


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


class Table:
    """Messages about one table; `family` is INET or IPV4."""

    def __init__(self, family: int, name: str) -> None:
        self.family = family
        self.name = name

    def _message(self, kind: int, flags: int, *members: bytes) -> Message:
        head = struct.pack(">BBH", self.family, 0, 0)
        return Message(_SUBSYSTEM << 8 | kind, flags, head + b"".join(members))

    def add(self) -> Message:
        return self._message(_NEWTABLE, NLM_F_CREATE, text(1, self.name), be32(2, 0))

    def delete(self) -> Message:
        return self._message(_DELTABLE, 0, text(1, self.name))

    def chain(
        self, name: str, *, hook: int | None = None, priority: int = 0, kind: str = "filter"
    ) -> Message:
        """A chain; with `hook` a base chain, whose policy is accept."""
        members = [text(1, self.name), text(3, name)]
        if hook is not None:
            members += [
                nested(4, be32(1, hook), be32(2, priority)),
                be32(5, ACCEPT),
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
        members += [be32(3, flags), be32(4, concatenated(*key)), be32(5, size)]
        if data:
            members += [be32(6, concatenated(*data)), be32(7, data_size)]
        members.append(be32(10, number))
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
            parts = [value(1, element.key)]
            if element.data:
                parts.append(value(2, element.data))
            if element.end:
                parts.append(be32(3, _ELEMENT_INTERVAL_END))
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
