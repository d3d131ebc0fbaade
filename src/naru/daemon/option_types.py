"""The types of the daemon's options: how each reads its flag and its daemon.json value.

Both readings give the same immutable value; what does not parse raises `ValueError` with a text.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from naru.spec.errors import InvalidParameter
from naru.store.sizes import parse_size

T = TypeVar("T")

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class OptionType(Protocol):
    word: str  # the placeholder in --help
    takes_value: bool

    def from_flag(self, texts: Sequence[str]) -> Any:
        """`texts`: one for each time the flag was given."""

    def from_file(self, value: Any) -> Any: ...


class Text:
    word = "string"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> str:
        return texts[-1]

    def from_file(self, value: Any) -> str:
        return expect(value, str, "a string")


class Choice(Text):
    def __init__(self, *choices: str) -> None:
        self._choices = choices

    def from_flag(self, texts: Sequence[str]) -> str:
        return self.from_file(texts[-1])

    def from_file(self, value: Any) -> str:
        if (text := expect(value, str, "a string")) not in self._choices:
            raise ValueError(f"must be one of {', '.join(self._choices)}")
        return text


class Address(Text):
    word = "ip"

    def from_flag(self, texts: Sequence[str]) -> str:
        return self.from_file(texts[-1])

    def from_file(self, value: Any) -> str:
        return _address(expect(value, str, "a string"))


class Subnet(Address):
    """An IPv4 subnet in CIDR notation, "" for none."""

    word = "string"

    def from_file(self, value: Any) -> str:
        text = expect(value, str, "a string").strip()
        try:
            return str(ipaddress.IPv4Network(text, strict=False)) if text else ""
        except ValueError:
            raise ValueError(f"invalid CIDR address: {text}") from None


class Switch:
    word = ""
    takes_value = False

    def from_flag(self, texts: Sequence[str]) -> bool:
        if texts[-1] not in _TRUE | _FALSE:
            raise ValueError(f'strconv.ParseBool: parsing "{texts[-1]}": invalid syntax')
        return texts[-1] in _TRUE

    def from_file(self, value: Any) -> bool:
        return expect(value, bool, "a boolean")


class Integer:
    word = "int"
    takes_value = True

    def __init__(self, *, least: int | None = None, complaint: str = "invalid value") -> None:
        self._least = least
        self._complaint = complaint

    def from_flag(self, texts: Sequence[str]) -> int:
        try:
            value = int(texts[-1], 0)
        except ValueError:
            raise ValueError(f'strconv.ParseInt: parsing "{texts[-1]}": invalid syntax') from None
        return self._bounded(value)

    def from_file(self, value: Any) -> int:
        if isinstance(value, bool):
            raise ValueError("expected an integer")
        return self._bounded(expect(value, int, "an integer"))

    def _bounded(self, value: int) -> int:
        if self._least is not None and value < self._least:
            raise ValueError(f"{self._complaint}: {value}")
        return value


class Size:
    word = "bytes"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> int:
        return self.from_file(texts[-1])

    def from_file(self, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        text = expect(value, str, "a size")
        try:
            return parse_size(text)
        except InvalidParameter as error:
            raise ValueError(str(error)) from None


class Texts:
    word = "list"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.checked(text) for text in texts)

    def from_file(self, value: Any) -> tuple[str, ...]:
        items = expect(value, list, "a list of strings")
        return tuple(self.checked(expect(item, str, "a list of strings")) for item in items)

    def checked(self, text: str) -> str:
        return text


class Addresses(Texts):
    def checked(self, text: str) -> str:
        return _address(text)


class Labels(Texts):
    def checked(self, text: str) -> str:
        if "=" not in text:
            raise ValueError(f"bad attribute format: {text}")
        return text


class Pairs:
    """`key=value`, repeated; an object in the file."""

    word = "map"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"invalid key=value pair: {text}")
            pairs[key] = value
        return pairs

    def from_file(self, value: Any) -> dict[str, str]:
        items = expect(value, dict, "an object of strings")
        return {key: expect(item, str, "an object of strings") for key, item in items.items()}


class PairTexts(Texts):
    """`key=value` strings, a list in the file too (storage-opts, exec-opts)."""

    def checked(self, text: str) -> str:
        if "=" not in text:
            raise ValueError(f"invalid key=value pair: {text}")
        return text


def go_text(value: Any) -> str:
    """How Go prints a value with %v, for messages that dockerd's users know."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(go_text(item) for item in value)}]"
    return str(value)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError(f"{text} is not an ip address") from None


def expect(value: Any, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"expected {what}")
    return value


def object_of(value: Any, what: str, shape: Mapping[str, type]) -> dict[str, Any]:
    """The members of an object, all of them known and of the right type."""
    members: dict[str, Any] = expect(value, dict, "an object")
    for name, member in members.items():
        if name not in shape:
            raise ValueError(f"{what}: {name} is not supported")
        if not isinstance(member, shape[name]) or isinstance(member, bool):
            raise ValueError(f"{what}: {name}: expected {shape[name].__name__}")
    return dict(members)
