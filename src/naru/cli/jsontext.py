"""JSON without the cost of importing `json`, which pulls in `re` and `enum`: 6 ms of 30.

The C scanner and encoder that `json` itself uses are driven directly; should an interpreter
lack them, `json` takes over.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SPACE = " \t\r\n"

try:
    from _json import encode_basestring, make_encoder, make_scanner
except ImportError:  # another interpreter than CPython
    import json

    def loads(text: str | bytes) -> Any:
        return json.loads(text)

    def quote(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)
else:

    class _Context:
        """What the C scanner reads its settings from."""

        strict = False
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own cache of member names

        @staticmethod
        def parse_constant(name: str) -> float:
            return float(name.replace("Infinity", "inf"))

    _scan: Callable[[str, int], tuple[Any, int]] = make_scanner(_Context)  # type: ignore[arg-type]
    del make_encoder
    quote: Callable[[str], str] = encode_basestring  # type: ignore[no-redef]

    def loads(text: str | bytes) -> Any:
        """The value of a JSON document; ValueError when it is not one."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        text = text.strip(_SPACE)
        try:
            return _scan(text, 0)[0]
        except StopIteration as end:
            raise ValueError(f"unexpected end of JSON input at {end.value}") from None


def dumps(value: Any, *, html: bool = False, sort: bool = False) -> str:
    """Compact JSON; `html` escapes &, < and > as Go's encoder does, `sort` orders members."""
    text = "".join(_parts(value, sort))
    return escape_html(text) if html else text


def _parts(value: Any, sort: bool) -> list[str]:
    if value is None:
        return ["null"]
    if value is True:
        return ["true"]
    if value is False:
        return ["false"]
    if isinstance(value, str):
        return [quote(value)]
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, float):
        return [str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)]
    parts: list[str] = []
    if isinstance(value, dict):
        for key in sorted(value) if sort else value:
            parts += (",", quote(str(key)), ":", *_parts(value[key], sort))
        return ["{", *parts[1:], "}"]
    for item in value:
        parts += (",", *_parts(item, sort))
    return ["[", *parts[1:], "]"]


def indent(text: str, unit: str = "    ") -> str:
    """A JSON text laid out on lines, its literals kept byte for byte as they came."""
    out: list[str] = []
    depth = 0
    at = 0
    end = len(text)
    while at < end:
        char = text[at]
        if char == '"':
            close = at + 1
            while text[close] != '"':
                close += 2 if text[close] == "\\" else 1
            out.append(text[at : close + 1])
            at = close + 1
            continue
        at += 1
        if char in "{[":
            while text[at] in _SPACE:
                at += 1
            if text[at] in "}]":
                out.append(char + text[at])
                at += 1
            else:
                depth += 1
                out.append(char + "\n" + unit * depth)
        elif char in "}]":
            depth -= 1
            out.append("\n" + unit * depth + char)
        elif char == ",":
            out.append(",\n" + unit * depth)
        elif char == ":":
            out.append(": ")
        elif char not in _SPACE:
            out.append(char)
    return "".join(out)


def compact(text: str) -> str:
    """A JSON text without the space between its literals, which stay as they came."""
    out: list[str] = []
    at = 0
    while (start := text.find('"', at)) >= 0:
        out.append("".join(text[at:start].split()))
        end = start + 1
        while text[end] != '"':
            end += 2 if text[end] == "\\" else 1
        at = end + 1
        out.append(text[start:at])
    out.append("".join(text[at:].split()))
    return "".join(out)


def escape_html(text: str) -> str:
    """A JSON text as Go's encoder writes it, in which no string can end a script element."""
    for char in "&<>\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
