from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import pytest
from tests.unit.engine.containers.duplex import FakeDuplex

from naru.engine.containers import audience
from naru.engine.containers import streams as streams_module
from naru.engine.containers.attach_point import AttachPoint
from naru.engine.containers.attachment import AttachOptions, Ending
from naru.engine.containers.multiplex import STDERR, STDOUT, frame
from naru.engine.containers.pump import Pump
from naru.engine.containers.streams import Streams

RAW = AttachOptions(mux=False)
WITH_INPUT = AttachOptions(stdin=True, mux=False)


@pytest.fixture
def pump() -> Iterator[Pump]:
    pump = Pump()
    yield pump
    pump.close()


class Process:
    """The far ends of the stdio that `Streams` owns."""

    def __init__(self) -> None:
        self._stdin, stdin = os.pipe()
        stdout, self._stdout = os.pipe()
        stderr, self._stderr = os.pipe()
        self.stdio = SimpleNamespace(stdin=stdin, stdout=stdout, stderr=stderr, pty=None)
        self.stdin_closed = False
        self._open = {self._stdin, self._stdout, self._stderr}

    def out(self, data: bytes) -> None:
        os.write(self._stdout, data)

    def err(self, data: bytes) -> None:
        os.write(self._stderr, data)

    async def received(self) -> bytes:
        return await asyncio.to_thread(os.read, self._stdin, 65536)

    def close_stdin(self) -> None:
        self._close(self._stdin)

    def exit(self) -> None:
        for fd in list(self._open):
            self._close(fd)

    async def supervisor_closes_stdin(self) -> None:
        self.stdin_closed = True

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    process = Process()
    yield process
    process.exit()


def start(
    process: Process, pump: Pump, *, stdin_once: bool = True, point: AttachPoint | None = None
) -> Streams:
    return Streams.start(
        process.stdio,
        tty=False,
        log=None,
        stdin_once=stdin_once,
        close_stdin=process.supervisor_closes_stdin,
        pump=pump,
        point=point,
    )


async def test_a_client_that_attached_before_the_start_misses_nothing(
    process: Process, pump: Pump
) -> None:
    point, client = AttachPoint(), FakeDuplex()
    attached = asyncio.create_task(point.attach(client, AttachOptions(mux=True)))
    await asyncio.sleep(0)
    process.out(b"out")
    streams = start(process, pump, point=point)
    await client.until(frame(STDOUT, b"out"))
    process.err(b"err")
    process.exit()
    await streams.drained()
    assert client.got == frame(STDOUT, b"out") + frame(STDERR, b"err")
    assert await attached is Ending.EXITED
    await streams.close()


async def test_attach_spans_restarts_of_the_container(pump: Pump) -> None:
    point = AttachPoint()
    for word in (b"first", b"second"):
        process, client = Process(), FakeDuplex()
        attached = asyncio.create_task(point.attach(client, RAW))
        await asyncio.sleep(0)
        streams = start(process, pump, point=point)
        process.out(word)
        process.exit()
        await streams.drained()
        assert await attached is Ending.EXITED
        assert client.got == word
        await streams.close()


async def test_a_container_that_is_removed_releases_who_waits_for_it() -> None:
    point = AttachPoint()
    attached = asyncio.create_task(point.attach(FakeDuplex(), RAW))
    await asyncio.sleep(0)
    point.close()
    assert await attached is Ending.EXITED


async def test_a_client_that_waits_may_hang_up() -> None:
    point, client = AttachPoint(), FakeDuplex()
    attached = asyncio.create_task(point.attach(client, RAW))
    await asyncio.sleep(0)
    client.hang_up()
    assert await attached is Ending.GONE


async def test_streams_that_are_not_wanted_are_not_sent(process: Process, pump: Pump) -> None:
    streams, client = start(process, pump), FakeDuplex()
    attached = asyncio.create_task(
        streams.attach(client, AttachOptions(stdout=False, stderr=True, mux=False))
    )
    await asyncio.sleep(0)
    process.out(b"out")
    process.err(b"err")
    process.exit()
    await streams.drained()
    await attached
    assert client.got == b"err"
    await streams.close()


async def test_half_close_ends_the_input_and_not_the_output(process: Process, pump: Pump) -> None:
    streams, client = start(process, pump), FakeDuplex()
    attached = asyncio.create_task(streams.attach(client, WITH_INPUT))
    await asyncio.sleep(0)
    client.type(b"hello")
    assert await process.received() == b"hello"
    client.half_close()
    assert await process.received() == b""
    assert process.stdin_closed
    process.out(b"still here")
    await client.until(b"still here")
    process.exit()
    assert await attached is Ending.EXITED
    await streams.close()


async def test_input_for_all_is_not_closed_by_one(process: Process, pump: Pump) -> None:
    """OpenStdin without StdinOnce: the client goes, the input stays."""
    streams, client = start(process, pump, stdin_once=False), FakeDuplex()
    attached = asyncio.create_task(streams.attach(client, WITH_INPUT))
    await asyncio.sleep(0)
    client.type(b"one")
    assert await process.received() == b"one"
    client.half_close()
    assert await attached is Ending.INPUT_OVER or attached.result() is Ending.EXITED
    assert not process.stdin_closed
    second = FakeDuplex()
    attached = asyncio.create_task(streams.attach(second, WITH_INPUT))
    await asyncio.sleep(0)
    second.type(b"two")
    assert await process.received() == b"two"
    second.hang_up()
    await attached
    await streams.close()


