"""DNS messages as far as the embedded server needs them: read a question, write answers. Pure.

Everything else is forwarded as the bytes it is (RFC 1035).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

A, PTR, AAAA = 1, 12, 28
NO_ERROR, SERVER_FAILURE = 0, 2
_IN = 1
_TTL = 600
_HEADER = struct.Struct(">HHHHHH")
_RESPONSE, _AUTHORITATIVE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x400, 0x100, 0x80
_POINTER_TO_QUESTION = b"\xc0\x0c"


class Question(NamedTuple):
    """A query with one question of class IN."""

    number: int
    flags: int
    name: str  # lower case, without the last dot
    kind: int
    section: bytes  # the question as it came


def question(message: bytes) -> Question | None:
    """The question, or None for what is not a plain query."""
    if len(message) < _HEADER.size:
        return None
    number, flags, count, *_ = _HEADER.unpack_from(message)
    if flags & (_RESPONSE | 0x7800) or count != 1:
        return None
    labels = []
    offset = _HEADER.size
    while True:
        if offset >= len(message):
            return None
        length = message[offset]
        offset += 1
        if length == 0:
            break
        if length > 63 or offset + length > len(message):
            return None
        labels.append(message[offset : offset + length].decode("ascii", "replace"))
        offset += length
    if offset + 4 > len(message):
        return None
    kind, group = struct.unpack_from(">HH", message, offset)
    if group != _IN:
        return None
    section = message[_HEADER.size : offset + 4]
    return Question(number, flags, ".".join(labels).lower(), kind, section)


def addresses(asked: Question, found: Sequence[IPv4Address | IPv6Address]) -> bytes:
    """The answer with the addresses of the family asked for; none is "no such data"."""
    version = 4 if asked.kind == A else 6
    records = [
        _record(asked.kind, address.packed) for address in found if address.version == version
    ]
    return _answer(asked, NO_ERROR, records)


def pointer(asked: Question, name: str) -> bytes:
    data = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return _answer(asked, NO_ERROR, [_record(PTR, data)])


def failure(asked: Question, code: int) -> bytes:
    return _answer(asked, code, [])


def reversed_address(name: str) -> IPv4Address | IPv6Address | None:
    """The address that a PTR question is about: "2.0.17.172.in-addr.arpa" -> 172.17.0.2."""
    try:
        if name.endswith(".in-addr.arpa"):
            return ip_address(".".join(reversed(name.removesuffix(".in-addr.arpa").split("."))))
        if name.endswith(".ip6.arpa"):
            digits = "".join(reversed(name.removesuffix(".ip6.arpa").split(".")))
            if len(digits) == 32:
                return IPv6Address(int(digits, 16))
    except ValueError:
        pass
    return None


def _record(kind: int, data: bytes) -> bytes:
    return _POINTER_TO_QUESTION + struct.pack(">HHIH", kind, _IN, _TTL, len(data)) + data


def _answer(asked: Question, code: int, records: Sequence[bytes]) -> bytes:
    flags = (
        _RESPONSE
        | (asked.flags & _RECURSION_DESIRED)
        | _RECURSION_AVAILABLE
        | (_AUTHORITATIVE if records else 0)
        | code
    )
    head = _HEADER.pack(asked.number, flags, 1, len(records), 0, 0)
    return head + asked.section + b"".join(records)
