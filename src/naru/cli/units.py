"""Sizes, times and ids as people read them, and back, with Docker's rounding."""

from __future__ import annotations

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def general(value: float, digits: int) -> str:
    """C's %.{digits}g without an exponent for the sizes that occur here."""
    text = f"{value:.{digits}g}"
    return str(int(float(text))) if "e" in text else text


def _scaled(size: float, base: float, names: tuple[str, ...], digits: int) -> str:
    at = 0
    while size >= base and at < len(names) - 1:
        size /= base
        at += 1
    return general(size, digits) + names[at]


def human_size(size: float) -> str:
    """Decimal units, three digits: `1.98MB`."""
    if size < 0:
        return f"{general(size, 3)}B"
    return _scaled(size, 1000.0, _DECIMAL, 3)


def human_size4(size: float) -> str:
    """Decimal units, four digits, as image sizes, progress and stats show them: `84.27kB`."""
    return _scaled(size, 1000.0, _DECIMAL, 4)


def human_size_precise(size: float, digits: int) -> str:
    return _scaled(size, 1000.0, _DECIMAL, digits)


def binary_size(size: float) -> str:
    """Binary units, four digits: `7.637GiB`."""
    return _scaled(size, 1024.0, _BINARY, 4)


def parse_bytes(text: str) -> int:
    """`512m`, `1.5g`, `1024`, `10MiB`: binary multiples, as Docker's RAMInBytes; -1 passes."""
    if text == "-1":
        return -1
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text[len(number) :].strip().lower()
    if unit.endswith("ib"):
        unit = unit[:-2]
    elif len(unit) == 2 and unit.endswith("b"):
        unit = unit[:-1]
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    if unit not in _POWERS:
        raise ValueError(f"invalid suffix: '{text[len(number) :].strip()}'")
    if value < 0:
        raise ValueError(f"invalid size: '{text}'")
    return int(value * 1024 ** _POWERS[unit])


def parse_nano_cpus(text: str) -> int:
    """`1.5` -> 1500000000."""
    from fractions import Fraction

    try:
        nano = Fraction(text) * 1_000_000_000
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if nano.denominator != 1:
        raise ValueError("value is too precise")
    return int(nano)


def short_id(identifier: str) -> str:
    return identifier.removeprefix("sha256:")[:12]
