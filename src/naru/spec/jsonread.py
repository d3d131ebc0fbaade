"""JSON at the border: bytes to typed, frozen structs, with errors that name the field.

Go's decoder treats `null` as "leave the zero value" and clients rely on it, so nulls are dropped
before the types are checked.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from naru.spec.errors import InvalidParameter

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
        return msgspec.convert(without_nulls(document), shape)
    except msgspec.ValidationError as error:
        raise InvalidParameter(_named(str(error))) from error


def without_nulls(value: Any) -> Any:
    """Drop object members whose value is null, at every depth; nulls in arrays stay."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


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
