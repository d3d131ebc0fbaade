"""Reads a container's log: from its end backwards for `tail`, forwards, and on while it grows.

Disk reads, decoding and rendering happen in threads, block by block, so a log of any size needs
little memory and none of the event loop's time.
"""

from __future__ import annotations

import asyncio
import gzip
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import IO, Final, NamedTuple

from naru.engine.containers import json_lines
from naru.engine.containers.intake import Position
from naru.engine.containers.json_lines import Entry
from naru.engine.containers.log_feed import LogFeed
from naru.engine.containers.log_files import LogFiles, OpenFile

_BLOCK: Final = 128 * 1024


class LogQuery(NamedTuple):
    """`since` and `until` are `json_lines.fixed_time` texts, "" for none."""

    tail: int | None = None
    since: str = ""
    until: str = ""
    follow: bool = False
    end: Position | None = None
    """Read what was written before, and no more."""


class LogReader:
    """`render` turns an entry into what the client gets; b"" leaves it out.

    `feed` None: no process writes to the log, so there is nothing to follow.
    """

    def __init__(
        self,
        files: LogFiles,
        *,
        feed: LogFeed | None,
        query: LogQuery,
        render: Callable[[Entry], bytes],
    ) -> None:
        self._files = files
        self._feed = feed if query.follow else None
        self._query = query
        self._render = render
        self._past_until = False
        self._rest = b""

    async def chunks(self) -> AsyncIterator[bytes]:
        generation: int | None = None
        while True:
            opened = await asyncio.to_thread(self._open, generation)
            try:
                for each in opened:
                    generation = each.generation
                    async for chunk in self._one_file(each):
                        yield chunk
                    if self._over(generation):
                        return
            finally:
                for each in opened:
                    each.file.close()
            if self._feed is None or generation is None:
                return
            generation += 1

    def _over(self, generation: int) -> bool:
        end = self._query.end
        return self._past_until or (end is not None and generation >= end.generation)

    async def _one_file(self, opened: OpenFile) -> AsyncIterator[bytes]:
        """Up to the file's end; the current one, when following, until it is rotated."""
        self._rest = b""
        while True:
            seen = self._feed.version if self._feed is not None else 0
            finished = self._feed is None or self._feed.finished
            # Looked at before reading: what is written until a rotation must still be read.
            newest = self._files.generation
            while True:
                chunk, more = await asyncio.to_thread(self._next, opened)
                if chunk:
                    yield chunk
                if self._past_until:
                    return
                if not more:
                    break
            if newest > opened.generation:
                return
            if self._feed is None or finished:
                self._feed = None
                return
            await self._feed.changed(seen)

    # In threads

    def _open(self, generation: int | None) -> list[OpenFile]:
        opened = [_unpacked(each) for each in self._files.open_since(generation)]
        end, tail = self._query.end, self._query.tail
        if end is not None:
            for late in [each for each in opened if each.generation > end.generation]:
                opened.remove(late)
                late.file.close()
        if generation is None and tail is not None:
            self._skip_to_tail(opened, tail)
        return opened

    def _skip_to_tail(self, opened: list[OpenFile], tail: int) -> None:
        """Place each file so that `tail` lines follow in all."""
        for each in reversed(opened):
            size = each.file.seek(0, 2)
            end = self._query.end
            if end is not None and end.generation == each.generation:
                size = min(size, end.size)
            offset, found = tail_offset(each.file, size, tail)
            each.file.seek(offset)
            tail -= found

    def _next(self, opened: OpenFile) -> tuple[bytes, bool]:
        """Read and render one block -> (result, whether the file may have more)."""
        limit = _BLOCK
        end = self._query.end
        if end is not None and end.generation == opened.generation:
            limit = min(limit, max(0, end.size - opened.file.tell()))
        block = opened.file.read(limit)
        if not block:
            return b"", False
        whole, newline, self._rest = (self._rest + block).rpartition(b"\n")
        if not newline:
            return b"", True
        return b"".join(self._rendered(whole)), True

    def _rendered(self, lines: bytes) -> list[bytes]:
        since, until = self._query.since, self._query.until
        rendered = []
        for line in lines.split(b"\n"):
            entry = json_lines.decode(line)
            if entry is None:
                continue
            if since or until:
                time = entry.fixed_time
                if since and time < since:
                    continue
                if until and time > until:
                    self._past_until = True
                    break
            rendered.append(self._render(entry))
        return rendered


def tail_offset(file: IO[bytes], size: int, lines: int) -> tuple[int, int]:
    """Where the last `lines` lines of `file[:size]` begin -> (offset, how many there are)."""
    if lines <= 0:
        return size, 0
    found = 0
    end = size
    while end > 0:
        begin = max(0, end - _BLOCK)
        file.seek(begin)
        block = file.read(end - begin)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            # The newline at the very end closes the last line; it begins none.
            if begin + at + 1 < size:
                found += 1
                if found == lines:
                    return begin + at + 1, found
        end = begin
    return 0, found + 1 if size else 0


def _unpacked(opened: OpenFile) -> OpenFile:
    """A compressed file as a plain one, which can be read backwards."""
    if not opened.compressed:
        return opened
    plain = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the reader)
    with opened.file, gzip.open(opened.file) as packed:
        shutil.copyfileobj(packed, plain, 1 << 20)
    plain.seek(0)
    return OpenFile(opened.generation, plain, False)
