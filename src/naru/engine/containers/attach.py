"""`POST /containers/{id}/attach`: the log so far, the live output, and the input."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator

from naru.engine.containers import multiplex
from naru.engine.containers.attachment import AttachOptions, Duplex, Ending
from naru.engine.containers.containers import Containers
from naru.engine.containers.intake import Mark
from naru.engine.containers.json_lines import Entry
from naru.engine.containers.log_reader import LogQuery
from naru.engine.containers.logs import Logs
from naru.engine.containers.occurrences import occurrence
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict


class Attach:
    def __init__(self, *, containers: Containers, logs: Logs) -> None:
        self._containers = containers
        self._logs = logs

    def find(self, ref: str) -> ContainerRecord:
        return self._containers.find(ref)

    def attachable(self, ref: str, *, history: bool) -> ContainerRecord:
        """Raise what an attach would be refused with; to be asked before the answer begins."""
        record = self._containers.find(ref)
        if record.state.status is Status.PAUSED:
            raise Conflict(f"container {ref} is paused, unpause the container before attach")
        if record.state.status is Status.RESTARTING:
            raise Conflict(f"container {ref} is restarting, wait until the container is running")
        if history:
            self._logs.must_be_readable(record)
        return record

    async def __call__(
        self,
        record: ContainerRecord,
        conn: Duplex,
        options: AttachOptions,
        *,
        history: bool,
        stream: bool,
    ) -> None:
        """Return when the client has got what it asked for, or left."""
        before = functools.partial(self._history, record, options) if history else None
        if not stream:
            if before is not None:
                async for chunk in before(None):
                    await conn.write(chunk)
            return
        if not record.config.open_stdin:
            options = options._replace(stdin=False)
        await self._containers.tell(occurrence(record, "attach"))
        point = self._containers.live(record).attach_point
        ending = await point.attach(conn, options, history=before)
        if ending is Ending.DETACHED:
            await self._containers.tell(occurrence(record, "detach"))

    async def _history(
        self, record: ContainerRecord, options: AttachOptions, mark: Mark | None
    ) -> AsyncIterator[bytes]:
        def render(entry: Entry) -> bytes:
            text = entry.log.encode() if options.wants(entry.stream) else b""
            return _framed(options, entry.stream, text)

        query = LogQuery(end=None if mark is None else mark.position)
        async for chunk in self._logs.chunks(record, query, render):
            yield chunk
        for stream, rest in (mark.unfinished if mark is not None else {}).items():
            if options.wants(stream):
                yield _framed(options, stream, rest)


def _framed(options: AttachOptions, stream: str, text: bytes) -> bytes:
    if not text or not options.mux:
        return text
    return multiplex.frame(multiplex.NUMBERS[stream], text)
