"""Sizes as Docker's options write them: "10G", "512m", "1.5gb"; multiples of 1024."""

from __future__ import annotations

import re

from naru.spec.errors import InvalidParameter

_SIZE = re.compile(r"^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(text: str, what: str = "") -> int:
    """Bytes. `what` names the option in the error, where that does not name itself."""
    found = _SIZE.match(text.strip())
    if not found:
        raise InvalidParameter(f"{what and what + ': '}invalid size: '{text}'")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].lower()])
