"""What `test_workers` has done in worker processes."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from naru.spec.errors import NotFound


def whose(_fds: list[int], number: int) -> tuple[int, int]:
    return number, os.getpid()


def refuse(_fds: list[int]) -> None:
    raise NotFound("no such thing")


class Odd(Exception):
    def __init__(self, one: int, *, two: int) -> None:
        super().__init__(f"{one} and {two}")


def refuse_oddly(_fds: list[int]) -> None:
    raise Odd(1, two=2)


def die(_fds: list[int]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def tell_and_wait(fds: list[int]) -> None:
    """Write our pid, then wait for the end of the other pipe, which does not come."""
    os.write(fds[0], str(os.getpid()).encode())
    os.read(fds[1], 1)


def double(fds: list[int], times: int) -> int:
    """What is read, written `times`; -> bytes read."""
    with open(fds[0], "rb") as source, open(fds[1], "wb") as out:
        data = source.read()
        out.write(data * times)
    return len(data)


def opened(_fds: list[int]) -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return found
