"""The types of the daemon's options whose values have members: runtimes, limits, pools, free space.

They read as those of `option_types` do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import msgspec

from naru.daemon.option_types import Size, expect, object_of
from naru.spec.containers import Ulimit
from naru.spec.disk import FreeSpace


class AddressPool(msgspec.Struct, frozen=True):
    """Subnets of `size` bits are cut from `base` for networks created without one."""

    base: str
    size: int


class RuntimeChoice(msgspec.Struct, frozen=True):
    """An OCI runtime of `--add-runtime`."""

    name: str
    path: str
    args: tuple[str, ...] = ()


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
        for name, entry in expect(value, dict, "an object of runtimes").items():
            members = object_of(entry, f"runtime {name}", {"path": str, "runtimeArgs": list})
            if "path" not in members:
                raise ValueError(f"runtime {name}: path is required")
            args = tuple(
                expect(a, str, "a list of strings") for a in members.get("runtimeArgs", ())
            )
            runtimes.append(RuntimeChoice(name, members["path"], args))
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
        entries: dict[str, Any] = expect(value, dict, "an object of ulimits")
        for name, entry in entries.items():
            members = object_of(entry, f"ulimit {name}", {"Name": str, "Soft": int, "Hard": int})
            soft, hard = members.get("Soft", 0), members.get("Hard", 0)
            limits.append(self._checked(members.get("Name") or name, soft, hard))
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
        for part in expect(value, str, "a string").split(","):
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
        for entry in expect(value, list, "a list of pools"):
            members = object_of(entry, "default-address-pools", {"base": str, "size": int})
            pools.append(self._checked(members.get("base", ""), members.get("size", 0)))
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
