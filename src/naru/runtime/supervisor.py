"""The daemon's side of the supervisor: starts or finds it, spawns through it, hears of exits.

Nothing is lost when either side dies. The daemon keeps copies of every container's descriptors
(stdio and a pidfd): a supervisor that dies is replaced, and gets them back. Exits stay on disk
until they are acknowledged: a daemon that dies reads them when it comes back.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from naru.kernel import process
from naru.runtime import supervisor_launch
from naru.runtime.supervised import Exit, Kept, Stdio, Supervised
from naru.runtime.supervisor_link import Link, LinkLost, Reply
from naru.runtime.supervisor_process import program
from naru.runtime.supervisor_upkeep import Upkeep
from naru.spec.errors import InternalError

log = logging.getLogger(__name__)


class SpawnFailed(InternalError):
    """The runtime ended with `status`, or could not be executed at all."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


_Key = tuple[str, str | None]


class Supervisor:
    """Set `on_exit` before `connect()`; it is called on the loop, never before the `spawn` of
    that container or exec has returned, and again after a restart until `acknowledge`."""

    def __init__(
        self,
        exec_root: Path,
        *,
        hidden_mount: Path | None = None,
        launching: asyncio.Task[process.Finished] | None = None,
    ) -> None:
        """`hidden_mount`: a mount that runtimes must not see (kernel/cgroup_hybrid says when).
        `launching`: a `supervisor_launch.launch` that was begun already."""
        self._root = exec_root
        self._hidden_mount = hidden_mount
        self._upkeep = Upkeep(
            exec_root,
            hidden_mount=hidden_mount,
            launching=launching,
            greet=self._greet,
            on_exit=self._heard,
        )
        self._kept: dict[_Key, Kept] = {}
        self._told: set[tuple[_Key, int]] = set()  # exits given to on_exit, not yet acknowledged
        self._unwanted: set[_Key] = set()  # nobody waits for their exits
        self._forgetting: set[asyncio.Task[None]] = set()  # acknowledges of those
        self.on_exit: Callable[[Exit], None] = _unheard
        self.pid = 0

    # -- connection -------------------------------------------------------------------------

    async def connect(self) -> None:
        """Find the supervisor of this exec root or start it, and learn what it keeps."""
        await self._upkeep.connect()

    async def close(self) -> None:
        """Leave; the supervisor and its containers go on."""
        await self._upkeep.close()
        for kept in self._kept.values():
            kept.close()
        self._kept.clear()

    async def quit(self) -> bool:
        """End the supervisor if it keeps nothing; True when it ended."""
        return await self._upkeep.quit()

    async def _greet(self, link: Link) -> None:
        """Upgrade the supervisor, give it what a former one had kept, learn the rest."""
        hello = await link.request("hello")
        # None: an older one, which looks for its file when asked, and the file is gone.
        if hello.body.get("code") != program.identity():
            argv = supervisor_launch.command(self._root, self._hidden_mount)
            await link.request("upgrade", argv=argv)
            hello = await link.request("hello")
        self.pid = hello.body["pid"]
        for kept in list(self._kept.values()):
            key = kept.supervised
            await link.request(
                "adopt",
                list(kept.fds.values()),
                container=key.container_id,
                exec=key.exec_id,
                pid=key.pid,
                fds=list(kept.fds),
            )
        await link.request("adopted")
        await self._learn(link)
        for record in await asyncio.to_thread(_recorded_exits, self._root / "exits"):
            self._tell(record)
        log.info("the supervisor (pid %d) is in charge", self.pid)

    async def _learn(self, link: Link) -> None:
        """Take copies of what an earlier daemon left to the supervisor."""
        for state in await _live(link):
            key = (state["container"], state["exec"])
            if key in self._kept:
                continue
            reply = await link.request("stdio", container=key[0], exec=key[1])
            kept = Kept(Supervised(*key, state["pid"]), dict(_named(reply)), state["exited"])
            self._kept[key] = kept

    def entering(self, argv: Sequence[str]) -> list[str]:
        """`argv`, run where the supervisor runs runtimes: in its mount namespace if it has one."""
        if self._hidden_mount is None:
            return list(argv)
        return ["/usr/bin/nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "--", *argv]

    # -- what it does -----------------------------------------------------------------------

    async def spawn(
        self,
        container_id: str,
        exec_id: str | None,
        *,
        path: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        pid_file: Path,
        tty: bool,
        stdin: bool,
        sealed: bool = False,
    ) -> tuple[int, Stdio]:
        """Run the OCI runtime until it has started the process -> its pid and stdio.

        `{console}` in argv stands for the console socket's path. `SpawnFailed` when the runtime
        fails, `LinkLost` when the supervisor dies meanwhile: the process may or may not exist.
        """
        self._unwanted.discard((container_id, exec_id))
        reply = await self._upkeep.request(
            "spawn",
            container=container_id,
            exec=exec_id,
            path=path,
            argv=list(argv),
            env=dict(env),
            pid_file=str(pid_file),
            tty=tty,
            stdin=stdin,
            sealed=sealed,
        )
        if "error" in reply.body:
            raise SpawnFailed(reply.body["error"])
        if "failed" in reply.body:
            raise SpawnFailed("the runtime failed", reply.body["failed"])
        pid = reply.body["pid"]
        kept = Kept(Supervised(container_id, exec_id, pid), dict(_named(reply)))
        old = self._kept.pop((container_id, exec_id), None)
        if old is not None:
            old.close()
        self._kept[container_id, exec_id] = kept
        return pid, kept.stdio()

    async def abandon(self, container_id: str, exec_id: str | None) -> int | None:
        """After `LinkLost` from `spawn`: nobody shall hear of that process. When a supervisor is
        in charge again -> the pidfd of the process, if it has come to life."""
        self._unwanted.add((container_id, exec_id))
        await self._upkeep.in_charge()
        return self.pidfd(container_id, exec_id)

    async def live(self) -> list[Supervised]:
        """The containers and execs whose processes have not ended."""
        return [kept.supervised for kept in self._kept.values() if not kept.exited]

    async def stdio(self, container_id: str, exec_id: str | None = None) -> Stdio:
        """Fresh copies, to attach again after a restart of the daemon; also of an ended process
        until its exit is acknowledged. All None when it is unknown."""
        kept = self._kept.get((container_id, exec_id))
        return kept.stdio() if kept is not None else Stdio(None, None, None, None)

    def pidfd(self, container_id: str, exec_id: str | None = None) -> int | None:
        """The process's pidfd, still ours; None when it has ended or is unknown."""
        kept = self._kept.get((container_id, exec_id))
        return kept.fds.get("pidfd") if kept is not None else None

    def has_ended(self, container_id: str, exec_id: str | None = None) -> bool:
        """Whether its exit has been heard, and not yet acknowledged."""
        kept = self._kept.get((container_id, exec_id))
        return kept is not None and kept.exited

    def resize(self, container_id: str, exec_id: str | None, height: int, width: int) -> None:
        """Set the size of the terminal; nothing to do without one."""
        kept = self._kept.get((container_id, exec_id))
        if kept is not None and "pty" in kept.fds:
            size = struct.pack("HHHH", height, width, 0, 0)
            fcntl.ioctl(kept.fds["pty"], termios.TIOCSWINSZ, size)

    async def close_stdin(self, container_id: str, exec_id: str | None = None) -> None:
        """Close our and the supervisor's copy, so that the process reads EOF (StdinOnce)."""
        kept = self._kept.get((container_id, exec_id))
        if kept is not None:
            kept.close("stdin")
        await self._upkeep.request("close_stdin", container=container_id, exec=exec_id)

    async def acknowledge(self, ended: Exit) -> None:
        """The exit is in the records and the output read to its end: forget both."""
        key = (ended.container_id, ended.exec_id)
        kept = self._kept.get(key)
        if kept is not None and kept.supervised.pid == ended.pid:
            del self._kept[key]
            kept.close()
        self._told.discard((key, ended.pid))
        with suppress(LinkLost):  # the next supervisor finds the exit's file, and it is told again
            await self._upkeep.request(
                "acknowledge", container=ended.container_id, exec=ended.exec_id, pid=ended.pid
            )

    # -- exits ------------------------------------------------------------------------------

    def _heard(self, record: dict[str, Any]) -> None:
        # One turn later: whoever awaits the spawn of this process has been woken before, even
        # when both messages were read at once.
        asyncio.get_running_loop().call_soon(self._tell, record)

    def _tell(self, record: dict[str, Any]) -> None:
        ended = Exit(
            container_id=record["container"],
            exec_id=record["exec"],
            pid=record["pid"],
            status=record["status"],
            at=record["at"],
        )
        key = (ended.container_id, ended.exec_id)
        kept = self._kept.get(key)
        if kept is not None and kept.supervised.pid == ended.pid:
            kept.exited = True
            kept.close("stdin", "pidfd")
        if key in self._unwanted:
            forgetting = asyncio.get_running_loop().create_task(self.acknowledge(ended))
            self._forgetting.add(forgetting)  # the loop itself keeps no strong reference
            forgetting.add_done_callback(self._forgetting.discard)
            return
        if (key, ended.pid) in self._told:
            return
        self._told.add((key, ended.pid))
        try:
            self.on_exit(ended)
        except Exception:
            log.exception("handling the exit of %s failed", ended.container_id)


def _unheard(ended: Exit) -> None:
    log.warning("nobody heard the exit of %s", ended.container_id)


def _named(reply: Reply) -> Sequence[tuple[str, int]]:
    return list(zip(reply.body.get("fds", ()), reply.fds, strict=True))


async def _live(link: Link) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    more = True
    while more:
        arguments: dict[str, Any] = {"from": len(found)}
        reply = await link.request("live", **arguments)
        found += reply.body["live"]
        more = reply.body["more"]
    return found


def _recorded_exits(directory: Path) -> list[dict[str, Any]]:
    records = []
    for path in directory.iterdir():
        if not path.name.endswith("~"):
            with suppress(FileNotFoundError):
                records.append(msgspec.json.decode(path.read_bytes(), type=dict[str, Any]))
    return sorted(records, key=lambda record: record["at"])
