"""One holder a name at a time, and nothing kept of names that nobody wants."""

from __future__ import annotations

import asyncio

import pytest

from naru.store.named_locks import NamedLocks


async def test_one_after_another_also_where_a_third_comes_between() -> None:
    """Who comes when the lock has been let go, and not been taken by who waits, waits too."""
    locks = NamedLocks()
    inside = 0

    async def work(again: int) -> None:
        nonlocal inside
        async with locks.hold("a"):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
        if again:
            await work(again - 1)

    await asyncio.gather(*(work(3) for _ in range(4)))
    assert inside == 0
    assert list(locks) == []


async def test_names_do_not_wait_for_each_other() -> None:
    locks = NamedLocks()
    async with locks.hold("a"), locks.hold("b"):
        assert list(locks) == ["a", "b"]
        assert "a" in locks
    assert "a" not in locks


async def test_who_waits_in_vain_leaves_nothing() -> None:
    locks = NamedLocks()
    async with locks.hold("a"):
        waiting = asyncio.create_task(locks.hold("a").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert "a" in locks
    assert "a" not in locks


async def test_a_block_that_fails_lets_go() -> None:
    locks = NamedLocks()
    with pytest.raises(KeyError):
        async with locks.hold("a"):
            raise KeyError
    assert "a" not in locks
