"""Output on its way from a pipe to the log, kept where `kill -9` of the daemon cannot lose it.

The kernel moves the bytes from the pipe into a file (splice), so that at no moment they are in the
daemon's memory only. A small state, shared memory in a file, says how much of them the log holds
and how long the log is; it changes atomically. A daemon that finds a journal cuts the log back to
that length and logs again what follows: nothing lost, nothing twice.

(A terminal cannot be spliced; its bytes are written to the file right after they are read.)
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path
from typing import Final

from naru.engine.containers.intake import CHUNK, read_output

_STREAMS: Final = ("stdout", "stderr")
_SPLICE_NONBLOCK: Final = 2
_COMPACT_AT: Final = 256 * 1024
_SLOT: Final = struct.Struct("<q qII qII")
_FIRST, _SECOND = 1, 2
_SLOTS_AT: Final = {_FIRST: 64, _SECOND: 128}
_STATE_SIZE: Final = 4096


class Journal:
    """Of one container's stdout and stderr. Used by the pump's thread only."""

    def __init__(self, directory: Path, container_id: str) -> None:
        self._paths = [directory / f"{container_id}.state"]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        state_fd = os.open(self._paths[0], flags, 0o600)
        try:
            # Not a hole: writing into one on a full disk would be a SIGBUS, the daemon's end.
            os.posix_fallocate(state_fd, 0, _STATE_SIZE)
            self._state = mmap.mmap(state_fd, _STATE_SIZE)
        finally:
            os.close(state_fd)
        self.resumed = self._state[0] in (_FIRST, _SECOND)
        """There is a former daemon's work; `log_size` is how long the log was after it."""
        self.log_size = 0
        self._start = [0, 0]
        self._which = [0, 0]
        self._skip = [0, 0]
        self._files: list[tuple[int, int]] = []
        for stream in _STREAMS:
            pair = [directory / f"{container_id}.{stream}.{which}" for which in (0, 1)]
            self._paths += pair
            self._files.append((os.open(pair[0], flags, 0o600), os.open(pair[1], flags, 0o600)))
        if self.resumed:
            self._load()
        self._end = [os.fstat(self._file(index)).st_size for index in (0, 1)]
        for index in (0, 1):
            self._start[index] = min(self._start[index], self._end[index])
        self._terminals: dict[int, bool] = {}
        self._loose = [0, 0]
        """Unlogged bytes behind those in the file: there was no room for them."""

    def begin(self, log_size: int) -> None:
        """Of one that is not resumed: nothing is in it, and the log is that long.

        To be recorded before the first byte comes: what is found later without a state is the
        rest of a journal that was being discarded, and is in the log."""
        for pair in self._files:
            for fd in pair:
                os.ftruncate(fd, 0)
        self._start, self._end = [0, 0], [0, 0]
        self.log_size = log_size
        self._save()

    def pull(self, stream: str, fd: int) -> bytes:
        """Move the next output into the journal -> the same bytes; b"" at the end."""
        index = _STREAMS.index(stream)
        if fd not in self._terminals:
            self._terminals[fd] = os.isatty(fd)
        if self._loose[index]:
            data = read_output(fd)
        elif self._terminals[fd]:
            data = read_output(fd)
            with contextlib.suppress(OSError):
                os.pwrite(self._file(index), data, self._end[index])
                self._end[index] += len(data)
                return data
        else:
            at = self._end[index]
            try:
                flags = _SPLICE_NONBLOCK
                size = os.splice(fd, self._file(index), CHUNK, offset_dst=at, flags=flags)
                self._end[index] = at + size
                return os.pread(self._file(index), size, at)
            except BlockingIOError:
                raise
            except OSError:
                data = read_output(fd)
        # The disk is full. The process must not wait for that to change: until the log has these
        # bytes they are in the daemon's memory only.
        self._loose[index] += len(data)
        return data

    def unlogged(self, stream: str) -> tuple[bytes, int]:
        """What a former daemon left -> (bytes, how many of their entries the log has already)."""
        index = _STREAMS.index(stream)
        size = self._end[index] - self._start[index]
        return os.pread(self._file(index), size, self._start[index]), self._skip[index]

    def logged(self, stream: str, size: int, log_size: int) -> None:
        """The log, now `log_size` long, holds the next `size` bytes of `stream`."""
        index = _STREAMS.index(stream)
        kept = min(size, self._end[index] - self._start[index])
        self._start[index] += kept
        self._loose[index] -= size - kept
        self._skip[index] = 0
        self.log_size = log_size
        if self._end[index] >= _COMPACT_AT:
            self._compact(index)
        else:
            self._save()

    def partly_logged(self, stream: str, entries: int, log_size: int) -> None:
        """The log holds that many entries of what `unlogged` would give, and is about to rotate."""
        self._skip[_STREAMS.index(stream)] = entries
        self.log_size = log_size
        self._save()

    def log_is(self, log_size: int) -> None:
        """The log is another file than the journal knows, and that long."""
        self.log_size = log_size
        self._save()

    def close(self) -> None:
        """Keep all for a later daemon."""
        self._state.close()
        for pair in self._files:
            for fd in pair:
                os.close(fd)

    def discard(self) -> None:
        """The output has ended and the log has all of it."""
        self.close()
        # The state goes first: files without one are no journal.
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _file(self, index: int) -> int:
        return self._files[index][self._which[index]]

    def _compact(self, index: int) -> None:
        """Move the unlogged rest to the stream's other file, so that neither grows for ever."""
        rest, _ = self.unlogged(_STREAMS[index])
        old, new = self._file(index), self._files[index][1 - self._which[index]]
        os.ftruncate(new, 0)
        try:
            os.pwrite(new, rest, 0)
        except OSError:  # no room: later
            self._save()
            return
        self._which[index] = 1 - self._which[index]
        self._start[index], self._end[index] = 0, len(rest)
        self._save()
        os.ftruncate(old, 0)

    def _save(self) -> None:
        # The first byte names the valid one of two slots; a kill leaves it the old one or the new.
        slot = _SECOND if self._state[0] == _FIRST else _FIRST
        fields = ((self._start[i], self._which[i], self._skip[i]) for i in (0, 1))
        _SLOT.pack_into(
            self._state, _SLOTS_AT[slot], self.log_size, *(v for stream in fields for v in stream)
        )
        self._state[0] = slot

    def _load(self) -> None:
        self.log_size, *fields = _SLOT.unpack_from(self._state, _SLOTS_AT[self._state[0]])
        for index in (0, 1):
            self._start[index], self._which[index], self._skip[index] = fields[
                index * 3 : index * 3 + 3
            ]
