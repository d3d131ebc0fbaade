"""The supervisor: one small process that outlives the daemon and owns every container's stdio.

It starts the OCI runtime, keeps the far ends of the pipes (or the pty) of each container and exec,
reaps their processes as a subreaper and records every exit in a file. It never reads or writes
container data. What daemons ask of it is in `loop`, how they ask in `wire`; the exec root holds:

    supervisor.sock     where daemons connect
    supervisor.lock     held (flock) by the one supervisor of this exec root
    supervisor.log      its complaints
    console/            where runtimes connect to send a pty
    starts/NAME         a runtime at work on a start
    pids/NAME           what runs: enough for a next supervisor to adopt it after a crash
    exits/NAME          what ended: stays until a daemon acknowledges it
    NAME                is CONTAINER or CONTAINER.EXEC

This package runs by itself, outside of `naru`: its imports of itself are relative. It imports the
standard library only, and little of that, because its memory is paid on every host: `_socket` is
what `socket` is made of, without 0.3 MB of enumerations and selectors.

Life: `launch` takes the lock, binds the socket, forks away and becomes a subreaper, then executes
the program again without what only that needed (ctypes). An upgrade is the same execve in the same
pid: descriptors, children and connections are handed over in a memfd. After a crash, the daemon
starts a new supervisor, which adopts what `pids/` names, and gives it its own copies of the stdio.
"""

from __future__ import annotations

import os
import sys

from . import program


def main() -> None:
    root = os.path.abspath(sys.argv[1])
    hidden_mount = sys.argv[2] if len(sys.argv) > 2 else None
    state = program.handed_over()
    # Imported here: what stays does not keep what only the launch needs.
    if state is None:
        from .launch import launch

        launch(root, hidden_mount)
    else:
        from .loop import Supervisor

        with open("/proc/self/comm", "w") as comm:
            comm.write("naru-supervisor")
        Supervisor(root, state).run()