async def test_a_client_that_hangs_up_does_not_end_the_process(
    process: Process, pump: Pump
) -> None:
    streams, client = start(process, pump), FakeDuplex()
    attached = asyncio.create_task(streams.attach(client, RAW))
    await asyncio.sleep(0)
    process.out(b"x")
    await client.until(b"x")
    client.hang_up()
    assert await attached is Ending.GONE
    process.out(b"nobody listens")
    other = FakeDuplex()
    attached = asyncio.create_task(streams.attach(other, RAW))
    await asyncio.sleep(0)
    process.exit()
    await attached
    await streams.close()


async def test_a_process_that_closed_its_input_goes_on_talking(
    process: Process, pump: Pump
) -> None:
    streams, client = start(process, pump), FakeDuplex()
    attached = asyncio.create_task(streams.attach(client, WITH_INPUT))
    await asyncio.sleep(0)
    process.close_stdin()
    client.type(b"lost")
    process.out(b"heard")
    await client.until(b"heard")
    process.exit()
    assert await attached is Ending.EXITED
    await streams.close()


async def test_much_input_waits_for_a_slow_process(process: Process, pump: Pump) -> None:
    streams, client = start(process, pump), FakeDuplex()
    attached = asyncio.create_task(streams.attach(client, WITH_INPUT))
    await asyncio.sleep(0)
    sent = os.urandom(1 << 20)
    client.type(sent)
    client.half_close()
    got = b""
    while data := await process.received():
        got += data
    assert got == sent
    process.exit()
    await attached
    await streams.close()


async def test_twenty_megabytes_pass_to_every_client(process: Process, pump: Pump) -> None:
    streams = start(process, pump)
    clients = [FakeDuplex(), FakeDuplex()]
    attached = [asyncio.create_task(streams.attach(client, RAW)) for client in clients]
    await asyncio.sleep(0)
    sent = os.urandom(1 << 20) * 20
    os.set_blocking(process._stdout, True)

    def write() -> None:
        rest = memoryview(sent)
        while rest:
            rest = rest[os.write(process._stdout, rest) :]

    await asyncio.to_thread(write)
    process.exit()
    await streams.drained()
    await asyncio.gather(*attached)
    assert all(bytes(client.got) == sent for client in clients)
    await streams.close()


async def test_a_stalled_client_is_dropped_and_freezes_nobody(
    process: Process, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "CLIENT_BUFFER", 100_000)
    monkeypatch.setattr(audience, "STALL_SECONDS", 0.05)
    streams = start(process, pump)
    stalled, healthy = FakeDuplex(stalled=True), FakeDuplex()
    dropped = asyncio.create_task(streams.attach(stalled, RAW))
    attached = asyncio.create_task(streams.attach(healthy, RAW))
    await asyncio.sleep(0)
    data = b"x" * 1_000_000 + b"end"

    def write() -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(process._stdout, rest) :]

    await asyncio.to_thread(write)
    await healthy.until(b"end")
    assert await dropped is Ending.GONE
    process.exit()
    await streams.drained()
    assert await attached is Ending.EXITED
    assert healthy.got == data
    await streams.close()


async def test_drained_waits_for_the_last_byte(process: Process, pump: Pump) -> None:
    streams, client = start(process, pump), FakeDuplex()
    attached = asyncio.create_task(streams.attach(client, RAW))
    await asyncio.sleep(0)
    process.out(b"y" * 60_000)
    process.exit()
    await streams.drained()
    assert client.got == b"y" * 60_000
    await attached
    await streams.close()


async def test_output_that_somebody_else_holds_open_is_cut_off(
    process: Process, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "DRAIN_SECONDS", 0.01)
    streams, client = start(process, pump), FakeDuplex()
    attached = asyncio.create_task(streams.attach(client, RAW))
    await asyncio.sleep(0)
    process.out(b"last words")
    await client.until(b"last words")
    await streams.drained()
    assert await attached is Ending.EXITED
    await streams.close()


async def test_a_terminal_echoes_detaches_and_ends(pump: Pump) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)

    async def nothing() -> None: ...

    streams = Streams.start(
        SimpleNamespace(stdin=None, stdout=None, stderr=None, pty=master),
        tty=True,
        log=None,
        stdin_once=True,
        close_stdin=nothing,
        pump=pump,
    )
    client = FakeDuplex()
    options = AttachOptions(stdin=True, mux=False, detach_keys=b"\x10\x11")
    attached = asyncio.create_task(streams.attach(client, options))
    await asyncio.sleep(0)
    client.type(b"ls\r")
    assert await asyncio.to_thread(os.read, slave, 100) == b"ls\r"
    os.write(slave, b"files")
    await client.until(b"files")
    client.type(b"\x10\x11")
    assert await attached is Ending.DETACHED

    again = FakeDuplex()
    attached = asyncio.create_task(streams.attach(again, options))
    await asyncio.sleep(0)
    os.write(slave, b"back")
    await again.until(b"back")
    os.close(slave)
    assert await attached is Ending.EXITED
    await streams.close()


async def test_leaving_reads_no_more_and_a_successor_continues(
    process: Process, pump: Pump
) -> None:
    copies = SimpleNamespace(stdin=None, stdout=os.dup(process.stdio.stdout), stderr=None, pty=None)
    streams = start(process, pump)
    await streams.leave()
    process.out(b"kept in the pipe")
    client = FakeDuplex()
    point = AttachPoint()
    attached = asyncio.create_task(point.attach(client, RAW))
    await asyncio.sleep(0)
    again = Streams.start(
        copies,
        tty=False,
        log=None,
        stdin_once=True,
        close_stdin=process.supervisor_closes_stdin,
        pump=pump,
        point=point,
    )
    process.exit()
    await again.drained()
    await attached
    assert client.got == b"kept in the pipe"
    await again.close()
