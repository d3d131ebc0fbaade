"""What the supervisor keeps, as the daemon sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec


class Stdio(NamedTuple):
    """Descriptors that the receiver owns: pipe ends, or the pty alone."""

    stdin: int | None
    stdout: int | None
    stderr: int | None
    pty: int | None

    def close(self) -> None:
        for fd in self:
            if fd is not None:
                os.close(fd)


class Exit(msgspec.Struct, frozen=True):
    container_id: str
    exec_id: str | None  # None for the container itself
    pid: int
    status: int  # exit code, 128 + N for signal N, 255 when nobody could tell
    at: int  # ns since the epoch


class Supervised(NamedTuple):
    container_id: str
    exec_id: str | None
    pid: int


@dataclass
class Kept:
    """The daemon's own copies, by name: stdin, stdout, stderr or pty, and pidfd."""

    supervised: Supervised
    fds: dict[str, int] = field(default_factory=dict)
    exited: bool = False

    def close(self, *names: str) -> None:
        for name in names or tuple(self.fds):
            fd = self.fds.pop(name, None)
            if fd is not None:
                os.close(fd)

    def stdio(self) -> Stdio:
        names = ("stdin", "stdout", "stderr", "pty")
        return Stdio(*(os.dup(self.fds[name]) if name in self.fds else None for name in names))
