"""A shortage that passes costs attempts, however many; another failure that stays is told."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from naru.engine.containers import persevere as module
from naru.engine.containers.persevere import persevere
from naru.spec.errors import InternalError


class Work:
    def __init__(self, failures: int, number: int) -> None:
        self.failures = failures
        self.attempts = 0
        self._number = number

    async def __call__(self) -> None:
        self.attempts += 1
        if self.attempts <= self.failures:
            try:
                raise OSError(self._number, os.strerror(self._number))
            except OSError as error:
                raise InternalError(str(error)) from error


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0, 0))


@pytest.mark.parametrize("failures", [0, 1, 2, 9])
def test_a_passing_shortage(failures: int) -> None:
    work = Work(failures, errno.EMFILE)
    asyncio.run(persevere(work, "removal"))
    assert work.attempts == failures + 1


def test_a_mount_that_is_busy_for_a_while() -> None:
    work = Work(2, errno.EBUSY)
    asyncio.run(persevere(work, "removal"))
    assert work.attempts == 3


def test_one_that_stays() -> None:
    work = Work(3, errno.EBUSY)
    with pytest.raises(InternalError, match="busy"):
        asyncio.run(persevere(work, "removal"))
    assert work.attempts == 3


def test_endless_work_has_no_last_attempt_and_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(9, errno.ENOSPC)
    asyncio.run(persevere(work, "recording the exit", endless=True))
    assert work.attempts == 10
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == len(module.PAUSES)
