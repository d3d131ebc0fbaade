"""Netlink itself: messages, attributes, acknowledgements. Families build on it.

A socket belongs for ever to the network namespace in which it was opened, so one that was opened
inside a container configures that container from any thread.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

NLMSG_ERROR = 2
NLMSG_DONE = 3

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300

NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE = 1 << 17


class Message(NamedTuple):
    """A request: its type, its flags besides REQUEST, and all that follows the header."""

    kind: int
    flags: int
    payload: bytes


class Reply(NamedTuple):
    kind: int
    payload: bytes


def attribute(kind: int, payload: bytes) -> bytes:
    padding = -len(payload) % 4
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * padding


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def nested(kind: int, *members: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(members))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by type; of a repeated type, the last."""
    return dict(walk(data))


def walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & _NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += length + (-length % 4)


class NetlinkSocket:
    """One netlink conversation; not for use by two threads at once."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def request(self, *messages: Message) -> list[OSError | None]:
        """Send messages in one system call -> for each, its error or None, when all are done."""
        first = self._sequence + 1
        self._send(messages, NLM_F_ACK)
        outcome: list[OSError | None] = [None] * len(messages)
        missing = len(messages)
        while missing:
            for sequence, reply in self._receive():
                if reply.kind != NLMSG_ERROR or not first <= sequence < first + len(messages):
                    continue
                outcome[sequence - first] = _error(reply.payload)
                missing -= 1
        return outcome

    def call(self, *messages: Message) -> None:
        """Like `request`, raising the first error."""
        for error in self.request(*messages):
            if error is not None:
                raise error

    def ask(self, message: Message) -> list[Reply]:
        """A request whose answer is messages: a dump (flags has DUMP), or one object."""
        dump = message.flags & NLM_F_DUMP == NLM_F_DUMP
        sequence = self._sequence + 1
        self._send([message], 0 if dump else NLM_F_ACK)
        found: list[Reply] = []
        while True:
            for number, reply in self._receive():
                if number != sequence:
                    continue
                if reply.kind == NLMSG_DONE:
                    return found
                if reply.kind == NLMSG_ERROR:
                    error = _error(reply.payload)
                    if error is not None:
                        raise error
                    return found
                found.append(reply)

    def batch(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """A transaction of nfnetlink: all or nothing; raises the first error."""
        first = self._sequence + 1
        # Only the last is acknowledged: a refusal answers with errors at once, and an
        # acknowledgement for each would overflow the receive buffer of a long batch.
        every = [begin, *messages, end]
        data = bytearray()
        for message in every:
            self._sequence += 1
            flags = message.flags | NLM_F_REQUEST
            if message is messages[-1]:
                flags |= NLM_F_ACK
            data += _HEADER.pack(16 + len(message.payload), message.kind, flags, self._sequence, 0)
            data += message.payload
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(len(data) * 2, 1 << 16))
        self._socket.send(data)
        last = first + len(messages)
        while True:
            for sequence, reply in self._receive():
                if reply.kind != NLMSG_ERROR or sequence < first:
                    continue
                error = _error(reply.payload)
                if error is not None:
                    raise error
                if sequence == last:
                    return

    def _send(self, messages: Sequence[Message], flags: int) -> None:
        data = bytearray()
        for message in messages:
            self._sequence += 1
            data += _HEADER.pack(
                16 + len(message.payload),
                message.kind,
                message.flags | flags | NLM_F_REQUEST,
                self._sequence,
                0,
            )
            data += message.payload
        self._socket.send(data)

    def _receive(self) -> Iterator[tuple[int, Reply]]:
        data = self._socket.recv(_RECEIVE)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            payload = data[offset + 16 : offset + length]
            if kind == NLMSG_ERROR:
                payload = struct.pack("=H", flags) + payload
            yield sequence, Reply(kind, payload)
            offset += length + (-length % 4)


def _error(payload: bytes) -> OSError | None:
    """The error in an NLMSG_ERROR (its header's flags put in front), with the kernel's own text."""
    flags, code = struct.unpack_from("=Hi", payload)
    if code == 0:
        return None
    reason = ""
    if flags & _NLM_F_ACK_TLVS:
        skip = 2 + 4 + 16
        if not flags & _NLM_F_CAPPED:
            (length,) = struct.unpack_from("=I", payload, 6)
            skip = 2 + 4 + length + (-length % 4)
        raw = attributes(payload[skip:]).get(_NLMSGERR_ATTR_MSG, b"")
        reason = raw.rstrip(b"\0").decode(errors="replace")
    words = os.strerror(-code)
    return OSError(-code, f"{words}: {reason}" if reason else words)
