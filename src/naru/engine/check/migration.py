"""A migration of the storage that was interrupted: it waits for somebody, and loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from naru.engine.check.finding import Finding
from naru.spec.storage import MIGRATION
from naru.store.records import Records


class MigrationInspection:
    def __init__(self, *, records: Records, under_way: Callable[[], bool]) -> None:
        """`under_way`: somebody is at it, so that nothing is wrong."""
        self._records = records
        self._under_way = under_way

    async def findings(self, *, verify: bool) -> AsyncIterator[Finding]:
        pending = self._records.migrations.get(MIGRATION)
        if pending is None or self._under_way():
            return
        again = f"'naru storage migrate --to {pending.target}' goes on with it"
        if pending.switched:
            text = f"{pending.target} is in use, and what was in {pending.source} not all removed"
        else:
            text = f"from {pending.source}, interrupted: {pending.source} is in use"
            again += ", '--abandon' gives it up"
        yield Finding("pending-migration", f"to {pending.target}", text, remedy=again)
