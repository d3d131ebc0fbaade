"""The logs of all containers: which driver writes them, and how they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from naru.engine.containers import log_options
from naru.engine.containers.json_lines import Entry
from naru.engine.containers.log_feed import LogFeed
from naru.engine.containers.log_files import LogFiles
from naru.engine.containers.log_journal import Journal
from naru.engine.containers.log_reader import LogQuery, LogReader
from naru.engine.containers.log_writer import LogWriter
from naru.spec.containers import ContainerRecord, LogConfig
from naru.spec.errors import InternalError, Unsupported


class Logs:
    """`containers_root`: `<data-root>/containers`; `journal_root`: best on a tmpfs."""

    def __init__(self, *, containers_root: Path, journal_root: Path) -> None:
        self._containers_root = containers_root
        self._journal_root = journal_root
        self._writers: dict[str, LogWriter] = {}
        self._compressor = ThreadPoolExecutor(1, thread_name_prefix="log-compress")

    def check(self, config: LogConfig) -> None:
        """Raise Docker's error for a driver or an option that cannot be had."""
        log_options.check(config)

    def path(self, container: ContainerRecord) -> str:
        """`LogPath` of inspect; "" when the driver writes no file."""
        return str(self._path(container.id)) if _writes_file(container) else ""

    def intake(self, container: ContainerRecord, *, resumed: bool = False) -> LogWriter | None:
        """Open the log for a process that starts; None when the driver keeps nothing.

        `resumed`: the process was started by a former daemon, whose unfinished lines go on.
        """
        if not _writes_file(container):
            return None
        try:
            journal = Journal(self._journal_root, container.id)
            writer = LogWriter(
                self._files(container),
                feed=LogFeed(),
                journal=journal,
                attrs=log_options.attributes(container),
                on_close=self._closed,
            )
        except OSError as error:
            raise InternalError(f"failed to initialize logging driver: {error}") from error
        if not resumed:
            writer.finish()
        self._writers[container.id] = writer
        return writer

    def must_be_readable(self, container: ContainerRecord) -> None:
        if not _writes_file(container):
            raise Unsupported("configured logging driver does not support reading")

    def chunks(
        self, container: ContainerRecord, query: LogQuery, render: Callable[[Entry], bytes]
    ) -> AsyncIterator[bytes]:
        """The log as `render` gives it; raises at once when the driver cannot be read."""
        self.must_be_readable(container)
        writer = self._writers.get(container.id)
        reader = LogReader(
            writer.files if writer is not None else self._files(container),
            feed=writer.feed if writer is not None else None,
            query=query,
            render=render,
        )
        return reader.chunks()

    async def remove(self, container_id: str) -> None:
        """Forget what a removed container left unlogged; its directory goes with the container."""
        await asyncio.to_thread(self._discard_journal, container_id)

    def close(self) -> None:
        self._compressor.shutdown()

    def _discard_journal(self, container_id: str) -> None:
        for leftover in self._journal_root.glob(f"{container_id}.*"):
            leftover.unlink(missing_ok=True)

    def _closed(self, writer: LogWriter) -> None:
        for container_id, known in list(self._writers.items()):
            if known is writer:
                self._writers.pop(container_id, None)

    def _files(self, container: ContainerRecord) -> LogFiles:
        options = log_options.json_file(container.host_config.log_config.config)
        return LogFiles(
            self._path(container.id),
            max_size=options.max_size,
            max_files=options.max_files,
            compress=options.compress,
            compressor=self._compressor,
        )

    def _path(self, container_id: str) -> Path:
        return self._containers_root / container_id / f"{container_id}-json.log"


def _writes_file(container: ContainerRecord) -> bool:
    return container.host_config.log_config.type in ("", log_options.JSON_FILE)
