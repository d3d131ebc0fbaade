"""How long a client may take for a request's line and headers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SECONDS = 300.0
"""dockerd's ReadHeaderTimeout."""


class HeaderDeadline:
    """Runs from the first byte of a request, on a new connection from its beginning.

    Between requests a client may be silent as long as it likes.
    """

    def __init__(self, missed: Callable[[], None]) -> None:
        self._missed = missed
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Once more does not prolong it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._missed)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
