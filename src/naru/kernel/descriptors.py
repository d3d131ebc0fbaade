"""Room for the descriptors of hundreds of containers, and none of it for what we start.

A program that inherits a high soft limit may close a million descriptors one by one at its start;
containers get what the daemon was given, as with any Go daemon.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

_given: int | None = None


def raise_limit() -> int:
    """Raise this process's soft limit of open files to the hard one -> the new limit."""
    global _given
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _given is None:
        _given = soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def limit_as_given() -> Iterator[None]:
    """Within: the soft limit from before `raise_limit`, for a posix_spawn (1 ms or less)."""
    if _given is None:
        yield
        return
    raised, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_given, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
