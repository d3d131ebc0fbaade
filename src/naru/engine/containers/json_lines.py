"""The json-file log driver's lines, byte for byte as dockerd writes them; pure.

`{"log":"text\\n","stream":"stdout","attrs":{...},"time":"2026-01-01T00:00:00.123456789Z"}`. A line
of output longer than 16 KiB becomes several entries, of which only the last ends in a newline.

Encoding works on whole chunks of output, not on lines: a line costs one replacement in C.
"""

from __future__ import annotations

import codecs
import time
from typing import Final, NamedTuple

import msgspec

PARTIAL: Final = 16 * 1024
"""Bytes of an unfinished line that become an entry of their own."""

_PLAIN_ASCII: Final = bytes(set(range(0x20, 0x80)) - set(b'\\"<>&'))
_NEEDS_NO_ESCAPE: Final = _PLAIN_ASCII + b"\n" + bytes(range(0x80, 0x100))


def _replacement(error: UnicodeError) -> tuple[str, int]:
    # Go puts one U+FFFD for each byte that is no UTF-8; Python's own handler one for several.
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("one-replacement-per-byte", _replacement)


class Encoded(NamedTuple):
    lines: bytes  # complete JSON lines
    consumed: int  # bytes of the output that they hold
    entries: int


def encode(output: bytes, *, stream: str, at: int, attrs: bytes = b"", final: bool) -> Encoded:
    """Encode what is complete at the beginning of `output`; all of it if it is `final`.

    `at`: ns since the epoch; `attrs`: a JSON object or nothing. The division into entries depends
    on the bytes alone, so that work interrupted in the middle can be repeated exactly.
    """
    opening = b'{"log":"'
    attrs_member = b',"attrs":' + attrs if attrs else b""
    closing = b'","stream":"%b"%b,"time":"%b"}\n' % (
        stream.encode(),
        attrs_member,
        format_time(at).encode(),
    )
    whole = output.rfind(b"\n") + 1
    lines: list[bytes] = []
    entries = 0
    if whole:
        for text in _without_long_lines(output, whole):
            newlines = text.count(b"\n")
            if newlines:
                body = _escaped(text).replace(b"\n", b"\\n" + closing + opening)
                lines.append(opening + body[: len(body) - len(opening)])
                entries += newlines
            else:
                lines.append(opening + _escaped(text) + closing)
                entries += 1
    at_byte = whole
    while (size := _partial_size(output, at_byte, len(output), final=final)) > 0:
        lines.append(opening + _escaped(output[at_byte : at_byte + size]) + closing)
        entries += 1
        at_byte += size
    return Encoded(b"".join(lines), at_byte, entries)


def _without_long_lines(output: bytes, end: int) -> list[bytes]:
    """Cut `output[:end]`, whole lines, into runs of short lines and the pieces of long ones."""
    runs: list[bytes] = []
    begin = at = 0
    while at < end:
        newline = output.rfind(b"\n", at, min(at + PARTIAL, end))
        if newline >= 0:
            at = newline + 1
            continue
        if at > begin:
            runs.append(output[begin:at])
        size = _char_boundary(output, at, PARTIAL)
        runs.append(output[at : at + size])
        at += size
        begin = at
    if end > begin:
        runs.append(output[begin:end])
    return runs


def _partial_size(output: bytes, at: int, end: int, *, final: bool) -> int:
    if end - at >= PARTIAL:
        return _char_boundary(output, at, PARTIAL)
    return end - at if final else 0


def _char_boundary(output: bytes, at: int, size: int) -> int:
    """At most `size`, at most 3 less: do not cut a UTF-8 character that is whole."""
    for back in range(1, 4):
        byte = output[at + size - back]
        if byte < 0x80:
            return size
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return size - back if length > back else size
    return size


def _escaped(text: bytes) -> bytes:
    """The inside of a JSON string; newlines are left as they are."""
    if text.isascii():
        return _escape_ascii(text)
    try:
        text.decode()
    except UnicodeDecodeError:
        text = text.decode("utf-8", "one-replacement-per-byte").encode()
    escaped = _escape_ascii(text)
    if b"\xe2\x80" in escaped:
        escaped = escaped.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return escaped


def _escape_ascii(text: bytes) -> bytes:
    odd = text.translate(None, _NEEDS_NO_ESCAPE)
    if b"\\" in odd:
        # First, so that the backslashes of the other escapes stay single.
        text = text.replace(b"\\", b"\\\\")
        odd = odd.translate(None, b"\\")
    while odd:
        byte = odd[:1]
        text = text.replace(byte, _ESCAPES[byte[0]])
        odd = odd.translate(None, byte)
    return text


_ESCAPES: Final = {
    **{byte: b"\\u%04x" % byte for byte in (*range(0x20), *b"<>&") if byte != 0x0A},
    ord("\r"): b"\\r",
    ord('"'): b'\\"',
    ord("\\"): b"\\\\",
}


def format_time(at: int) -> str:
    """Go's RFC3339Nano in UTC: nine digits without trailing zeros."""
    seconds, nanos = divmod(at, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{nanos:09d}".rstrip("0").rstrip(".") + "Z" if nanos else f"{text}Z"


def fixed_time(at: int) -> str:
    """The form of `docker logs --timestamps`: always nine digits; sorts as text."""
    seconds, nanos = divmod(at, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos:09d}Z"


class Entry(msgspec.Struct, frozen=True):
    """One line of the log file."""

    log: str = ""
    stream: str = ""
    time: str = ""
    attrs: dict[str, str] | None = None

    @property
    def fixed_time(self) -> str:
        """`time` with nine digits, so that two of them compare as text."""
        text = self.time.removesuffix("Z")
        seconds, _, fraction = text.partition(".")
        return f"{seconds}.{fraction:0<9}Z"


_decoder = msgspec.json.Decoder(Entry)


def decode(line: bytes) -> Entry | None:
    """None for a line that is damaged, such as one cut off by a power failure."""
    try:
        return _decoder.decode(line)
    except msgspec.MsgspecError:
        return None
