"""A shortage that passes costs an attempt; one that stays is told."""

from __future__ import annotations

import asyncio
import errno

import pytest

from naru.engine.containers import persevere as module
from naru.engine.containers.persevere import persevere


class Work:
    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.attempts = 0

    async def __call__(self) -> None:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise OSError(errno.EMFILE, "Too many open files")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0, 0))


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_passing_shortage(failures: int) -> None:
    work = Work(failures)
    asyncio.run(persevere(work, "removal"))
    assert work.attempts == failures + 1


def test_one_that_stays() -> None:
    work = Work(3)
    with pytest.raises(OSError, match="Too many open files"):
        asyncio.run(persevere(work, "removal"))
    assert work.attempts == 3
