"""Points in time as clients send them in `since` and `until`: seconds since the epoch, with a
fraction of up to nine digits.
"""

from __future__ import annotations

import re

from naru.api.messages import Query
from naru.spec.errors import InvalidParameter

_TIME = re.compile(r"(?P<seconds>-?\d+)(?:\.(?P<fraction>\d{1,9}))?")


def nanoseconds(query: Query, name: str) -> int | None:
    """The parameter in nanoseconds; None where it is missing or empty."""
    text = query.text(name)
    if not text:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise InvalidParameter(f"{name}: expected seconds since the epoch, got {text!r}")
    fraction = int((found["fraction"] or "0").ljust(9, "0"))
    return int(found["seconds"]) * 1_000_000_000 + fraction
