"""`naru system check`: is all there that the records say, and nothing else?

It runs beside everything else that the daemon does, with the code that also tidies up at its start.
One problem may be the cause of the next (a damaged document is removed, then it is missing), so a
repair is followed by another look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from naru.engine.check.finding import Finding, Inspection
from naru.spec.errors import NaruError

log = logging.getLogger(__name__)

FOUND, REPAIRED, LEFT = "found", "repaired", "left"


class Problem(NamedTuple):
    kind: str
    what: str
    text: str
    state: str  # found: a repair would do; repaired; left: it has failed, or there is none
    remedy: str  # what a repair would do, or what somebody can do


class Check:
    def __init__(self, *, inspections: Sequence[Inspection]) -> None:
        self._inspections = inspections
        self._one = asyncio.Lock()

    async def run(self, *, repair: bool = False, verify: bool = False) -> AsyncIterator[Problem]:
        """Each problem as it is found. `verify` takes as long as reading all blobs does."""
        async with self._one:
            # Of what is left a second look decides.
            left: dict[tuple[str, str], Problem] = {}
            repaired = False
            async for problem in self._look(repair=repair, verify=verify):
                repaired = repaired or problem.state == REPAIRED
                if problem.state == LEFT:
                    left[problem.kind, problem.what] = problem
                else:
                    yield problem
            if repaired:
                # What is wrong still, or only now.
                still = await self._still(verify=False)
                if verify and not left.keys() <= still.keys():
                    still = await self._still(verify=True)  # what only reading finds may be left
                left = {key: left.get(key, each) for key, each in still.items()}
            for problem in left.values():
                yield problem

    async def _still(self, *, verify: bool) -> dict[tuple[str, str], Problem]:
        look = self._look(repair=False, verify=verify)
        return {(each.kind, each.what): each._replace(state=LEFT) async for each in look}

    async def _look(self, *, repair: bool, verify: bool) -> AsyncIterator[Problem]:
        for inspection in self._inspections:
            async for finding in inspection.findings(verify=verify):
                yield await self._judged(finding, repair=repair)

    async def _judged(self, finding: Finding, *, repair: bool) -> Problem:
        kind, what, text, act, remedy = finding
        if act is None:
            return Problem(kind, what, text, LEFT, remedy)
        if not repair:
            return Problem(kind, what, text, FOUND, remedy)
        try:
            await act()
        except (NaruError, OSError) as error:
            log.warning("check: %s %s is not repaired: %s", kind, what, error)
            return Problem(kind, what, f"{text}; the repair failed: {error}", LEFT, remedy)
        log.info("check: repaired %s %s (%s): %s", kind, what, text, remedy)
        return Problem(kind, what, text, REPAIRED, remedy)
