from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from naru.network import dns


def query(name: str, kind: int, number: int = 7) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return (
        struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)
    )


def test_a_question_is_read_in_lower_case() -> None:
    asked = dns.question(query("Web.Front", dns.A))
    assert asked is not None
    assert (asked.number, asked.name, asked.kind) == (7, "web.front", dns.A)


def test_addresses_of_the_family_asked_for() -> None:
    asked = dns.question(query("web", dns.A))
    assert asked is not None
    reply = dns.addresses(asked, [ip_address("10.0.0.2"), ip_address("fd00::2")])
    number, flags, questions, answers, _, _ = struct.unpack_from(">HHHHHH", reply)
    assert (number, questions, answers) == (7, 1, 1)
    assert flags & 0x8000
    assert flags & 0xF == dns.NO_ERROR
    assert reply.endswith(b"\x00\x04\x0a\x00\x00\x02")


def test_no_address_of_the_family_is_no_error() -> None:
    asked = dns.question(query("web", dns.AAAA))
    assert asked is not None
    reply = dns.addresses(asked, [ip_address("10.0.0.2")])
    assert struct.unpack_from(">HH", reply, 4) == (1, 0)
    assert reply[3] & 0xF == dns.NO_ERROR


def test_reversed_addresses() -> None:
    assert dns.reversed_address("2.0.17.172.in-addr.arpa") == ip_address("172.17.0.2")
    six = ip_address("fd00::2")
    assert dns.reversed_address(six.reverse_pointer) == six
    assert dns.reversed_address("x.in-addr.arpa") is None
    assert dns.reversed_address("example.org") is None


def test_answers_and_other_messages_are_no_questions() -> None:
    message = bytearray(query("web", dns.A))
    message[2] |= 0x80
    assert dns.question(bytes(message)) is None
    assert dns.question(query("web", dns.A)[:-1]) is None


@given(st.binary(max_size=100))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    dns.question(data)
