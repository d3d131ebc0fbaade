"""Signals by Docker's names and numbers: "TERM", "SIGTERM", "15", "RTMIN+3"."""

from __future__ import annotations

import signal

from naru.spec.errors import InvalidParameter

KILL = int(signal.SIGKILL)

# The kernel's real-time signals start at 32; libc keeps 32 and 33 for itself.
_RTMIN, _RTMAX = 34, 64

_NUMBERS: dict[str, int] = {
    **{
        name.removeprefix("SIG"): int(number) for name, number in signal.Signals.__members__.items()
    },
    "STKFLT": 16,
    "IOT": 6,
    "RTMIN": _RTMIN,
    "RTMAX": _RTMAX,
    **{f"RTMIN+{step}": _RTMIN + step for step in range(1, 16)},
    **{f"RTMAX-{step}": _RTMAX - step for step in range(1, 15)},
}


def parse(text: str) -> int:
    """The number of a signal; a number is taken as it is when the kernel knows it."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if 0 < number <= _RTMAX:
            return number
        raise InvalidParameter(f"invalid signal: {text}")
    found = _NUMBERS.get(text.upper().removeprefix("SIG"))
    if found is None:
        raise InvalidParameter(f"invalid signal: {text}")
    return found
