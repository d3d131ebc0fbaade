"""What a check finds, and what an inspection is: it looks at one kind of thing, and finds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, Protocol

Repair = Callable[[], Awaitable[object]]


class Finding(NamedTuple):
    """`what` is a digest, an id or a name. Without `repair` it is for a person to decide."""

    kind: str
    what: str
    text: str
    repair: Repair | None = None
    remedy: str = ""
    """What the repair does; without one, what somebody can do."""


class Inspection(Protocol):
    """Safe while the daemon works: what is being made or removed is no finding."""

    def findings(self, *, verify: bool) -> AsyncIterator[Finding]:
        """`verify` also reads whole files, to see whether they are what they are named."""
