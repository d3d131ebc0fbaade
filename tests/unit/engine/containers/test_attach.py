from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.unit.engine.containers.duplex import FakeDuplex
from tests.unit.engine.containers.test_logs import container

from naru.engine.containers.attach import Attach
from naru.engine.containers.attach_point import AttachPoint
from naru.engine.containers.attachment import AttachOptions
from naru.engine.containers.logs import Logs
from naru.engine.containers.pump import Pump
from naru.engine.containers.streams import Streams


async def test_history_and_live_output_meet_without_gap_or_repetition(tmp_path: Path) -> None:
    """Clients attach at any moment of a stream of numbered lines, with the log so far."""
    record = container()
    (tmp_path / record.id).mkdir()
    logs, pump, point = Logs(containers_root=tmp_path, journal_root=tmp_path), Pump(), AttachPoint()

    async def nothing(*events: Any) -> None: ...

    containers: Any = SimpleNamespace(
        live=lambda record: SimpleNamespace(attach_point=point), tell=nothing
    )
    attach = Attach(containers=containers, logs=logs)
    read_end, write_end = os.pipe()
    streams = Streams.start(
        SimpleNamespace(stdin=None, stdout=read_end, stderr=None, pty=None),
        tty=False,
        log=logs.intake(record),
        stdin_once=False,
        close_stdin=nothing,
        pump=pump,
        point=point,
    )
    written = b"".join(b"line %d\n" % number for number in range(5000))

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(write_end, rest[:777]) :]

    clients, attached = [], []
    options = AttachOptions(mux=False)
    for at in range(0, len(written), 6000):
        clients.append(FakeDuplex())
        attached.append(
            asyncio.create_task(attach(record, clients[-1], options, history=True, stream=True))
        )
        await asyncio.to_thread(write, written[at : at + 6000])
    os.close(write_end)
    await streams.drained()
    await asyncio.gather(*attached)
    await streams.close()
    assert [bytes(client.got) == written for client in clients] == [True] * len(clients)
    logs.close()
    pump.close()
