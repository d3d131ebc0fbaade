"""The processes that are kept: how the end of each is learnt, recorded and told."""

from __future__ import annotations

import os
import select
import time

from .procfs import UNKNOWN_STATUS, open_pipes, start_ticks, status_of_other

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .records import Records
    from .wire import Json


class Process:
    """A container's init or an exec, with the descriptors kept for it.

    `fds` holds, by name: stdin, stdout, stderr or pty, and pidfd.
    """

    def __init__(self, state: Json, fds: dict[str, int]) -> None:
        self.container: str = state["container"]
        self.exec_id: str | None = state["exec"]
        self.pid: int = state["pid"]
        self.started: int = state["started"]  # ticks since boot: tells a reused pid apart
        self.exited: bool = state["exited"]
        self.ending: Json | None = None  # what its file in exits/ says, or should say
        self.pipes: dict[str, str] = state["pipes"]  # what /proc calls its stdout and stderr
        self.fds = fds

    @property
    def name(self) -> str:
        return name_of(self.container, self.exec_id)

    def state(self) -> Json:
        return {
            "container": self.container,
            "exec": self.exec_id,
            "pid": self.pid,
            "started": self.started,
            "exited": self.exited,
            "pipes": self.pipes,
        }

    def close(self, *names: str) -> None:
        for name in names or tuple(self.fds):
            fd = self.fds.pop(name, None)
            if fd is not None:
                os.close(fd)


def name_of(container: str, exec_id: str | None) -> str:
    return f"{container}.{exec_id}" if exec_id else container


class Processes:
    """What runs, and what has ended until a daemon acknowledges it.

    `pids/` and `exits/` mirror it. `tell` is called with the exits.
    """

    def __init__(self, records: Records, epoll: select.epoll, tell: Callable[[Json], None]) -> None:
        self._records = records
        self._epoll = epoll
        self._tell = tell
        self.by_name: dict[str, Process] = {}
        self.children: dict[int, Process] = {}  # by pid
        self.adopted: dict[int, Process] = {}  # by pidfd: those that are not our children
        self._lost: dict[str, Process] = {}  # ended while nobody watched

    def asked_for(self, request: Json) -> Process | None:
        return self.by_name.get(name_of(request["container"], request["exec"]))

    def add(self, process: Process) -> None:
        self.by_name[process.name] = process

    def watch_child(self, process: Process) -> bool:
        """One that we have not reaped: its pid is surely its own. False: the runtime has."""
        try:
            process.fds["pidfd"] = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return False
        self.children[process.pid] = process
        self._records.write("pids", process.name, process.state())
        return True

    def ended(self, process: Process, status: int, at: int) -> None:
        """Record first, tell then: a daemon that is away, or dies now, finds the file. The
        outputs stay open: what the container wrote last may still be in the pipe."""
        process.exited = True
        process.close("stdin", "pidfd")
        record = {
            "container": process.container,
            "exec": process.exec_id,
            "pid": process.pid,
            "status": status,
            "at": at,
        }
        process.ending = record
        self._records.write("exits", process.name, record)
        self._records.remove("pids", process.name)
        self._tell({"exit": record})

    def adopted_ended(self, pidfd: int) -> None:
        process = self.adopted[pidfd]
        status = status_of_other(process.pid, process.started, pidfd)
        if status is None:
            # A zombie whose status is not shown. EPOLLHUP, which needs no bit, tells when it
            # has been reaped, and the pidfd has it then.
            self._epoll.modify(pidfd, 0)
            return
        self._epoll.unregister(pidfd)
        del self.adopted[pidfd]
        self.ended(process, status, time.time_ns())

    def unrecorded(self) -> list[Json]:
        """The exits that have no file, because the disk was full."""
        endings = [(name, process.ending) for name, process in self.by_name.items()]
        return [end for name, end in endings if end and not self._records.has("exits", name)]

    def forget(self, process: Process) -> None:
        process.close()
        self.by_name.pop(process.name, None)
        self._records.remove("exits", process.name)
        self._records.remove("pids", process.name)

    def forget_record(self, request: Json) -> None:
        """An exit that our predecessor had recorded, of a process that is not kept."""
        self._records.remove("exits", name_of(request["container"], request["exec"]))

    # -- after a crash of our predecessor -----------------------------------------------------

    def adopt_recorded(self) -> None:
        """What ran under a supervisor that died. Its children are now another process's, so
        pidfds watch them and tell their status."""
        for name in self._records.names("pids"):
            process = Process(self._records.read("pids", name), {})
            if self._records.has("exits", name):
                self._records.remove("pids", name)
                continue
            self.add(process)
            if 0 < start_ticks(process.pid) == process.started:
                process.fds["pidfd"] = os.pidfd_open(process.pid)
                process.fds.update(open_pipes(process.pid, process.pipes))
                self._watch(process)
            else:
                self._lost[name] = process

    def give(self, process: Process, given: dict[str, int]) -> None:
        """A daemon's copies of what our predecessor had kept for it."""
        pidfd = given.pop("pidfd", None)
        for name, fd in given.items():
            process.close(name)
            process.fds[name] = fd
        if pidfd is not None and self._lost.pop(process.name, None) is not None:
            process.fds["pidfd"] = pidfd
            self._watch(process)
        elif pidfd is not None:
            os.close(pidfd)

    def all_given(self) -> None:
        """What nobody has a pidfd of ended with an unknown status."""
        for process in list(self._lost.values()):
            self.ended(process, UNKNOWN_STATUS, time.time_ns())
        self._lost.clear()

    def _watch(self, process: Process) -> None:
        self.adopted[process.fds["pidfd"]] = process
        self._epoll.register(process.fds["pidfd"], select.EPOLLIN)

    # -- at an upgrade -------------------------------------------------------------------------

    def state(self) -> Json:
        processes = [
            {**process.state(), "fds": process.fds, "child": process.pid in self.children}
            for process in self.by_name.values()
        ]
        return {"processes": processes, "lost": list(self._lost)}

    def take_over(self, state: Json) -> None:
        for saved in state["processes"]:
            process = Process(saved, saved["fds"])
            for fd in process.fds.values():
                os.set_inheritable(fd, False)
            self.add(process)
            if process.name in state["lost"]:
                self._lost[process.name] = process
            elif saved["child"]:
                self.children[process.pid] = process
            elif not process.exited:
                self._watch(process)

    def descriptors(self) -> list[int]:
        return [fd for process in self.by_name.values() for fd in process.fds.values()]
