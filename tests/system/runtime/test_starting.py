"""Containers and execs through the supervisor: stdio, terminals, exit codes, errors."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.system.runtime.runtime_bench import Bench, ended, group_of, read_all

from naru.kernel import cgroups, process
from naru.runtime import capabilities, seccomp
from naru.runtime.complaints import RuntimeFailed
from naru.spec.errors import InvalidParameter


async def test_output_and_exit_code(bench: Bench) -> None:
    _, stdio = await bench.run("c", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert stdio.stdin is None
    assert stdio.pty is None
    assert await read_all(stdio.stdout) == b"out\n"
    assert await read_all(stdio.stderr) == b"err\n"
    assert (await bench.finish("c", stdio)).status == 7


async def test_a_signal_counts_from_128(bench: Bench) -> None:
    pid, stdio = await bench.run("c", "sleep", "1000")
    await bench.runtime.kill("c", 9)
    await bench.exit_of("c")
    await bench.runtime.kill("c", 9)
    ending = await bench.finish("c", stdio)
    assert (ending.pid, ending.status) == (pid, 137)


async def test_stdin_reaches_the_container_and_its_end_too(bench: Bench) -> None:
    _, stdio = await bench.run("c", "cat", stdin=True)
    assert stdio.stdin is not None
    os.write(stdio.stdin, b"hello")
    os.close(stdio.stdin)
    await bench.runtime.close_stdin("c", None)
    assert await read_all(stdio.stdout) == b"hello"
    assert (await bench.finish("c", stdio._replace(stdin=None))).status == 0


async def test_a_terminal(bench: Bench) -> None:
    script = "read line; stty size; tty; echo got $line"
    _, stdio = await bench.run("c", "sh", "-c", script, tty=True, stdin=True)
    assert stdio.pty is not None
    assert stdio.stdout is None
    await bench.runtime.resize("c", None, 33, 99)
    os.write(stdio.pty, b"word\n")
    seen = await read_all(stdio.pty)
    assert b"33 99\r\n" in seen
    assert b"/dev/" in seen
    assert b"got word\r\n" in seen
    assert (await bench.finish("c", stdio)).status == 0


async def test_a_process_that_its_runtime_has_reaped(bench: Bench, tmp_path: Path) -> None:
    """Nobody can tell its status, and the supervisor goes on."""
    hasty = tmp_path / "hasty"
    hasty.write_text(
        '#!/bin/sh\nwhile [ "$1" ]; do [ "$1" = --pid-file ] && file=$2; shift; done\n'
        'true & wait $!; echo $! > "$file"\n'
    )
    hasty.chmod(0o755)
    bench.runtime._program._path = str(hasty)
    pid, stdio = await bench.run("c", "true")
    stdio.close()
    ending = await bench.exit_of("c")
    assert (ending.pid, ending.status) == (pid, 255)
    await bench.supervisor.acknowledge(ending)
    bench.runtime._program._path = "crun"
    before = bench.supervisor.pid
    _, again = await bench.run("d", "true")
    assert (await bench.finish("d", again)).status == 0
    assert bench.supervisor.pid == before


async def test_exec_beside_the_init(bench: Bench) -> None:
    _, stdio = await bench.run("c", "sleep", "1000")
    pid, out = await bench.runtime.exec(
        "c", "e1", bench.process("sh", "-c", "cat; echo done; exit 3"), tty=False, stdin=True
    )
    assert pid in await bench.runtime.pids("c")
    assert out.stdin is not None
    os.write(out.stdin, b"in ")
    os.close(out.stdin)
    await bench.runtime.close_stdin("c", "e1")
    assert await read_all(out.stdout) == b"in done\n"
    ending = await bench.exit_of("c", "e1")
    assert (ending.exec_id, ending.status) == ("e1", 3)
    out._replace(stdin=None).close()
    await bench.runtime.kill("c", 9)
    await bench.finish("c", stdio)


async def test_a_terminal_of_an_exec(bench: Bench) -> None:
    _, stdio = await bench.run("c", "sleep", "1000")
    _, out = await bench.runtime.exec(
        "c", "e1", bench.process("tty", tty=True), tty=True, stdin=False
    )
    assert b"/dev/pts/" in await read_all(out.pty)
    assert (await bench.exit_of("c", "e1")).status == 0
    out.close()
    await bench.runtime.kill("c", 9)
    await bench.finish("c", stdio)


async def test_signals_are_not_ignored_in_the_container(bench: Bench) -> None:
    """Python ignores SIGPIPE; a container that inherited that would never end `yes | head`."""
    _, stdio = await bench.run("c", "grep", "SigIgn", "/proc/self/status")
    ignored = int((await read_all(stdio.stdout)).split()[1], 16)
    glibc_internal = 1 << 31 | 1 << 32  # 32 and 33: posix_spawn leaves these ignored
    assert ignored & ~glibc_internal == 0
    await bench.finish("c", stdio)


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["nonesuch"], 127, 'exec: "nonesuch": executable file not found in $PATH: unknown'),
        (["/bin/nonesuch"], 127, "no such file or directory: unknown"),
        (["/etc"], 126, "permission denied"),
        (["/tmp/plain"], 126, "permission denied"),
    ],
)
async def test_a_command_that_cannot_run(
    bench: Bench, args: list[str], code: int, text: str
) -> None:
    (bench.rootfs / "tmp/plain").write_text("no program")
    with pytest.raises(InvalidParameter) as failure:
        await bench.run("c", *args)
    assert isinstance(failure.value, RuntimeFailed)
    assert failure.value.exit_code == code
    assert text in str(failure.value)
    assert str(failure.value).startswith("failed to create task for container: ")
    assert await bench.supervisor.live() == []
    assert await bench.runtime.state("c") is None


async def test_an_exec_that_cannot_run(bench: Bench) -> None:
    _, stdio = await bench.run("c", "sleep", "1000")
    with pytest.raises(RuntimeFailed, match="OCI runtime exec failed: exec failed") as failure:
        await bench.runtime.exec("c", "e1", bench.process("nonesuch"), tty=False, stdin=False)
    assert failure.value.exit_code == 127
    assert [one.exec_id for one in await bench.supervisor.live()] == [None]
    await bench.runtime.kill("c", 9)
    await bench.finish("c", stdio)


async def test_a_missing_mount_source(bench: Bench) -> None:
    config = bench.config("c", "true")
    config["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": "/nonesuch", "options": ["bind"]}
    )
    with pytest.raises(RuntimeFailed, match="no such file or directory"):
        await bench.run("c", "true", mounts=config["mounts"])


async def test_pause_resume_update_and_state(bench: Bench) -> None:
    pid, stdio = await bench.run("c", "sleep", "1000")
    await bench.runtime.pause("c")
    state = await bench.runtime.state("c")
    assert state is not None
    assert (state.status, state.pid) == ("paused", pid)
    await bench.runtime.resume("c")
    await bench.runtime.update("c", {"pids": {"limit": 77}})
    group = group_of(pid)
    directory = group.directory("pids")
    assert directory is not None
    assert cgroups.number(directory / "pids.max") == 77
    assert group.pids() == [pid]
    await bench.runtime.kill("c", 9)
    await bench.finish("c", stdio)
    assert not directory.exists()


async def test_a_hundred_that_end_at_once(bench: Bench) -> None:
    """The init may have ended before its pid is known, and in any order."""

    async def one(number: int) -> int:
        name = f"c{number}"
        _, stdio = await bench.run(name, "sh", "-c", f"exit {number}")
        return (await bench.finish(name, stdio)).status

    found: list[int] = []
    for start in range(0, 100, 10):
        found += await asyncio.gather(*(one(number) for number in range(start, start + 10)))
    assert found == list(range(100))
    assert all(len(endings) == 1 for endings in bench.exits.values())
    assert await bench.supervisor.live() == []
    assert list((bench.exec_root / "exits").iterdir()) == []
    assert list((bench.exec_root / "pids").iterdir()) == []


async def test_the_default_seccomp_profile_holds(bench: Bench) -> None:
    profile = seccomp.default_profile(capabilities.DEFAULT)
    _, stdio = await bench.run(
        "c",
        "sh",
        "-c",
        "grep Seccomp: /proc/self/status; unshare -U true",
        linux={"seccomp": profile},
    )
    assert (await read_all(stdio.stdout)).split() == [b"Seccomp:", b"2"]
    assert b"Operation not permitted" in await read_all(stdio.stderr)
    assert (await bench.finish("c", stdio)).status != 0
    written = (bench.exec_root / "bundles/c/config.json").read_bytes()
    assert b"seccomp_bpf_data" in written
    assert b"defaultAction" not in written


async def test_an_end_while_the_daemon_is_away_is_told_later(bench: Bench, rootfs: Path) -> None:
    pid, stdio = await bench.run("c", "sh", "-c", "read line; echo last words; exit 5", stdin=True)
    stdin = os.dup(stdio.stdin or 0)
    stdio.close()
    await bench.close()
    os.write(stdin, b"go\n")
    os.close(stdin)
    await ended(pid)
    again = Bench(bench.exec_root, rootfs)
    await again.supervisor.connect()
    try:
        ending = await again.exit_of("c")
        assert (ending.pid, ending.status) == (pid, 5)
        output = await again.supervisor.stdio("c")
        assert await read_all(output.stdout) == b"last words\n"
        await again.finish("c", output)
        assert list((bench.exec_root / "exits").iterdir()) == []
    finally:
        await again.close()
    bench.supervisor = again.supervisor
    await bench.supervisor.connect()


async def test_commands_leave_no_process(bench: Bench) -> None:
    finished = await process.run(["/bin/sh", "-c", "echo a; echo b >&2; exit 4"], env={})
    assert finished == (4, b"a\nb\n")
    with pytest.raises(FileNotFoundError):
        await process.run(["/nonesuch"], env={})


async def test_seccomp_holds_for_an_exec_too(bench: Bench) -> None:
    profile = seccomp.default_profile(capabilities.DEFAULT)
    _, stdio = await bench.run("c", "sleep", "1000", linux={"seccomp": profile})
    script = "grep Seccomp: /proc/self/status; unshare -U true"
    _, out = await bench.runtime.exec(
        "c", "e", bench.process("sh", "-c", script), tty=False, stdin=False
    )
    assert (await read_all(out.stdout)).split() == [b"Seccomp:", b"2"]
    assert b"Operation not permitted" in await read_all(out.stderr)
    out.close()
    await bench.runtime.kill("c", 9)
    await bench.finish("c", stdio)
