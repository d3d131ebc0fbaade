"""Writes a process' output to its json-file log; an `Intake`, so it runs in the pump's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from naru.engine.containers import json_lines
from naru.engine.containers.intake import Mark, Position, read_output
from naru.engine.containers.log_feed import LogFeed
from naru.engine.containers.log_files import LogFiles
from naru.engine.containers.log_journal import Journal

log = logging.getLogger(__name__)


class LogWriter:
    """`files` and `journal` become the writer's own. `attrs` is a JSON object, or nothing."""

    def __init__(
        self,
        files: LogFiles,
        *,
        feed: LogFeed,
        journal: Journal | None,
        attrs: bytes = b"",
        on_close: Callable[[LogWriter], None] = lambda writer: None,
    ) -> None:
        self.files = files
        self.feed = feed
        self._journal = journal
        self._attrs = attrs
        self._on_close = on_close
        self._unfinished = {"stdout": b"", "stderr": b""}
        self._failing = False
        files.open()
        if journal is not None:
            self._recover(journal)

    def read(self, stream: str, fd: int) -> bytes:
        journal = self._journal
        data = read_output(fd) if journal is None else journal.pull(stream, fd)
        if data:
            self._log(stream, self._unfinished[stream] + data, final=False)
        return data

    def end(self, stream: str) -> None:
        if rest := self._unfinished[stream]:
            self._log(stream, rest, final=True)

    def mark(self) -> Mark:
        position = Position(self.files.generation, self.files.size)
        return Mark(position, dict(self._unfinished))

    def finish(self) -> None:
        """Log what a former run left unfinished: no process will complete it."""
        for stream in self._unfinished:
            self.end(stream)

    def close(self, *, over: bool) -> None:
        self._on_close(self)
        self.feed.finish()
        self.files.close()
        if self._journal is not None:
            if over:
                self._journal.discard()
            else:
                self._journal.close()

    def _recover(self, journal: Journal) -> None:
        if not journal.resumed:
            journal.begin(self.files.size)
            return
        if self.files.size > journal.log_size:
            self.files.truncate(journal.log_size)
        elif self.files.size < journal.log_size:
            # Killed just behind a rotation. To be known before the new file grows: otherwise, after
            # another kill, half a line in it would pass for whole.
            journal.log_is(self.files.size)
        for stream in self._unfinished:
            output, skip = journal.unlogged(stream)
            self._log(stream, output, final=False, skip=skip)

    def _log(self, stream: str, output: bytes, *, final: bool, skip: int = 0) -> None:
        encoded = json_lines.encode(
            output, stream=stream, at=time.time_ns(), attrs=self._attrs, final=final
        )
        lines = encoded.lines
        if skip:
            lines = lines.split(b"\n", skip)[-1] if skip < encoded.entries else b""

        def rotated(written: int) -> None:
            if self._journal is not None:
                entries = skip + lines.count(b"\n", 0, written)
                self._journal.partly_logged(stream, entries, self.files.size)

        try:
            if lines:
                self.files.append(lines, rotated=rotated)
                self.feed.written()
            self._failing = False
        except OSError as error:
            # As dockerd: the process runs on, its output is missing from the log.
            if not self._failing:
                log.error("cannot write %s: %s", self.files.path, error)
            self._failing = True
        self._unfinished[stream] = output[encoded.consumed :]
        if self._journal is not None:
            self._journal.logged(stream, encoded.consumed, self.files.size)
