from __future__ import annotations

import os
import signal

import pytest

from naru.kernel import process


async def test_run_gives_status_and_output() -> None:
    finished = await process.run(["/bin/sh", "-c", "echo a; echo b >&2; exit 4"], env={})
    assert finished == (4, b"a\nb\n")


async def test_run_feeds_stdin_and_env() -> None:
    finished = await process.run(
        ["/bin/sh", "-c", 'cat; echo "$X"'], env={"X": "1", "PATH": os.defpath}, stdin=b"in "
    )
    assert finished == (0, b"in 1\n")


async def test_run_takes_more_output_than_a_pipe_holds() -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done"
    finished = await process.run(["/bin/sh", "-c", script], env={})
    assert len(finished.output) == 3000 * 41


async def test_run_counts_signals_from_128() -> None:
    assert (await process.run(["/bin/sh", "-c", "kill -9 $$"], env={})).status == 137


async def test_run_raises_when_there_is_no_program() -> None:
    with pytest.raises(FileNotFoundError):
        await process.run(["/nonesuch"], env={})


def test_signals_and_exit_code_by_pidfd() -> None:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 100"], {"PATH": os.defpath})
    pidfd = os.pidfd_open(pid)
    try:
        assert process.exit_code(pidfd) is None
        process.send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert process.exit_code(pidfd) in (-9, None)  # None: a kernel before 6.15
        with pytest.raises(ProcessLookupError):
            process.send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
