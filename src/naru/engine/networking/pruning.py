"""Which networks `POST /networks/prune` removes. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from naru.engine.networking.catalog import Filters, is_user_defined, matches_labels
from naru.spec.errors import InvalidParameter
from naru.spec.networks import NetworkRecord

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


class Pruning:
    def __init__(self, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock

    def candidates(
        self,
        networks: Sequence[NetworkRecord],
        filters: Filters,
        in_use: Callable[[NetworkRecord], bool],
    ) -> list[NetworkRecord]:
        for name in filters:
            if name not in ("label", "label!", "until"):
                raise InvalidParameter(f"invalid filter '{name}'")
        limits = filters.get("until", ())
        if len(limits) > 1:
            raise InvalidParameter("more than one until filter specified")
        until = moment(limits[0], now=self._clock()) if limits else None
        return [
            network
            for network in networks
            if is_user_defined(network.name)
            and not in_use(network)
            and (until is None or network.created <= until)
            and matches_labels(network.labels, filters.get("label", ()))
            and not (filters.get("label!") and matches_labels(network.labels, filters["label!"]))
        ]


def moment(text: str, *, now: int) -> int:
    """A time of a filter in ns: Unix seconds, RFC 3339, or a duration back from now ("1h30m")."""
    try:
        return int(float(text) * 10**9)
    except ValueError:
        pass
    duration = _duration(text)
    if duration is not None:
        return now - duration
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameter(f'failed to parse value as time or duration: "{text}"') from None
    if found.tzinfo is None:
        found = found.astimezone()
    return int(found.timestamp() * 10**9)


def _duration(text: str) -> int | None:
    total, rest = 0.0, text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        letters = len(rest) - len(rest.lstrip("nuµmsh"))
        unit, rest = rest[:letters], rest[letters:]
        try:
            total += float(number) * _UNITS[unit]
        except (ValueError, KeyError):
            return None
    return int(total)
