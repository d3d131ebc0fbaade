"""The `Date` header (RFC 9110, 5.6.7), made at most once a second."""

from __future__ import annotations

import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_made: tuple[int, str] = (0, "")


def now() -> str:
    global _made
    second = int(time.time())
    if _made[0] != second:
        _made = (second, of(second))
    return _made[1]


def of(seconds: int) -> str:
    at = time.gmtime(seconds)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04}"
        f" {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )
