"""What must outlive what: containers outlive the daemon's client, the supervisor, its upgrade."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from tests.system.runtime.runtime_bench import DEADLINE, Bench, ended, read_all

from naru.kernel.process import Finished
from naru.runtime import supervisor_launch
from naru.runtime.supervised import Stdio
from naru.runtime.supervisor_link import Link, LinkLost
from naru.runtime.supervisor_process import program

_SCRIPT = "while read line; do echo got $line; done; exit 9"


async def _another(bench: Bench, old: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while bench.supervisor.pid == old:
            with suppress(LinkLost):  # sent before the loss was noticed
                await bench.supervisor.close_stdin("nobody")  # waits for one to be in charge


async def _kill_supervisor(bench: Bench) -> None:
    pid = bench.supervisor.pid
    os.kill(pid, signal.SIGKILL)
    await ended(pid)
    await _another(bench, pid)


async def test_a_killed_supervisor_loses_nothing(bench: Bench) -> None:
    pid, stdio = await bench.run("c", "sh", "-c", _SCRIPT, stdin=True)
    _, out = await bench.runtime.exec(
        "c", "e", bench.process("sh", "-c", _SCRIPT), tty=False, stdin=True
    )
    assert stdio.stdin is not None
    assert out.stdin is not None
    os.write(stdio.stdin, b"one\n")
    await _kill_supervisor(bench)
    assert [one.exec_id for one in await bench.supervisor.live()] == [None, "e"]
    for stream in (stdio.stdin, out.stdin):
        os.write(stream, b"two\n")
        os.close(stream)
    await bench.runtime.close_stdin("c", "e")
    assert await read_all(out.stdout) == b"got two\n"
    assert (await bench.exit_of("c", "e")).status == 9
    await bench.runtime.close_stdin("c", None)
    assert await read_all(stdio.stdout) == b"got one\ngot two\n"
    ending = await bench.finish("c", stdio._replace(stdin=None))
    assert (ending.pid, ending.status) == (pid, 9)
    bench.exits.clear()
    _, again = await bench.run("c", "true")
    assert (await bench.finish("c", again)).status == 0


async def test_starting_another_is_tried_until_it_succeeds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher that is killed, too, must not leave the daemon without a supervisor for ever."""
    launch, left = supervisor_launch.launch, itertools.count(-7)

    async def unlucky(root: Path, hidden_mount: Path | None) -> Finished:
        return Finished(137, b"") if next(left) < 0 else await launch(root, hidden_mount)

    monkeypatch.setattr(supervisor_launch, "launch", unlucky)
    await _kill_supervisor(bench)
    _, stdio = await bench.run("c", "true")
    assert (await bench.finish("c", stdio)).status == 0


async def test_an_end_while_no_supervisor_lives(bench: Bench) -> None:
    """The daemon's pidfd tells the next supervisor the status."""
    pid, stdio = await bench.run("c", "sh", "-c", "read line; exit 6", stdin=True)
    assert stdio.stdin is not None
    old = bench.supervisor.pid
    os.kill(old, signal.SIGSTOP)
    os.write(stdio.stdin, b"\n")
    await ended(pid)
    os.kill(old, signal.SIGKILL)
    await ended(old)
    await _another(bench, old)
    assert (await bench.finish("c", stdio)).status == 6


async def test_daemon_and_supervisor_gone_at_once(bench: Bench, rootfs: Path) -> None:
    """The container runs on, what it writes is kept for the next ones, and its exit is told."""
    go = rootfs / "tmp" / "go"
    os.mkfifo(go)
    counting = "echo 0; read x < /tmp/go; i=1; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); done"
    pid, stdio = await bench.run("c", "sh", "-c", f"{counting}; exit 4")
    stdio.close()
    await bench.close()
    os.kill(bench.supervisor.pid, signal.SIGKILL)
    await ended(bench.supervisor.pid)
    again = Bench(bench.exec_root, rootfs)
    await again.supervisor.connect()
    try:
        assert [one.pid for one in await again.supervisor.live()] == [pid]
        await asyncio.wait_for(asyncio.to_thread(go.write_text, "\n"), DEADLINE)
        go.unlink()
        output = await again.supervisor.stdio("c")
        assert await read_all(output.stdout) == b"".join(b"%d\n" % i for i in range(40))
        assert (await again.finish("c")).status == 4
    finally:
        await again.close()
    await bench.supervisor.connect()


def _other_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the program -> where it lies. From here on it is what the daemon would run."""
    copy = folder / "other_version"
    shutil.copytree(program.DIRECTORY, copy)
    monkeypatch.setattr(program, "DIRECTORY", str(copy))
    return copy


async def _upgrade(bench: Bench) -> Link:
    link = await bench.supervisor._upkeep.link()
    await link.request("upgrade", argv=program.command(str(bench.exec_root)))
    return link


async def _connected(bench: Bench, rootfs: Path) -> None:
    """Another daemon comes, and finds the supervisor's process to be the same."""
    other = Bench(bench.exec_root, rootfs)
    await other.supervisor.connect()
    assert other.supervisor.pid == bench.supervisor.pid
    await other.close()


async def _end(bench: Bench, stdio: Stdio) -> None:
    """Container "c" is still kept, and its end is heard of."""
    await bench.runtime.kill("c", 9)
    assert (await bench.finish("c", stdio)).status == 137


async def test_an_upgrade_in_place(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the program takes over in the same pid, with children and stdio."""
    _, stdio = await bench.run("c", "sh", "-c", _SCRIPT, stdin=True)
    assert stdio.stdin is not None
    other = _other_version(tmp_path, monkeypatch)
    hello = await (await _upgrade(bench)).request("hello")
    assert hello.body["pid"] == bench.supervisor.pid
    assert hello.body["code"][0] == str(other)
    os.write(stdio.stdin, b"one\n")
    os.close(stdio.stdin)
    await bench.runtime.close_stdin("c", None)
    assert await read_all(stdio.stdout) == b"got one\n"
    assert (await bench.finish("c", stdio._replace(stdin=None))).status == 9
    _, again = await bench.run("d", "true")
    assert (await bench.finish("d", again)).status == 0


async def test_a_daemon_of_another_version_upgrades_it(
    bench: Bench, tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, stdio = await bench.run("c", "sleep", "1000")
    with monkeypatch.context() as patch:
        _other_version(tmp_path, patch)
        link = await _upgrade(bench)
        assert (await link.request("hello")).body["code"] == program.identity()
    await _connected(bench, rootfs)
    assert (await link.request("hello")).body["code"] == program.identity()
    await _end(bench, stdio)


async def test_files_replaced_beneath_it(
    bench: Bench, tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package upgrade puts newer files where the running program's lay."""
    _, stdio = await bench.run("c", "sleep", "1000")
    main = _other_version(tmp_path, monkeypatch) / "main.py"
    link = await _upgrade(bench)
    assert (await link.request("hello")).body["code"] == program.identity()
    comm = Path(f"/proc/{bench.supervisor.pid}/comm")
    assert comm.read_text() == "naru-supervisor\n"
    main.write_text(main.read_text().replace('"naru-supervisor"', '"newer"'))
    await _connected(bench, rootfs)
    assert comm.read_text() == "newer\n"
    await _end(bench, stdio)


async def test_one_that_cannot_tell_its_code(
    bench: Bench, tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older programs look for their file when asked what they are, and an upgrade may move it."""
    _, stdio = await bench.run("c", "sleep", "1000")
    with monkeypatch.context() as patch:
        loop = _other_version(tmp_path, patch) / "loop.py"
        loop.write_text(loop.read_text().replace("self._code}", "program.identity()}"))
        link = await _upgrade(bench)
        assert (await link.request("hello")).body["code"] == program.identity()
        shutil.rmtree(program.DIRECTORY)
    assert "error" in (await link.request("hello")).body
    await _connected(bench, rootfs)
    assert (await link.request("hello")).body["code"] == program.identity()
    await _end(bench, stdio)


async def test_asked_to_end_during_an_upgrade(bench: Bench) -> None:
    """The signal waits until the new program knows what it keeps."""
    _, stdio = await bench.run("c", "sleep", "1000")
    link = await bench.supervisor._upkeep.link()
    asking = ["/bin/sh", "-c", 'kill -TERM $$; exec "$@"', "sh"]
    await link.request("upgrade", argv=[*asking, *program.command(str(bench.exec_root))])
    assert (await link.request("hello")).body["pid"] == bench.supervisor.pid
    await _end(bench, stdio)


async def test_sigterm_does_not_end_a_supervisor_at_work(bench: Bench) -> None:
    _, stdio = await bench.run("c", "sleep", "1000")
    os.kill(bench.supervisor.pid, signal.SIGTERM)
    assert not await bench.supervisor.quit()
    await bench.runtime.kill("c", 9)
    await bench.finish("c", stdio)


async def test_one_supervisor_per_exec_root(bench: Bench, rootfs: Path) -> None:
    others = [Bench(bench.exec_root, rootfs) for _ in range(3)]
    await asyncio.gather(*(other.supervisor.connect() for other in others))
    assert {other.supervisor.pid for other in others} == {bench.supervisor.pid}
    for other in others:
        await other.close()


async def test_memory_is_flat(bench: Bench) -> None:
    def private_kilobytes() -> int:
        text = Path(f"/proc/{bench.supervisor.pid}/smaps_rollup").read_text()
        rows = [line.split() for line in text.splitlines()]
        return sum(int(row[1]) for row in rows if row[0] == "Private_Dirty:")

    _, first = await bench.run("c", "true")
    await bench.finish("c", first)
    before = private_kilobytes()
    names = [f"c{number}" for number in range(20)]
    started = [await bench.run(name, "sleep", "1000") for name in names]
    grown = private_kilobytes() - before
    for name, (_, stdio) in zip(names, started, strict=True):
        await bench.runtime.kill(name, 9)
        await bench.finish(name, stdio)
    print(f"supervisor: {before} kB private, {grown} kB more with 20 containers")
    assert before < 8 * 1024
    assert grown < 20 * 20


def start_at_a_word(bench: Bench, folder: Path) -> Path:
    """Have the runtime tell a FIFO of a start and wait for a line of it -> the FIFO."""
    slow, fifo = folder / "slow", folder / "fifo"
    os.mkfifo(fifo)
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *detach*) echo > {fifo}; read x < {fifo};; esac\nexec crun "$@"\n'
    )
    slow.chmod(0o755)
    bench.runtime._program._path = str(slow)
    return fifo


async def test_a_supervisor_killed_during_a_start(bench: Bench, tmp_path: Path) -> None:
    """The start fails, and nothing is left of it: no process, no state, no exit to hear of."""
    fifo = start_at_a_word(bench, tmp_path)
    pid = bench.supervisor.pid
    starting = asyncio.create_task(bench.run("c", "sleep", "1000"))
    await asyncio.wait_for(asyncio.to_thread(fifo.read_text), DEADLINE)
    os.kill(pid, signal.SIGKILL)
    await ended(pid)
    await asyncio.wait_for(asyncio.to_thread(fifo.write_text, "go\n"), DEADLINE)
    with pytest.raises(LinkLost):
        await starting
    assert await bench.runtime.state("c") is None
    async with asyncio.timeout(DEADLINE):
        while await bench.supervisor.live() or any((bench.exec_root / "exits").iterdir()):
            await bench.supervisor.close_stdin("nobody")
    assert bench.exits == {}
    bench.runtime._program._path = "crun"
    _, stdio = await bench.run("c", "true")
    assert (await bench.finish("c", stdio)).status == 0
    assert await bench.supervisor.quit()
    await bench.supervisor.connect()


async def test_a_daemon_killed_during_a_start(bench: Bench, rootfs: Path, tmp_path: Path) -> None:
    """The next one learns of the process, however late the runtime brings it to life."""
    fifo = start_at_a_word(bench, tmp_path)
    starting = asyncio.create_task(bench.run("c", "sleep", "1000"))
    await asyncio.wait_for(asyncio.to_thread(fifo.read_text), DEADLINE)
    await bench.close()
    with pytest.raises(LinkLost):
        await starting
    again = Bench(bench.exec_root, rootfs)
    connecting = asyncio.create_task(again.supervisor.connect())
    await asyncio.wait_for(asyncio.to_thread(fifo.write_text, "go\n"), DEADLINE)
    await asyncio.wait_for(connecting, DEADLINE)
    try:
        assert [one.container_id for one in await again.supervisor.live()] == ["c"]
        await again.runtime.kill("c", 9)
        assert (await again.finish("c")).status == 137
    finally:
        await again.close()
    await bench.supervisor.connect()


async def test_nonsense_harms_nobody(bench: Bench) -> None:
    _, stdio = await bench.run("c", "sleep", "1000")
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = os.open(bench.exec_root, os.O_PATH)
    stranger.connect(f"/proc/self/fd/{directory}/supervisor.sock")
    os.close(directory)
    for message in (b'{"id": 1, "op": "nonesuch"}', b'{"id": 2, "op": "stdio"}'):
        stranger.send(message)
        assert b"error" in stranger.recv(65536)
    stranger.send(b"\xff no json")
    assert stranger.recv(65536) == b""
    stranger.close()
    link = await bench.supervisor._upkeep.link()
    assert (await link.request("hello")).body["pid"] == bench.supervisor.pid
    await bench.runtime.kill("c", 9)
    assert (await bench.finish("c", stdio)).status == 137


async def test_a_storm_of_starts_and_killed_supervisors(bench: Bench) -> None:
    """A start under way may fail; what has started keeps its output and its exit code."""
    finished: list[tuple[int, int, bytes]] = []
    over = asyncio.Event()
    step = asyncio.Condition()

    async def keep_starting(worker: int) -> None:
        for number in itertools.count():
            if over.is_set():
                return
            name, code = f"w{worker}-{number}", (worker * 31 + number) % 100
            try:
                _, stdio = await bench.run(name, "sh", "-c", f"echo a; exit {code}")
            except LinkLost:
                continue
            ending = await bench.exit_of(name)
            finished.append((ending.status, code, await read_all(stdio.stdout)))
            stdio.close()
            with suppress(LinkLost):
                await bench.supervisor.acknowledge(ending)
            await bench.runtime.delete(name)
            async with step:
                step.notify_all()

    workers = [asyncio.create_task(keep_starting(number)) for number in range(4)]
    async with asyncio.timeout(4 * DEADLINE):
        for kills in range(1, 6):
            async with step:
                await step.wait_for(lambda kills=kills: len(finished) >= 7 * kills)
            with suppress(ProcessLookupError):
                os.kill(bench.supervisor.pid, signal.SIGKILL)
        over.set()
        await asyncio.gather(*workers)
    assert all(status == code and output == b"a\n" for status, code, output in finished)
    assert await bench.supervisor.live() == []
    for directory in ("pids", "starts", "starts-crun", "runtime-crun", "console"):
        assert list((bench.exec_root / directory).iterdir()) == []
