"""The types of the daemon's options: how each reads its flag and its daemon.json value.

Both readings give the same immutable value; what does not parse raises `ValueError` with a text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from naru.spec.containers import Ulimit
from naru.spec.disk import FreeSpace

T = TypeVar("T")

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgtp]?)i?b?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class AddressPool(msgspec.Struct, frozen=True):
    """Subnets of `size` bits are cut from `base` for networks created without one."""

    base: str
    size: int


class RuntimeChoice(msgspec.Struct, frozen=True):
    """An OCI runtime of `--add-runtime`."""

    name: str
    path: str
    args: tuple[str, ...] = ()


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
        return _expect(value, str, "a string")


class Choice(Text):
    def __init__(self, *choices: str) -> None:
        self._choices = choices

    def from_flag(self, texts: Sequence[str]) -> str:
        return self.from_file(texts[-1])

    def from_file(self, value: Any) -> str:
        if (text := _expect(value, str, "a string")) not in self._choices:
            raise ValueError(f"must be one of {', '.join(self._choices)}")
        return text


class Address(Text):
    word = "ip"

    def from_flag(self, texts: Sequence[str]) -> str:
        return self.from_file(texts[-1])

    def from_file(self, value: Any) -> str:
        return _address(_expect(value, str, "a string"))


class Subnet(Address):
    """An IPv4 subnet in CIDR notation, "" for none."""

    word = "string"

    def from_file(self, value: Any) -> str:
        text = _expect(value, str, "a string").strip()
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
        return _expect(value, bool, "a boolean")


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
        return self._bounded(_expect(value, int, "an integer"))

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
        text = _expect(value, str, "a size")
        found = _SIZE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"invalid size: '{text}'")
        return int(float(found["number"]) * (1 << _UNITS[found["unit"].lower()]))


class Texts:
    word = "list"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.checked(text) for text in texts)

    def from_file(self, value: Any) -> tuple[str, ...]:
        items = _expect(value, list, "a list of strings")
        return tuple(self.checked(_expect(item, str, "a list of strings")) for item in items)

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
        items = _expect(value, dict, "an object of strings")
        return {key: _expect(item, str, "an object of strings") for key, item in items.items()}


class PairTexts(Texts):
    """`key=value` strings, a list in the file too (storage-opts, exec-opts)."""

    def checked(self, text: str) -> str:
        if "=" not in text:
            raise ValueError(f"invalid key=value pair: {text}")
        return text


class Runtimes:
    word = "runtime"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> tuple[RuntimeChoice, ...]:
        runtimes = []
        for text in texts:
            name, _, path = text.partition("=")
            if not name.strip() or not path.strip():
                raise ValueError(f"invalid runtime argument: {text}")
            runtimes.append(RuntimeChoice(name.strip().lower(), path.strip()))
        return self._distinct(runtimes)

    def from_file(self, value: Any) -> tuple[RuntimeChoice, ...]:
        runtimes = []
        for name, entry in _expect(value, dict, "an object of runtimes").items():
            fields = _fields(entry, f"runtime {name}", {"path": str, "runtimeArgs": list})
            if "path" not in fields:
                raise ValueError(f"runtime {name}: path is required")
            args = tuple(
                _expect(a, str, "a list of strings") for a in fields.get("runtimeArgs", ())
            )
            runtimes.append(RuntimeChoice(name, fields["path"], args))
        return self._distinct(runtimes)

    def _distinct(self, runtimes: list[RuntimeChoice]) -> tuple[RuntimeChoice, ...]:
        seen: set[str] = set()
        for runtime in runtimes:
            if runtime.name in ("runc", "crun"):
                raise ValueError(f"runtime name '{runtime.name}' is reserved")
            if runtime.name in seen:
                raise ValueError(f"runtime '{runtime.name}' was already defined")
            seen.add(runtime.name)
        return tuple(runtimes)


class Ulimits:
    word = "ulimit"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> tuple[Ulimit, ...]:
        return tuple(self._parsed(text) for text in texts)

    def from_file(self, value: Any) -> tuple[Ulimit, ...]:
        limits = []
        entries: dict[str, Any] = _expect(value, dict, "an object of ulimits")
        for name, entry in entries.items():
            fields = _fields(entry, f"ulimit {name}", {"Name": str, "Soft": int, "Hard": int})
            soft, hard = fields.get("Soft", 0), fields.get("Hard", 0)
            limits.append(self._checked(fields.get("Name") or name, soft, hard))
        return tuple(limits)

    def _parsed(self, text: str) -> Ulimit:
        name, _, numbers = text.partition("=")
        soft, _, hard = numbers.partition(":")
        try:
            return self._checked(name, int(soft), int(hard or soft))
        except ValueError as error:
            raise ValueError(f"invalid ulimit argument: {text}: {error}") from None

    def _checked(self, name: str, soft: int, hard: int) -> Ulimit:
        if hard != -1 and (soft > hard or soft == -1):
            raise ValueError(
                f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            )
        return Ulimit(name=name, soft=soft, hard=hard)


class Free:
    """How much stays free: "2g", "5%", "5%,2g" for the lesser of the two, "0" for nothing."""

    word = "size|percent"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> FreeSpace:
        return self.from_file(texts[-1])

    def from_file(self, value: Any) -> FreeSpace:
        percent: float | None = None
        size: int | None = None
        for part in _expect(value, str, "a string").split(","):
            if (text := part.strip()).endswith("%"):
                percent = self._percent(text)
            else:
                size = Size().from_file(text)
        return FreeSpace(percent=percent, size=size)

    def _percent(self, text: str) -> float:
        try:
            value = float(text[:-1])
        except ValueError:
            value = -1
        if not 0 <= value < 100:
            raise ValueError(f"invalid percentage: {text}: expected 0 to 100")
        return value


class AddressPools:
    word = "pool-options"
    takes_value = True

    def from_flag(self, texts: Sequence[str]) -> tuple[AddressPool, ...]:
        pools = []
        for text in texts:
            fields = dict(part.partition("=")[::2] for part in text.split(","))
            if set(fields) != {"base", "size"}:
                raise ValueError(
                    f"invalid default address pool {text}: expected base=CIDR,size=BITS"
                )
            pools.append(self._checked(fields["base"], fields["size"]))
        return tuple(pools)

    def from_file(self, value: Any) -> tuple[AddressPool, ...]:
        pools = []
        for entry in _expect(value, list, "a list of pools"):
            fields = _fields(entry, "default-address-pools", {"base": str, "size": int})
            pools.append(self._checked(fields.get("base", ""), fields.get("size", 0)))
        return tuple(pools)

    def _checked(self, base: str, size: str | int) -> AddressPool:
        try:
            network = ipaddress.ip_network(base)
            bits = int(size)
        except ValueError as error:
            raise ValueError(f"invalid default address pool: {error}") from None
        if not network.prefixlen <= bits <= network.max_prefixlen:
            raise ValueError(f"invalid default address pool: size {bits} does not fit in {base}")
        return AddressPool(base, bits)


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


def _expect(value: Any, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"expected {what}")
    return value


def _fields(value: Any, what: str, shape: Mapping[str, type]) -> dict[str, Any]:
    """The members of an object, all of them known and of the right type."""
    members: dict[str, Any] = _expect(value, dict, "an object")
    for name, member in members.items():
        if name not in shape:
            raise ValueError(f"{what}: {name} is not supported")
        if not isinstance(member, shape[name]) or isinstance(member, bool):
            raise ValueError(f"{what}: {name}: expected {shape[name].__name__}")
    return dict(members)
