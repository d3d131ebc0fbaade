"""Times: RFC 3339 from the daemon, Go durations, and what --since and --until accept."""

from __future__ import annotations

import time

_UNITS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def parse_duration(text: str) -> int:
    """`1h2m3.5s` -> nanoseconds; ValueError with Go's text."""
    rest = text
    sign = 1
    if rest[:1] in ("-", "+"):
        sign = -1 if rest[0] == "-" else 1
        rest = rest[1:]
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    total = 0.0
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: _unit_length(rest)]
        rest = rest[len(unit) :]
        if not number or number == "." or number.count(".") > 1:
            raise ValueError(f'time: invalid duration "{text}"')
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS[unit]
    return sign * round(total)


def _unit_length(text: str) -> int:
    for at, char in enumerate(text):
        if char in "0123456789.":
            return at
    return len(text)


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a proleptic Gregorian date."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def parse_rfc3339(text: str) -> tuple[int, int]:
    """(seconds since the epoch, nanoseconds); ValueError when it is not a time."""
    date, separator, clock = text.partition("T")
    if not separator:
        raise ValueError(text)
    offset = 0
    if clock.endswith(("Z", "z")):
        clock = clock[:-1]
    else:
        for sign in "+-":
            head, found, zone = clock.partition(sign)
            if found:
                hours, _, minutes = zone.partition(":")
                offset = (int(hours) * 3600 + int(minutes or 0) * 60) * (1 if sign == "+" else -1)
                clock = head
                break
    clock, _, fraction = clock.partition(".")
    year, month, day = (int(part) for part in date.split("-"))
    fields = [int(part) for part in clock.split(":")]
    fields += [0] * (3 - len(fields))
    seconds = days_from_civil(year, month, day) * 86400
    seconds += fields[0] * 3600 + fields[1] * 60 + fields[2] - offset
    return seconds, int((fraction + "000000000")[:9]) if fraction else 0


def go_time(seconds: int, nanoseconds: int = 0) -> str:
    """Go's default rendering: `2024-01-02 03:04:05 +0000 UTC`, in local time."""
    at = time.localtime(seconds)
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return time.strftime("%Y-%m-%d %H:%M:%S", at) + fraction + time.strftime(" %z %Z", at)


def rfc3339_local(seconds: int, nanoseconds: int | None = None) -> str:
    at = time.localtime(seconds)
    zone = time.strftime("%z", at)
    shown = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    fraction = "" if nanoseconds is None else f".{nanoseconds:09d}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", at) + fraction + shown


def api_timestamp(value: str, now: float | None = None) -> str:
    """What --since/--until mean, as the API's `seconds.nanoseconds`.

    Takes a Go duration back from now, RFC 3339 in several precisions, or a Unix timestamp.
    """
    now = time.time() if now is None else now
    try:
        ago = parse_duration(value)
    except ValueError:
        pass
    else:
        return str(int(now - ago / 1e9)) if value != "0" else "0"
    if value.lstrip("-").replace(".", "", 1).isdigit():
        whole, _, fraction = value.partition(".")
        return f"{whole}.{(fraction + '000000000')[:9]}"
    local = "Z" not in value and "+" not in value and value.count("-") != 3
    text = value if "T" in value else f"{value}T00:00:00" if local else value
    if len(text.partition("T")[2]) == 2:
        text += ":00"
    try:
        seconds, nanoseconds = parse_rfc3339(text)
    except ValueError:
        raise ValueError(f'failed to parse value as time or duration: "{value}"') from None
    if local:
        seconds -= time.localtime(seconds).tm_gmtoff
    return f"{seconds}.{nanoseconds:09d}"
