"""JSON at the border: bytes to typed, frozen structs, with errors that name the field."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from naru.spec.errors import InvalidParameter
from naru.spec.jsonfit import fit

T = TypeVar("T")

_PATH = re.compile(r"^(?P<what>.*?) - at `(?P<path>[^`]*)`$", re.DOTALL)
_TYPE_NAMES = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


def decode(body: bytes, shape: type[T]) -> T:
    """Read a JSON document as `shape`; raise `InvalidParameter` naming the bad field."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidParameter(f"invalid JSON: {error}") from error
    return convert(document, shape)


def convert(document: Any, shape: type[T]) -> T:
    """Check an already parsed JSON value against `shape`."""
    try:
        return msgspec.convert(fit(shape)(document), shape)
    except msgspec.ValidationError as error:
        raise InvalidParameter(_named(str(error))) from error


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _named(message: str) -> str:
    """msgspec's "Expected `str`, got `int` - at `$.HostConfig.NetworkMode`", in Naru's form."""
    found = _PATH.match(message)
    what, path = (
        (found["what"], found["path"].removeprefix("$").lstrip(".")) if found else (message, "")
    )
    what = re.sub(r"`(\w+)( \| null)?`", lambda m: _TYPE_NAMES.get(m[1], m[1]), what)
    what = what[:1].lower() + what[1:]
    return f"{path}: {what}" if path else f"request body: {what}"
