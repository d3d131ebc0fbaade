from __future__ import annotations

import asyncio
import threading

import pytest

from naru.store.gate import Gate


async def test_many_pass_at_once() -> None:
    gate = Gate()
    async with gate.passing(), gate.passing():
        with gate.passing_in_thread(on_behalf=True):
            pass


async def test_who_closes_waits_for_those_inside_and_keeps_others_out() -> None:
    gate = Gate()
    said: list[str] = []
    leave = asyncio.Event()

    async def inside() -> None:
        async with gate.passing():
            await leave.wait()
            said.append("left")

    async def close() -> None:
        async with gate.closed(seconds=10):
            said.append("closed")
            late = asyncio.ensure_future(come_late())
            await asyncio.sleep(0)
            assert not late.done()
            said.append("opened")
        await late

    async def come_late() -> None:
        async with gate.passing():
            said.append("late")

    first = asyncio.ensure_future(inside())
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(close())
    await asyncio.sleep(0)
    leave.set()
    await asyncio.gather(first, closing)
    assert said == ["left", "closed", "opened", "late"]


async def test_it_opens_again_when_nobody_leaves() -> None:
    gate = Gate()
    async with gate.passing():
        with pytest.raises(TimeoutError):
            async with gate.closed(seconds=0.01):
                raise AssertionError("somebody was inside")
    async with gate.passing():
        pass


async def test_a_thread_of_one_who_is_inside_is_let_in() -> None:
    """Otherwise the one inside could never leave, and the door never close."""
    gate = Gate()

    def work() -> None:
        with gate.passing_in_thread(on_behalf=True):
            pass

    async def inside() -> None:
        async with gate.passing():
            closing.set()
            await asyncio.sleep(0)
            await asyncio.to_thread(work)

    closing = asyncio.Event()
    task = asyncio.ensure_future(inside())
    await closing.wait()
    async with gate.closed(seconds=10):
        pass
    await task


async def test_a_thread_waits_until_it_is_open() -> None:
    gate = Gate()
    passed = threading.Event()

    def work() -> None:
        with gate.passing_in_thread(on_behalf=True):
            passed.set()

    async with gate.closed(seconds=1):
        thread = threading.Thread(target=work)
        thread.start()
        assert not passed.is_set()
    await asyncio.to_thread(thread.join)
    assert passed.is_set()


async def test_a_thread_on_nobodys_behalf_waits_for_who_wants_to_close() -> None:
    """Two of them in turns would keep the door open for ever."""
    gate = Gate()
    passed = threading.Event()

    def work() -> None:
        with gate.passing_in_thread(on_behalf=False):
            passed.set()

    async def close() -> None:
        async with gate.closed(seconds=10):
            assert not passed.is_set()

    async with gate.passing():
        closing = asyncio.ensure_future(close())
        await asyncio.sleep(0)
        thread = threading.Thread(target=work)
        thread.start()
    await closing
    await asyncio.to_thread(thread.join)
    assert passed.is_set()
